// kafkajs as a speaker: see speaker.rs for the lines it takes and answers with.
"use strict";

const readline = require("node:readline");
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require("kafkajs");

CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");

const WITHIN_MS = 60_000;
const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };
const members = new Map();

// Standard output is for answers alone.
const logCreator = () => ({ label, log }) => console.error(label, log.message);
const kafka = (ask) => new Kafka({
  brokers: ask.bootstrap.split(","), logLevel: logLevel.WARN, logCreator, retry: { retries: 20 },
});

const text = (bytes) => (bytes === null || bytes === undefined ? null : bytes.toString());

function plain(partition, message) {
  const headers = [];
  for (const [name, values] of Object.entries(message.headers ?? {})) {
    for (const value of [values].flat()) headers.push([name, text(value)]);
  }
  return {
    partition, offset: Number(message.offset), timestamp: Number(message.timestamp),
    key: text(message.key), value: text(message.value), headers,
  };
}

function message(record) {
  const headers = {};
  for (const [name, value] of record.headers) (headers[name] ??= []).push(value);
  const { key, value, timestamp } = record;
  return { key, value, headers, timestamp: timestamp === null ? undefined : String(timestamp) };
}

async function write(ask) {
  const inTransaction = ask.how === "commit" || ask.how === "abort";
  const producer = kafka(ask).producer({
    idempotent: ask.how !== "plain", maxInFlightRequests: 1, allowAutoTopicCreation: false,
    transactionalId: inTransaction ? ask.transactional_id : undefined,
  });
  await producer.connect();
  const writer = inTransaction ? await producer.transaction() : producer;
  await writer.send({
    topic: ask.topic, acks: -1, compression: CODECS[ask.codec], messages: ask.records.map(message),
  });
  if (ask.how === "commit") await writer.commit();
  if (ask.how === "abort") await writer.abort();
  await producer.disconnect();
  return {};
}

// Reads so many records, and no more of them come until all partitions were answered empty.
async function read(ask) {
  const records = [];
  const reader = kafka(ask).consumer({
    groupId: `reads-${process.pid}-${Date.now()}`, readUncommitted: !ask.committed, maxWaitTimeInMs: 100,
    allowAutoTopicCreation: false,
  });
  await reader.connect();
  await reader.subscribe({ topic: ask.topic, fromBeginning: true });
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`only ${records.length} records read`)), WITHIN_MS);
    const empty = new Set();
    reader.on(reader.events.CRASH, ({ payload }) => reject(payload.error));
    reader.on(reader.events.FETCH, ({ payload }) => {
      if (payload.numberOfBatches === 0 && records.length >= ask.count) empty.add(payload.nodeId);
      if (empty.size > 0) { clearTimeout(timer); resolve(); }
    });
    reader.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        for (const one of batch.messages) records.push(plain(batch.partition, one));
      },
    }).catch(reject);
  });
  await reader.disconnect();
  return { records };
}

async function asking(ask, question) {
  const admin = kafka(ask).admin();
  await admin.connect();
  try { return await question(admin); } finally { await admin.disconnect(); }
}

const topics = (ask) => asking(ask, async (admin) => {
  const { topics: found } = await admin.fetchTopicMetadata();
  return { topics: Object.fromEntries(found.map((topic) => [topic.name, topic.partitions.length])) };
});

const ends = (ask) => asking(ask, async (admin) => {
  const found = await admin.fetchTopicOffsets(ask.topic);
  const sorted = found.sort((one, other) => one.partition - other.partition);
  return { ends: sorted.map((end) => Number(end.high)) };
});

async function join(ask) {
  // Real brokers take no session below 6 seconds; members hear of each other by heartbeats.
  const reader = kafka(ask).consumer({
    groupId: ask.group, sessionTimeout: 6000, heartbeatInterval: 200, maxWaitTimeInMs: 100,
    allowAutoTopicCreation: false,
  });
  const member = { reader, records: [], assigned: [], failed: null };
  members.set(ask.member, member);
  reader.on(reader.events.GROUP_JOIN, ({ payload }) => {
    member.assigned = [...(payload.memberAssignment[ask.topic] ?? [])].sort();
  });
  reader.on(reader.events.CRASH, ({ payload }) => { member.failed = payload.error; });
  await reader.connect();
  await reader.subscribe({ topic: ask.topic, fromBeginning: true });
  await reader.run({
    eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, uncommittedOffsets }) => {
      const read = batch.messages.map((one) => plain(batch.partition, one));
      resolveOffset(batch.lastOffset());
      await commitOffsetsIfNecessary(uncommittedOffsets());
      member.records.push(...read);
    },
  });
  return {};
}

// What came in since the last poll; a new look needs the others to have had time for theirs.
async function poll(ask) {
  const member = members.get(ask.member);
  await new Promise((resolve) => setTimeout(resolve, 50));
  if (member.failed) throw member.failed;
  return { records: member.records.splice(0), assigned: member.assigned };
}

async function leave(ask) {
  await members.get(ask.member).reader.disconnect();
  members.delete(ask.member);
  return {};
}

const VERBS = { write, read, topics, ends, join, poll, leave };

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const ask = JSON.parse(line);
    let answer;
    try {
      answer = await VERBS[ask.do](ask);
    } catch (error) {
      answer = { error: `${error.name}: ${error.message}` };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
})();
