package ringkeeper;

import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.zookeeper.server.quorum.QuorumPeer;

/** A member of an ensemble that a test starts in its own machine: a Ringkeeper is started instead. */
public final class Peer extends QuorumPeer {

    private final Server server;

    public Peer(Map<Long, QuorumServer> members, File data, int port, int election, long id, int tickTime,
            int initLimit, int syncLimit, int connectLimit, Map<String, String> more) throws IOException {
        super(members, data, data, port, election, id, tickTime, initLimit, syncLimit, connectLimit);
        Files.write(new File(data, "myid").toPath(), (id + "\n").getBytes(StandardCharsets.UTF_8));
        Map<String, String> lines = new LinkedHashMap<>(more);
        lines.put("tickTime", Integer.toString(tickTime));
        lines.put("initLimit", Integer.toString(initLimit));
        lines.put("syncLimit", Integer.toString(syncLimit));
        lines.put("connectToLearnerMasterLimit", Integer.toString(connectLimit));
        lines.put("maxClientCnxns", "0");
        lines.put("dataDir", data.getPath());
        lines.put("clientPort", Integer.toString(port));
        lines.put("clientPortAddress", "127.0.0.1");
        for (QuorumServer member : members.values()) {
            InetSocketAddress quorum = member.addr.getOne();
            InetSocketAddress votes = member.electionAddr.getOne();
            String role = member.type == LearnerType.OBSERVER ? "observer" : "participant";
            lines.put("server." + member.id,
                "127.0.0.1:" + quorum.getPort() + ":" + votes.getPort() + ":" + role);
            if (member.id == id && member.type == LearnerType.OBSERVER) {
                lines.put("peerType", "observer");
            }
        }
        server = new Server(data, port, lines);
    }

    @Override
    public synchronized void start() {
        try {
            server.start();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    /** A setting of a process: it is started again with it. */
    @Override
    public void enableLocalSessions(boolean isEnabled) {
        super.enableLocalSessions(isEnabled);
        server.set("localSessionsEnabled", Boolean.toString(isEnabled));
        if (server.isRunning()) {
            server.stop();
            start();
        }
    }

    @Override
    public void shutdown() {
        server.stop();
    }

    @Override
    public synchronized ServerState getPeerState() {
        switch (server.mode()) {
            case "leader":
                return ServerState.LEADING;
            case "follower":
                return ServerState.FOLLOWING;
            case "observer":
                return ServerState.OBSERVING;
            default:
                return ServerState.LOOKING;
        }
    }
}
