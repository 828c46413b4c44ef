import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
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
        // These columns are of all events; one of some says of which groups. All are little-endian.
        Map<String, Value> columns = map(message.get("columns"));
        ByteBuffer cpu = data(columns.get("cpu"));
        ByteBuffer seq = data(columns.get("seq"));
        ByteBuffer pid = data(columns.get("pid"));
        ByteBuffer comm = data(columns.get("comm"));
        long number = 0;
        for (Value one : message.get("groups").asArrayValue()) {
            Map<String, Value> group = map(one);
            for (int i = group.get("count").asIntegerValue().asInt(); i > 0; i--) {
                number += seq.getLong(); // "encoding": "delta", a step from the one before
                byte[] name = new byte[16];
                comm.get(name);
                print(text(group.get("kind")), Short.toUnsignedInt(cpu.getShort()), number,
                        Integer.toUnsignedLong(pid.getInt()), readable(name));
            }
        }
    }

    private static ByteBuffer data(Value column) {
        byte[] data = map(column).get("data").asBinaryValue().asByteArray();
        return ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
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
