import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Producers: one that runs to its end within the command, and background ones with an `id`. */
final class Producing {
    private static final Map<String, Run> BACKGROUND = new HashMap<>();
    private static final Map<String, KafkaProducer<byte[], byte[]>> OPEN = new HashMap<>();

    static Map<String, Object> produce(Oracle.Words words) throws Exception {
        Run run = new Run(words, words.number("n"));
        run.run();
        run.failIfFailed();
        return run.answers();
    }

    static Map<String, Object> start(Oracle.Words words) throws Exception {
        String id = words.text("id");
        if (BACKGROUND.containsKey(id)) {
            throw new IllegalArgumentException("there is a producer " + id + " already");
        }
        Run run = new Run(words, words.number("n", Long.MAX_VALUE));
        BACKGROUND.put(id, run);
        run.thread = new Thread(run, "producer-" + id);
        run.thread.setDaemon(true);
        run.thread.start();
        return Oracle.answers();
    }

    static Map<String, Object> progress(Oracle.Words words) {
        return background(words.text("id")).answers();
    }

    /** Ends a background producer after all its records were acknowledged or given up. */
    static Map<String, Object> stop(Oracle.Words words) throws Exception {
        Run run = background(words.text("id"));
        run.stop = true;
        run.thread.join();
        BACKGROUND.remove(words.text("id"));
        return run.answers();
    }

    /** Ends a transaction that `produce ... leave-open=true` left open: outcome=commit or abort. */
    static Map<String, Object> finish(Oracle.Words words) {
        KafkaProducer<byte[], byte[]> producer = OPEN.remove(words.text("transactional-id"));
        if (producer == null) {
            throw new IllegalArgumentException("no open transaction of " + words.text("transactional-id"));
        }
        try (producer) {
            switch (words.text("outcome")) {
                case "commit": producer.commitTransaction(); break;
                case "abort": producer.abortTransaction(); break;
                default: throw new IllegalArgumentException("outcome is commit or abort");
            }
        }
        return Oracle.answers();
    }

    private static Run background(String id) {
        Run run = BACKGROUND.get(id);
        if (run == null) {
            throw new IllegalArgumentException("there is no producer " + id);
        }
        return run;
    }

    private static final class Run implements Runnable {
        private final long first;
        private final long count;
        private final long rate;
        private final String transactionalId;
        private final long transactionRecords;
        private final long abortEvery;
        private final boolean leaveOpen;
        private final KafkaProducer<byte[], byte[]> producer;
        private final Content content;
        private final TreeMap<Integer, Long> acked = new TreeMap<>();
        private final TreeMap<Integer, Long> committed = new TreeMap<>();
        private final TreeMap<Integer, Long> inTransaction = new TreeMap<>();
        private long sent;
        private long failed;
        private long aborts;
        private Throwable error;
        private volatile boolean stop;
        private Thread thread;

        Run(Oracle.Words words, long count) {
            this.count = count;
            first = words.number("first", 0);
            rate = words.number("rate", 0);
            transactionalId = words.text("transactional-id", "");
            transactionRecords = words.number("transaction-records", 100);
            abortEvery = words.number("abort-every", 0);
            leaveOpen = words.flag("leave-open", false);
            Map<String, Object> config = new HashMap<>();
            config.put("bootstrap.servers", words.text("bootstrap"));
            config.put("acks", words.text("acks", "all"));
            config.put("enable.idempotence", words.text("idempotent", "true"));
            config.put("compression.type", words.text("codec", "none"));
            config.put("batch.size", words.text("batch-bytes", "16384"));
            config.put("linger.ms", words.text("linger", "5"));
            if (!transactionalId.isEmpty()) {
                config.put("transactional.id", transactionalId);
                // The most that a broker takes: one that is left open must not end by itself, also on a slow machine.
                config.put("transaction.timeout.ms", "900000");
            }
            config.putAll(words.config());
            producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
            int partitions = (int) words.number("partitions", 0);
            try {
                content = new Content(words,
                    partitions > 0 ? partitions : producer.partitionsFor(words.text("topic")).size());
            } catch (RuntimeException thrown) {
                producer.close();
                throw thrown;
            }
        }

        @Override
        public void run() {
            boolean open = false;
            try {
                open = send();
            } catch (Throwable thrown) {
                fail(thrown);
            } finally {
                if (open) {
                    OPEN.put(transactionalId, producer);
                } else {
                    producer.close();
                }
            }
        }

        /** True when a transaction is left open. */
        private boolean send() {
            boolean transactional = !transactionalId.isEmpty();
            if (transactional) {
                producer.initTransactions();
            }
            long start = System.nanoTime();
            long inThis = 0;
            long transactions = 0;
            for (long i = 0; i < count && !stop; i++) {
                await(start, i);
                if (transactional && inThis == 0) {
                    producer.beginTransaction();
                }
                long n = first + i;
                int partition = content.partitionOf(n);
                producer.send(content.record(n), (metadata, thrown) -> acknowledged(partition, thrown));
                synchronized (this) {
                    sent++;
                    inTransaction.merge(partition, 1L, Long::sum);
                }
                inThis++;
                if (transactional && inThis == transactionRecords && !(leaveOpen && i + 1 == count)) {
                    end(++transactions);
                    inThis = 0;
                }
            }
            producer.flush();
            if (transactional && inThis > 0) {
                if (leaveOpen) {
                    return true;
                }
                end(++transactions);
            }
            return false;
        }

        private void end(long number) {
            boolean abort = abortEvery > 0 && number % abortEvery == 0;
            if (abort) {
                // So that the aborted records are in the log, not dropped before they were sent.
                producer.flush();
                producer.abortTransaction();
            } else {
                producer.commitTransaction();
            }
            synchronized (this) {
                if (abort) {
                    aborts++;
                } else {
                    inTransaction.forEach((partition, records) -> committed.merge(partition, records, Long::sum));
                }
                inTransaction.clear();
            }
        }

        private void await(long start, long i) {
            if (rate <= 0) {
                return;
            }
            long due = start + (long) (i * (1e9 / rate));
            for (long wait = due - System.nanoTime(); wait > 0 && !stop; wait = due - System.nanoTime()) {
                LockSupport.parkNanos(Math.min(wait, 20_000_000));
            }
        }

        private synchronized void acknowledged(int partition, Exception thrown) {
            if (thrown == null) {
                acked.merge(partition, 1L, Long::sum);
            } else {
                failed++;
                fail(thrown);
            }
        }

        private synchronized void fail(Throwable thrown) {
            error = error == null ? thrown : error;
        }

        private synchronized void failIfFailed() throws Exception {
            if (error instanceof Exception) {
                throw (Exception) error;
            } else if (error != null) {
                throw new Exception(error);
            }
        }

        private synchronized Map<String, Object> answers() {
            Map<String, Object> answers = Oracle.answers("sent", sent, "failed", failed, "aborts", aborts,
                "error", error == null ? "" : error.toString());
            acked.forEach((partition, records) -> answers.put("p" + partition, records));
            committed.forEach((partition, records) -> answers.put("c" + partition, records));
            return answers;
        }
    }
}
