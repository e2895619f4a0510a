import java.io.BufferedWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads a topic from its beginning to its end as of the start of the command. */
final class Reading {
    private static final ByteArrayDeserializer BYTES = new ByteArrayDeserializer();

    interface Visitor {
        void visit(ConsumerRecord<byte[], byte[]> record) throws Exception;
    }

    /** For each partition `begin:end:count:first:last:sha256`; first and last are offsets, -1 without records. */
    static Map<String, Object> digest(Oracle.Words words) throws Exception {
        Map<Integer, Sum> sums = new HashMap<>();
        Map<Integer, long[]> bounds = read(words, record ->
            sums.computeIfAbsent(record.partition(), p -> new Sum()).add(record));
        Map<String, Object> answers = new TreeMap<>();
        bounds.forEach((partition, bound) -> {
            Sum sum = sums.getOrDefault(partition, new Sum());
            answers.put("p" + partition, bound[0] + ":" + bound[1] + ":" + sum);
        });
        return answers;
    }

    /** Writes `partition offset timestamp sha256 sha256-of-key` a record to the file, each partition in order. */
    static Map<String, Object> index(Oracle.Words words) throws Exception {
        long[] count = new long[1];
        try (BufferedWriter out = Files.newBufferedWriter(Path.of(words.text("file")))) {
            read(words, record -> {
                MessageDigest digest = sha256();
                feed(digest, record);
                MessageDigest key = sha256();
                feed(key, record.key());
                out.write(record.partition() + " " + record.offset() + " " + record.timestamp() + " " + hex(digest));
                out.write(" " + hex(key));
                out.write('\n');
                count[0]++;
            });
        }
        return Oracle.answers("count", count[0]);
    }

    private static Map<Integer, long[]> read(Oracle.Words words, Visitor visitor) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", words.text("bootstrap"));
        config.put("isolation.level", words.text("isolation", "read_committed"));
        config.put("enable.auto.commit", "false");
        config.put("auto.offset.reset", "none");
        config.put("allow.auto.create.topics", "false");
        config.put("max.poll.records", "5000");
        // The consumer fetches ahead for every partition that it holds nothing of: 1 000 of them must fit the heap.
        config.put("max.partition.fetch.bytes", String.valueOf(256 << 10));
        config.put("fetch.max.wait.ms", "100");
        config.putAll(words.config());
        long timeoutNs = TimeUnit.MILLISECONDS.toNanos(words.timeoutMs());
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, BYTES, BYTES)) {
            List<TopicPartition> partitions = consumer.partitionsFor(words.text("topic")).stream()
                .map(info -> new TopicPartition(info.topic(), info.partition())).toList();
            Map<TopicPartition, Long> begin = consumer.beginningOffsets(partitions);
            Map<TopicPartition, Long> end = consumer.endOffsets(partitions);
            consumer.assign(partitions);
            begin.forEach(consumer::seek);
            long progress = System.nanoTime();
            long positions = -1;
            while (true) {
                long sum = 0;
                boolean done = true;
                for (TopicPartition p : consumer.assignment()) {
                    long position = consumer.position(p);
                    sum += position;
                    if (position < end.get(p)) {
                        done = false;
                    } else if (!consumer.paused().contains(p)) {
                        consumer.pause(List.of(p));
                    }
                }
                if (done) {
                    break;
                }
                if (sum != positions) {
                    positions = sum;
                    progress = System.nanoTime();
                } else if (System.nanoTime() - progress > timeoutNs) {
                    throw new TimeoutException("no progress before the end offsets " + end);
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    TopicPartition p = new TopicPartition(record.topic(), record.partition());
                    if (record.offset() < end.get(p)) {
                        visitor.visit(record);
                    }
                }
            }
            Map<Integer, long[]> bounds = new TreeMap<>();
            for (TopicPartition p : partitions) {
                bounds.put(p.partition(), new long[] {begin.get(p), end.get(p)});
            }
            return bounds;
        }
    }

    private static final class Sum {
        private final MessageDigest digest = sha256();
        private long count;
        private long first = -1;
        private long last = -1;

        void add(ConsumerRecord<byte[], byte[]> record) {
            if (record.offset() <= last) {
                throw new IllegalStateException("offset " + record.offset() + " after " + last);
            }
            feed(digest, record);
            first = count == 0 ? record.offset() : first;
            last = record.offset();
            count++;
        }

        @Override
        public String toString() {
            return count + ":" + first + ":" + last + ":" + hex(digest);
        }
    }

    /** Every length is told before its bytes, and -1 for null: no two sequences of records feed the same bytes. */
    private static void feed(MessageDigest digest, ConsumerRecord<byte[], byte[]> record) {
        digest.update(ByteBuffer.allocate(8).putLong(0, record.timestamp()).array());
        feed(digest, record.key());
        feed(digest, record.value());
        Header[] headers = record.headers().toArray();
        digest.update(ByteBuffer.allocate(4).putInt(0, headers.length).array());
        for (Header header : headers) {
            feed(digest, header.key().getBytes(StandardCharsets.UTF_8));
            feed(digest, header.value());
        }
    }

    private static void feed(MessageDigest digest, byte[] bytes) {
        digest.update(ByteBuffer.allocate(4).putInt(0, bytes == null ? -1 : bytes.length).array());
        if (bytes != null) {
            digest.update(bytes);
        }
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (java.security.NoSuchAlgorithmException never) {
            throw new IllegalStateException(never);
        }
    }

    private static String hex(MessageDigest digest) {
        return HexFormat.of().formatHex(digest.digest());
    }
}
