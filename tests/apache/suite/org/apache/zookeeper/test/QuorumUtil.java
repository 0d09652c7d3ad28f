package org.apache.zookeeper.test;

import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.LearnerType;
import org.apache.zookeeper.server.quorum.QuorumPeer.QuorumServer;
import org.apache.zookeeper.server.quorum.QuorumPeer.ServerState;
import ringkeeper.Peer;

/** In the place of the class of this name: its members are Ringkeepers. */
public class QuorumUtil {

    /** A member, by the names that tests use. */
    public static class PeerStruct {
        public int id;
        public QuorumPeer peer;
        public File dataDir;
        public int clientPort;
    }

    public final int N;
    public final int ALL;
    public boolean disableJMXTest;

    private final int syncLimit;
    private final Map<Long, QuorumServer> members = new HashMap<>();
    private final Map<Integer, PeerStruct> peers = new TreeMap<>();
    private final List<String> addresses = new ArrayList<>();
    private boolean isLocal;

    public QuorumUtil(int n) {
        this(n, 3);
    }

    public QuorumUtil(int n, int syncLimit) {
        N = n;
        ALL = 2 * n + 1;
        this.syncLimit = syncLimit;
        try {
            ClientBase.setupTestEnv();
            for (int id = 1; id <= ALL; id++) {
                PeerStruct peer = new PeerStruct();
                peer.id = id;
                peer.dataDir = ClientBase.createTmpDir();
                peer.clientPort = PortAssignment.unique();
                peers.put(id, peer);
                addresses.add(getConnectionStringForServer(id));
                members.put((long) id, new QuorumServer(id, local(PortAssignment.unique()),
                    local(PortAssignment.unique()), local(peer.clientPort), LearnerType.PARTICIPANT));
            }
            for (PeerStruct peer : peers.values()) {
                peer.peer = make(peer);
            }
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static InetSocketAddress local(int port) {
        return new InetSocketAddress("127.0.0.1", port);
    }

    private Peer make(PeerStruct peer) throws IOException {
        Map<String, String> more = new HashMap<>();
        if (isLocal) {
            more.put("localSessionsEnabled", "true");
        }
        return new Peer(members, peer.dataDir, peer.clientPort, 3, peer.id, 2000, 3, syncLimit, 3, more);
    }

    public PeerStruct getPeer(int id) {
        return peers.get(id);
    }

    public void enableLocalSession(boolean isEnabled) {
        isLocal = isEnabled;
    }

    public void startAll() throws IOException {
        startFirst(ALL);
    }

    public void startQuorum() throws IOException {
        startFirst(N + 1);
    }

    private void startFirst(int count) throws IOException {
        shutdownAll();
        for (int id = 1; id <= count; id++) {
            start(id);
        }
        for (int id = 1; id <= count; id++) {
            awaitUp(id);
        }
    }

    private void awaitUp(int id) {
        if (!ClientBase.waitForServerUp(getConnectionStringForServer(id), ClientBase.CONNECTION_TIMEOUT)) {
            throw new AssertionError("server " + id + " does not serve");
        }
    }

    public void start(int id) throws IOException {
        PeerStruct peer = peers.get(id);
        peer.peer = make(peer);
        peer.peer.start();
    }

    public void restart(int id) throws IOException {
        start(id);
        awaitUp(id);
    }

    public void startThenShutdown(int id) throws IOException {
        restart(id);
        shutdown(id);
    }

    public void shutdown(int id) {
        peers.get(id).peer.shutdown();
    }

    public void shutdownAll() {
        for (int id : peers.keySet()) {
            shutdown(id);
        }
    }

    public void tearDown() throws Exception {
        shutdownAll();
    }

    public String getConnString() {
        return String.join(",", addresses);
    }

    public String getConnectString(QuorumPeer peer) {
        return "127.0.0.1:" + peer.getClientPort();
    }

    public String getConnectionStringForServer(int id) {
        return "127.0.0.1:" + peers.get(id).clientPort;
    }

    public boolean allPeersAreConnected() {
        return peers.values().stream().allMatch(peer -> peer.peer.getPeerState() != ServerState.LOOKING);
    }

    private int leader() {
        for (PeerStruct peer : peers.values()) {
            if (peer.peer.getPeerState() == ServerState.LEADING) {
                return peer.id;
            }
        }
        return 0;
    }

    public boolean leaderExists() {
        return leader() != 0;
    }

    public int getLeaderServer() {
        if (!leaderExists()) {
            throw new AssertionError("no server leads");
        }
        return leader();
    }

    public QuorumPeer getLeaderQuorumPeer() {
        return peers.get(getLeaderServer()).peer;
    }

    public List<QuorumPeer> getFollowerQuorumPeers() {
        int leader = leader();
        List<QuorumPeer> others = new ArrayList<>();
        for (PeerStruct peer : peers.values()) {
            if (peer.id != leader) {
                others.add(peer.peer);
            }
        }
        return Collections.unmodifiableList(others);
    }
}
