package ringkeeper;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Three Ringkeepers in the place of one server: a test's clients connect to the first, which
 * follows (the third is elected, as long as all are at one zxid). With -Dringkeeper.servers=1
 * it is one.
 */
public final class Three {

    private static final int SERVERS = Integer.getInteger("ringkeeper.servers", 3);

    private final List<Server> servers = new ArrayList<>();

    /** `lines` are those of each configuration beside directories, ports and members. */
    public Three(File home, int port, Map<String, String> lines) throws IOException {
        Map<String, String> members = new LinkedHashMap<>();
        for (int i = 1; SERVERS > 1 && i <= SERVERS; i++) {
            members.put("server." + i, "127.0.0.1:" + Server.freePort() + ":" + Server.freePort());
        }
        for (int i = 1; i <= SERVERS; i++) {
            File data = i == 1 ? home : new File(home, "ringkeeper-" + i);
            data.mkdirs();
            Files.write(new File(data, "myid").toPath(), (i + "\n").getBytes(StandardCharsets.UTF_8));
            int own = i == 1 ? port : Server.freePort();
            Map<String, String> all = new LinkedHashMap<>(lines);
            all.put("dataDir", data.getPath());
            all.put("clientPort", Integer.toString(own));
            all.put("clientPortAddress", "127.0.0.1");
            all.put("initLimit", "10");
            all.put("syncLimit", "5");
            all.putAll(members);
            servers.add(new Server(home, own, all));
        }
    }

    public void start() throws IOException {
        for (Server server : servers) {
            server.start();
        }
        for (Server server : servers) {
            server.awaitServing();
        }
        double often = Double.parseDouble(System.getProperty("ringkeeper.kills", "0"));
        if (often > 0 && servers.size() > 1) {
            Thread killer = new Thread(() -> killLeader((long) (often * 1000)), "killer");
            killer.setDaemon(true);
            killer.start();
        }
    }

    /** Kills the leader once, a while after the start, and starts it again. */
    private void killLeader(long after) {
        try {
            Thread.sleep(after);
            for (Server server : servers) {
                if (server.mode().equals("leader")) {
                    server.kill();
                    Thread.sleep(500);
                    if (!isEnded) {
                        server.start();
                    }
                    return;
                }
            }
        } catch (InterruptedException | IOException e) {
            Thread.currentThread().interrupt();
        }
    }

    private volatile boolean isEnded;

    public void kill() {
        isEnded = true;
        servers.forEach(Server::kill);
    }

    public void stop() {
        isEnded = true;
        servers.forEach(Server::stop);
    }
}
