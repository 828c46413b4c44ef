import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.msgpack.core.MessagePack;
import org.msgpack.value.Value;

/**
 * Prints the events of a topic, a line each: kind, cpu, seq, pid, comm.
 *
 * <p>java -cp 'JARS/*' Reader.java BOOTSTRAP TOPIC, with the jars of kafka-clients and msgpack-core.
 * The shapes are described in docs/messages.md.
 */
public class Reader {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] words) throws IOException {
        Map<String, Object> settings = Map.of("bootstrap.servers", words[0]);
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(words[1])
                    .forEach(p -> partitions.add(new TopicPartition(p.topic(), p.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    print(map(MessagePack.newDefaultUnpacker(record.value()).unpackValue()));
                }
            }
        }
    }

    /** Prints the events of a message of shape `event` or `batch`; of a report, none. */
    private static void print(Map<String, Value> message) {
        switch (text(message.get("kind"))) {
            case "report" -> {}
            case "batch" -> printBatch(message);
            // A u64 beyond Long.MAX_VALUE would need asIntegerValue().asBigInteger().
            default -> print(text(message.get("kind")), message.get("cpu"), message.get("seq"),
                    message.get("pid"), text(message.get("comm")));
        }
    }

    private static void printBatch(Map<String, Value> message) {
        List<String> kinds = new ArrayList<>();
        for (Value one : message.get("groups").asArrayValue()) {
            Map<String, Value> group = map(one);
            int count = group.get("count").asIntegerValue().asInt();
            kinds.addAll(Collections.nCopies(count, text(group.get("kind"))));
        }
        // These columns are of all events; one of some says of which groups.
        Map<String, Value> columns = map(message.get("columns"));
        long[] cpu = numbers(map(columns.get("cpu")), kinds.size());
        long[] seq = numbers(map(columns.get("seq")), kinds.size());
        long[] pid = numbers(map(columns.get("pid")), kinds.size());
        byte[] comm = data(map(columns.get("comm")));
        for (int i = 0; i < kinds.size(); i++) {
            byte[] name = Arrays.copyOfRange(comm, 16 * i, 16 * i + 16);
            print(kinds.get(i), cpu[i], seq[i], pid[i], readable(name));
        }
    }

    /** Returns the numbers of a column, which lie side by side, little-endian. */
    private static long[] numbers(Map<String, Value> column, int count) {
        byte[] data = data(column);
        String type = text(column.get("type"));
        String written = column.containsKey("written") ? text(column.get("written")) : type;
        int size = size(written);
        long base = column.containsKey("base") ? column.get("base").asIntegerValue().toLong() : 0;
        boolean constant = says(column, "encoding", "constant");
        boolean delta = says(column, "encoding", "delta"); // each is a step from the one before
        boolean split = says(column, "layout", "byte_stream_split"); // first bytes, second bytes ...
        long[] found = new long[count];
        for (int i = 0; i < count; i++) {
            for (int b = 0; b < size; b++) {
                int at = constant ? b : split ? b * count + i : i * size + b;
                found[i] |= (data[at] & 0xffL) << 8 * b;
            }
            if (written.startsWith("i")) {
                found[i] = found[i] << 64 - 8 * size >> 64 - 8 * size; // with its sign
            }
            found[i] += !delta ? 0 : i > 0 ? found[i - 1] : base;
            found[i] &= type.equals("u64") ? -1L : (1L << 8 * size(type)) - 1;
        }
        return found;
    }

    private static int size(String type) {
        return Integer.parseInt(type.substring(1)) / 8;
    }

    private static boolean says(Map<String, Value> column, String member, String value) {
        return column.containsKey(member) && text(column.get(member)).equals(value);
    }

    private static byte[] data(Map<String, Value> column) {
        return column.get("data").asBinaryValue().asByteArray();
    }

    /** Returns a name up to its first NUL; escaped, as in an `event`, if it is no UTF-8. */
    private static String readable(byte[] name) {
        int length = 0;
        while (length < name.length && name[length] != 0) {
            length++;
        }
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(name, 0, length))
                    .toString();
        } catch (CharacterCodingException e) {
            StringBuilder escaped = new StringBuilder();
            for (int i = 0; i < length; i++) {
                boolean plain = name[i] > 0 && name[i] != '\\';
                escaped.append(plain ? "" + (char) name[i] : String.format("\\x%02x", name[i]));
            }
            return escaped.toString();
        }
    }

    private static void print(Object kind, Object cpu, Object seq, Object pid, Object comm) {
        OUT.println(kind + " " + cpu + " " + seq + " " + pid + " " + comm);
    }

    private static Map<String, Value> map(Value value) {
        Map<String, Value> map = new HashMap<>();
        value.asMapValue().map().forEach((key, inner) -> map.put(text(key), inner));
        return map;
    }

    private static String text(Value value) {
        return value.asStringValue().asString();
    }
}
