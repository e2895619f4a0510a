import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.utils.BufferSupplier;

/**
 * Writes the batches in this directory with Kafka's own classes, and prints batches that twinlog wrote.
 *
 *   java -cp 'LIBS/*' Golden.java write .        (kafka-clients 4.1.1 with its codecs in LIBS)
 *   java -cp 'LIBS/*' Golden.java read FILE...
 */
public class Golden {
    static final long BASE = 1_700_000_000_000L;

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static MemoryRecords batch(Compression compression, long baseOffset, TimestampType type) {
        ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
        MemoryRecordsBuilder builder = MemoryRecords.builder(buffer, RecordBatch.MAGIC_VALUE_V2, compression, type,
            baseOffset, BASE + 99_999, 4242L, (short) 3, 77, false, 9);
        for (int i = 0; i < 200; i++) {
            long timestamp = BASE + (i == 150 ? 5_000 : i * 7);
            byte[] key = i % 3 == 0 ? null : bytes("key-" + i);
            byte[] value = i % 10 == 9 ? null : bytes(("value-" + i + "-").repeat(20));
            Header[] headers = i % 4 != 0 ? new Header[0]
                : new Header[] {new RecordHeader("h", bytes("x" + i)), new RecordHeader("n", null)};
            builder.append(timestamp, key, value, headers);
        }
        return builder.build();
    }

    /** The same records in format v0 or v1, which have no headers. */
    static MemoryRecords messages(byte magic, Compression compression, int step) {
        ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
        MemoryRecordsBuilder builder = MemoryRecords.builder(buffer, magic, compression, TimestampType.CREATE_TIME,
            1000, RecordBatch.NO_TIMESTAMP, RecordBatch.NO_PRODUCER_ID, RecordBatch.NO_PRODUCER_EPOCH,
            RecordBatch.NO_SEQUENCE, false, RecordBatch.NO_PARTITION_LEADER_EPOCH);
        for (int i = 0; i < 200; i += step) {
            long timestamp = magic == 0 ? RecordBatch.NO_TIMESTAMP : BASE + (i == 150 ? 5_000 : i * 7);
            byte[] key = i % 3 == 0 ? null : bytes("key-" + i);
            byte[] value = i % 10 == 9 ? null : bytes(("value-" + i + "-").repeat(20));
            builder.appendWithOffset(1000 + i, timestamp, key, value);
        }
        return builder.build();
    }

    static void put(Path dir, String name, ByteBuffer buffer) throws Exception {
        byte[] out = new byte[buffer.remaining()];
        buffer.duplicate().get(out);
        Files.write(dir.resolve(name), out);
    }

    static void write(Path dir) throws Exception {
        put(dir, "none.bin", batch(Compression.NONE, 1000, TimestampType.CREATE_TIME).buffer());
        put(dir, "gzip.bin", batch(Compression.gzip().build(), 1000, TimestampType.CREATE_TIME).buffer());
        put(dir, "snappy.bin", batch(Compression.snappy().build(), 1000, TimestampType.CREATE_TIME).buffer());
        put(dir, "lz4.bin", batch(Compression.lz4().build(), 1000, TimestampType.CREATE_TIME).buffer());
        put(dir, "zstd.bin", batch(Compression.zstd().build(), 1000, TimestampType.CREATE_TIME).buffer());
        put(dir, "append-time.bin", batch(Compression.NONE, 1000, TimestampType.LOG_APPEND_TIME).buffer());
        put(dir, "marker.bin", MemoryRecords.withEndTransactionMarker(55, BASE, 9, 4242L, (short) 3,
            new EndTransactionMarker(ControlRecordType.COMMIT, 12)).buffer());
        for (byte magic : new byte[] {0, 1}) {
            put(dir, "v" + magic + "-none.bin", messages(magic, Compression.NONE, 1).buffer());
            put(dir, "v" + magic + "-gzip.bin", messages(magic, Compression.gzip().build(), 1).buffer());
            put(dir, "v" + magic + "-snappy.bin", messages(magic, Compression.snappy().build(), 1).buffer());
            // In v0 with the checksum of the frame's header that old clients write.
            put(dir, "v" + magic + "-lz4.bin", messages(magic, Compression.lz4().build(), 1).buffer());
            // As old cleaners left it: every third record.
            put(dir, "v" + magic + "-cleaned.bin", messages(magic, Compression.gzip().build(), 3).buffer());
        }
        // As a broker stamps what it need not pack anew: only the message that holds the others.
        MemoryRecords stamped = messages((byte) 1, Compression.gzip().build(), 1);
        for (MutableRecordBatch batch : stamped.batches()) {
            batch.setMaxTimestamp(TimestampType.LOG_APPEND_TIME, BASE + 99_999);
        }
        put(dir, "v1-append-time.bin", stamped.buffer());
        // What the log cleaner makes: every third record is kept, and the tombstones get a delete horizon.
        ByteBuffer cleaned = ByteBuffer.allocate(1 << 20);
        var filter = new MemoryRecords.RecordFilter(BASE + 1_000_000, 86_400_000) {
            @Override
            protected BatchRetentionResult checkBatchRetention(RecordBatch batch) {
                return new BatchRetentionResult(BatchRetention.RETAIN_EMPTY, false);
            }
            @Override
            protected boolean shouldRetainRecord(RecordBatch batch, Record record) {
                return record.offset() % 3 == 0;
            }
        };
        batch(Compression.gzip().build(), 1000, TimestampType.CREATE_TIME)
            .filterTo(filter, cleaned, BufferSupplier.NO_CACHING);
        cleaned.flip();
        put(dir, "cleaned.bin", cleaned);
    }

    static void read(Path file) throws Exception {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(file)));
        for (MutableRecordBatch batch : records.batches()) {
            batch.ensureValid();
            OptionalLong horizon = batch.deleteHorizonMs();
            String words = batch + " horizon=" + horizon + " max=" + batch.maxTimestamp();
            System.out.println(file.getFileName() + " " + words);
            int hash = 1;
            int count = 0;
            long max = -1;
            for (Record record : batch) {
                hash = 31 * hash + java.util.Objects.hash(record.key(), record.value(), record.timestamp());
                max = Math.max(max, record.timestamp());
                count++;
            }
            System.out.println("  records=" + count + " hash=" + hash + " true max=" + max);
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("write")) {
            write(Path.of(args[1]));
        } else {
            for (int i = 1; i < args.length; i++) {
                read(Path.of(args[i]));
            }
        }
    }
}
