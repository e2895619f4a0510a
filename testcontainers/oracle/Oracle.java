import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Does and checks things with Kafka's own Java clients, for tests of something that claims to do the same.
 *
 * One command a line: a verb and `key=value` words, values percent-encoded. One line of answer: `ok` or `error`, and
 * `key=value` words. The process ends at once when its standard input does.
 */
public final class Oracle {
    private static final LinkedBlockingQueue<String> LINES = new LinkedBlockingQueue<>();

    public static void main(String[] args) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        Thread reader = new Thread(Oracle::readLines, "standard-input");
        reader.setDaemon(true);
        reader.start();
        while (true) {
            answers.print(answer(LINES.take()) + "\n");
            answers.flush();
        }
    }

    /** A thread of its own, so that a command that hangs does not keep the process after its test. */
    private static void readLines() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                LINES.add(line);
            }
        } catch (java.io.IOException end) {
            // The same as the end.
        }
        Runtime.getRuntime().halt(0);
    }

    private static String answer(String line) {
        try {
            Words words = new Words(line);
            StringBuilder text = new StringBuilder("ok");
            run(words).forEach((key, value) -> append(text, key, value));
            return text.toString();
        } catch (Throwable thrown) {
            thrown.printStackTrace();
            Throwable cause = thrown;
            while (cause instanceof java.util.concurrent.ExecutionException && cause.getCause() != null) {
                cause = cause.getCause();
            }
            StringBuilder text = new StringBuilder("error");
            append(text, "class", cause.getClass().getSimpleName());
            append(text, "message", String.valueOf(cause.getMessage()));
            return text.toString();
        }
    }

    private static Map<String, Object> run(Words words) throws Exception {
        switch (words.verb) {
            case "create": return Admins.create(words);
            case "delete": return Admins.delete(words);
            case "add-partitions": return Admins.addPartitions(words);
            case "describe": return Admins.describe(words);
            case "describe-config": return Admins.describeConfig(words);
            case "alter-config": return Admins.alterConfig(words);
            case "delete-records": return Admins.deleteRecords(words);
            case "allow": return Admins.allow(words, true);
            case "forbid": return Admins.allow(words, false);
            case "set-password": return Admins.setPassword(words);
            case "move": return Admins.move(words);
            case "elect": return Admins.elect(words);
            case "offsets": return Admins.offsets(words);
            case "group-commit": return Admins.groupCommit(words);
            case "group-offsets": return Admins.groupOffsets(words);
            case "produce": return Producing.produce(words);
            case "produce-start": return Producing.start(words);
            case "produce-progress": return Producing.progress(words);
            case "produce-stop": return Producing.stop(words);
            case "txn-finish": return Producing.finish(words);
            case "digest": return Reading.digest(words);
            case "index": return Reading.index(words);
            default: throw new IllegalArgumentException("no such command: " + words.verb);
        }
    }

    private static void append(StringBuilder text, String key, Object value) {
        text.append(' ').append(encode(key)).append('=').append(encode(String.valueOf(value)));
    }

    static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    static Map<String, Object> answers(Object... keysAndValues) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < keysAndValues.length; i += 2) {
            map.put((String) keysAndValues[i], keysAndValues[i + 1]);
        }
        return map;
    }

    /** A command: its verb and its words, each of which must be known to whoever asks. */
    static final class Words {
        final String verb;
        private final Map<String, String> all = new LinkedHashMap<>();

        Words(String line) {
            String[] parts = line.trim().split(" +");
            verb = parts[0];
            for (int i = 1; i < parts.length; i++) {
                int at = parts[i].indexOf('=');
                if (at < 0) {
                    throw new IllegalArgumentException("not key=value: " + parts[i]);
                }
                all.put(decode(parts[i].substring(0, at)), decode(parts[i].substring(at + 1)));
            }
        }

        private static String decode(String text) {
            return URLDecoder.decode(text, StandardCharsets.UTF_8);
        }

        String text(String key) {
            String value = all.get(key);
            if (value == null) {
                throw new IllegalArgumentException(verb + " needs " + key + "=");
            }
            return value;
        }

        String text(String key, String otherwise) {
            return all.getOrDefault(key, otherwise);
        }

        long number(String key) {
            return Long.parseLong(text(key));
        }

        long number(String key, long otherwise) {
            String value = all.get(key);
            return value == null ? otherwise : Long.parseLong(value);
        }

        boolean flag(String key, boolean otherwise) {
            switch (text(key, String.valueOf(otherwise))) {
                case "true": return true;
                case "false": return false;
                default: throw new IllegalArgumentException(key + " is true or false, not " + text(key));
            }
        }

        /** The words `config.X=v` as X=v. */
        Map<String, String> config() {
            Map<String, String> map = new TreeMap<>();
            all.forEach((key, value) -> {
                if (key.startsWith("config.")) {
                    map.put(key.substring("config.".length()), value);
                }
            });
            return map;
        }

        long timeoutMs() {
            return number("timeout-ms", 60_000);
        }
    }
}
