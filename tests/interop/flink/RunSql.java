import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs the statements of a file on a Flink of its own, in this JVM, and prints the rows of the last
 * one, their columns divided by tabs.
 *
 * <p>java -cp 'JARS/*' RunSql.java FILE BOOTSTRAP TOPIC BOUNDED
 */
public class RunSql {
    public static void main(String[] words) throws Exception {
        String text = Files.readString(Path.of(words[0]))
                .replace("${BOOTSTRAP}", words[1])
                .replace("${TOPIC}", words[2])
                .replace("${BOUNDED}", words[3]);
        var environment = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        environment.getConfig().set("parallelism.default", "2");
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String statement : text.split(";")) {
            if (statement.isBlank()) {
                continue;
            }
            var result = environment.executeSql(statement);
            if (!result.getResultKind().name().equals("SUCCESS_WITH_CONTENT")) {
                continue;
            }
            try (CloseableIterator<Row> rows = result.collect()) {
                while (rows.hasNext()) {
                    Row row = rows.next();
                    var columns = new String[row.getArity()];
                    for (int i = 0; i < columns.length; i++) {
                        columns[i] = String.valueOf(row.getField(i));
                    }
                    out.println(String.join("\t", columns));
                }
            }
        }
    }
}
