"""librdkafka by its Python client, as a speaker: see speaker.rs for the lines it takes and answers with."""

import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

WITHIN_S = 60
MEMBERS = {}


def text(data):
    return None if data is None else data.decode()


def as_bytes(value):
    return None if value is None else value.encode()


def plain(message):
    headers = message.headers() or []
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": text(message.key()),
        "value": text(message.value()),
        "headers": [[name, text(value)] for name, value in headers],
    }


def write(ask):
    failed = []

    def delivered(error, _):
        if error is not None:
            failed.append(str(error))

    config = {
        "bootstrap.servers": ask["bootstrap"],
        "compression.type": ask["codec"],
        "enable.idempotence": ask["how"] != "plain",
        "linger.ms": 20,
    }
    in_transaction = ask["how"] in ("commit", "abort")
    if in_transaction:
        config["transactional.id"] = ask["transactional_id"]
    producer = Producer(config)
    if in_transaction:
        producer.init_transactions(WITHIN_S)
        producer.begin_transaction()
    for record in ask["records"]:
        producer.produce(
            ask["topic"],
            key=as_bytes(record["key"]),
            value=as_bytes(record["value"]),
            timestamp=record["timestamp"],
            headers=[(name, as_bytes(value)) for name, value in record["headers"]],
            on_delivery=delivered,
        )
    left = producer.flush(WITHIN_S)
    if left or failed:
        raise RuntimeError(f"{left} records are not delivered; refused: {failed[:3]}")
    if ask["how"] == "commit":
        producer.commit_transaction(WITHIN_S)
    if ask["how"] == "abort":
        producer.abort_transaction(WITHIN_S)
    return {}


def consumer(ask, group, **more):
    return Consumer({
        "bootstrap.servers": ask["bootstrap"],
        "group.id": group,
        "isolation.level": "read_committed" if ask.get("committed", True) else "read_uncommitted",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 100,
        **more,
    })


def read(ask):
    reader = consumer(ask, "reads-without-a-group", **{"enable.partition.eof": True})
    reader.assign([TopicPartition(ask["topic"], number, 0) for number in range(ask["partitions"])])
    records, open_ones = [], set(range(ask["partitions"]))
    deadline = time.monotonic() + WITHIN_S
    while open_ones:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the ends of {sorted(open_ones)} are not reached; {len(records)} records read")
        message = reader.poll(0.5)
        if message is None:
            continue
        if message.error() is None:
            records.append(plain(message))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            open_ones.discard(message.partition())
        else:
            raise RuntimeError(str(message.error()))
    reader.close()
    return {"records": records}


def topics(ask):
    seen = AdminClient({"bootstrap.servers": ask["bootstrap"]}).list_topics(timeout=WITHIN_S)
    return {"topics": {name: len(topic.partitions) for name, topic in seen.topics.items()}}


def ends(ask):
    reader = consumer(ask, "reads-without-a-group")
    numbers = range(ask["partitions"])
    found = [reader.get_watermark_offsets(TopicPartition(ask["topic"], number), WITHIN_S) for number in numbers]
    reader.close()
    return {"ends": [end for _, end in found]}


def join(ask):
    # Real brokers take no session below 6 seconds; members hear of each other by heartbeats.
    member = consumer(ask, ask["group"], **{"session.timeout.ms": 6000, "heartbeat.interval.ms": 200})
    member.subscribe([ask["topic"]])
    MEMBERS[ask["member"]] = member
    return {}


def poll(ask):
    member, records = MEMBERS[ask["member"]], []
    message = member.poll(0.1)
    while message is not None:
        if message.error() is not None:
            raise RuntimeError(str(message.error()))
        records.append(plain(message))
        message = member.poll(0.01)
    if records:
        member.commit(asynchronous=False)
    return {"records": records, "assigned": sorted(one.partition for one in member.assignment())}


def leave(ask):
    MEMBERS.pop(ask["member"]).close()
    return {}


VERBS = {one.__name__: one for one in (write, read, topics, ends, join, poll, leave)}

for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = VERBS[question["do"]](question)
    except Exception as error:  # whatever it is, the test shall show it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
