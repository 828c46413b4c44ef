import java.io.IOException;
import java.io.PrintStream;
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
            default -> print(message.get("kind"), message, message.get("comm"));
        }
    }

    private static void printBatch(Map<String, Value> message) {
        List<Value> strings = message.get("strings").asArrayValue().list();
        for (Value one : message.get("groups").asArrayValue()) {
            Map<String, Value> group = map(one);
            List<Value> fields = group.get("fields").asArrayValue().list();
            for (Value row : group.get("rows").asArrayValue()) {
                Map<String, Value> event = new HashMap<>();
                for (int i = 0; i < fields.size(); i++) {
                    event.put(text(fields.get(i)), row.asArrayValue().get(i));
                }
                Value comm = strings.get(event.get("comm").asIntegerValue().asInt());
                print(group.get("kind"), event, comm);
            }
        }
    }

    private static void print(Value kind, Map<String, Value> event, Value comm) {
        // A u64 beyond Long.MAX_VALUE would need asIntegerValue().asBigInteger().
        OUT.println(text(kind) + " " + event.get("cpu") + " " + event.get("seq") + " "
                + event.get("pid") + " " + text(comm));
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
