// What Apache makes of configurations of ensembles: reads the `<` lines of each case in the file
// that is named, and writes the file anew with what `QuorumMaj` or `QuorumHierarchical` prints for
// them (`>`), or with the exception that refuses them (`!`).
//
//   java -Dzookeeper.multiAddress.enabled=true -cp '.cache/apache/3.9.5/lib/*' \
//       tests/golden/RecordMemberships.java tests/golden/ensemble/memberships.txt

import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.zookeeper.server.quorum.flexible.QuorumHierarchical;
import org.apache.zookeeper.server.quorum.flexible.QuorumMaj;

class RecordMemberships {
    public static void main(String[] arguments) throws Exception {
        Path path = Path.of(arguments[0]);
        List<String> out = new ArrayList<>();
        StringBuilder text = new StringBuilder();
        for (String line : Files.readAllLines(path)) {
            if (line.startsWith("=") || line.startsWith("#")) {
                answer(text, out);
                out.add(line);
            } else if (line.startsWith("<")) {
                text.append(line.substring(2)).append('\n');
                out.add(line);
            }
        }
        answer(text, out);
        Files.write(path, out);
    }

    static void answer(StringBuilder text, List<String> out) throws Exception {
        if (text.length() == 0) {
            return;
        }
        Properties properties = new Properties();
        properties.load(new StringReader(text.toString()));
        text.setLength(0);
        try {
            boolean groups = properties.keySet().stream()
                .anyMatch(key -> key.toString().startsWith("group") || key.toString().startsWith("weight"));
            Object verifier = groups ? new QuorumHierarchical(properties) : new QuorumMaj(properties);
            for (String line : verifier.toString().split("\n")) {
                out.add("> " + line);
            }
        } catch (Exception refused) {
            out.add("! " + refused.getClass().getSimpleName());
        }
    }
}
