import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** The records of a test: each follows from the seed and its running number alone. */
final class Content {
    private static final String[] VOCABULARY = {
        "order", "customer", "shipped", "pending", "invoice", "Zürich", "Tokyo", "north", "south", "amount",
        "currency", "EUR", "USD", "returned", "express", "standard", "warehouse", "priority", "low", "high",
    };

    private final String topic;
    private final int partitions;
    private final long seed;
    private final int valueBytes;
    private final boolean json;
    private final boolean nulls;
    private final boolean tombstones;
    private final long keys;
    private final long hotKeys;
    private final String headers;
    private final Long baseTimestamp;
    private final long timestampStep;

    Content(Oracle.Words words, int partitions) {
        this.topic = words.text("topic");
        this.partitions = partitions;
        seed = words.number("seed", 1);
        valueBytes = (int) words.number("value-bytes", 200);
        json = words.flag("json", true);
        nulls = words.flag("nulls", false);
        tombstones = words.flag("tombstones", false);
        keys = words.number("keys", 0);
        hotKeys = words.number("hot-keys", 0);
        headers = words.text("headers", "number");
        if (!List.of("none", "number", "rich").contains(headers)) {
            throw new IllegalArgumentException("headers is none, number or rich, not " + headers);
        }
        String base = words.text("base-timestamp", "");
        baseTimestamp = base.isEmpty() ? null : Long.valueOf(base);
        timestampStep = words.number("timestamp-step", 1);
    }

    int partitionOf(long n) {
        return (int) (n % partitions);
    }

    /**
     * The n-th record. With nulls: every seventh key is null; of the others every eleventh value is null (a tombstone),
     * and every thirteenth is empty. With tombstones, every eleventh value is null, and no key. With hot
     * keys, every fifth record has one of them.
     */
    ProducerRecord<byte[], byte[]> record(long n) {
        SplittableRandom random = new SplittableRandom(seed * 0x9e3779b97f4a7c15L + n);
        byte[] key = utf8("k" + (keys > 0 ? n % keys : n));
        if (hotKeys > 0 && n % 5 == 0) {
            key = utf8("h" + n / 5 % hotKeys);
        }
        byte[] value = json ? json(n, random) : noise(n, valueBytes, random);
        if (nulls && n % 7 == 3) {
            key = null;
        } else if ((nulls || tombstones) && n % 11 == 5) {
            value = null;
        } else if (nulls && n % 13 == 7) {
            value = new byte[0];
        }
        Long timestamp = baseTimestamp == null ? null : baseTimestamp + n * timestampStep;
        return new ProducerRecord<>(topic, partitionOf(n), timestamp, key, value, headers(n, random));
    }

    private byte[] json(long n, SplittableRandom random) {
        StringBuilder text = new StringBuilder();
        text.append("{\"n\":").append(n).append(",\"amount\":").append(random.nextInt(100_000)).append(",\"text\":\"");
        while (text.length() < valueBytes - 2) {
            text.append(VOCABULARY[random.nextInt(VOCABULARY.length)]).append(' ');
        }
        return utf8(text.append("\"}").toString());
    }

    /** Bytes that no codec makes smaller, after eight of the running number. */
    private static byte[] noise(long n, int count, SplittableRandom random) {
        byte[] bytes = new byte[Math.max(8, count)];
        random.nextBytes(bytes);
        java.nio.ByteBuffer.wrap(bytes).putLong(0, n);
        return bytes;
    }

    private List<Header> headers(long n, SplittableRandom random) {
        List<Header> all = new ArrayList<>();
        if (!headers.equals("none")) {
            all.add(new RecordHeader("n", utf8(String.valueOf(n))));
        }
        if (headers.equals("rich") && n % 5 != 4) {
            all.add(new RecordHeader("twice", utf8("first")));
            all.add(new RecordHeader("twice", noise(n, 24, random)));
            all.add(new RecordHeader("null", (byte[]) null));
            all.add(new RecordHeader("", new byte[0]));
        }
        return all;
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
