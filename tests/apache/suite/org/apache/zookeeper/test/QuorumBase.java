package org.apache.zookeeper.test;

import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.TestableZooKeeper;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.LearnerType;
import org.apache.zookeeper.server.quorum.QuorumPeer.QuorumServer;
import org.apache.zookeeper.server.quorum.QuorumPeer.ServerState;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import ringkeeper.Peer;

/** In the place of the class of this name: its five members are Ringkeepers. */
public class QuorumBase extends ClientBase {

    protected static final String LOCALADDR = "127.0.0.1";

    File s1dir;
    File s2dir;
    File s3dir;
    File s4dir;
    File s5dir;
    QuorumPeer s1;
    QuorumPeer s2;
    QuorumPeer s3;
    QuorumPeer s4;
    QuorumPeer s5;
    protected int port1;
    protected int port2;
    protected int port3;
    protected int port4;
    protected int port5;
    protected int portLE1;
    protected int portLE2;
    protected int portLE3;
    protected int portLE4;
    protected int portLE5;
    protected int portClient1;
    protected int portClient2;
    protected int portClient3;
    protected int portClient4;
    protected int portClient5;
    protected boolean localSessionsEnabled = false;
    protected boolean localSessionsUpgradingEnabled = false;
    Map<Long, QuorumServer> peers = null;
    private boolean hasObservers;

    @BeforeEach
    @Override
    public void setUp() throws Exception {
        setUp(false, true);
    }

    protected void setUp(boolean withObservers) throws Exception {
        setUp(withObservers, true);
    }

    protected void setUp(boolean withObservers, boolean withOracle) throws Exception {
        setupTestEnv();
        setUpAll();
        port1 = PortAssignment.unique();
        port2 = PortAssignment.unique();
        port3 = PortAssignment.unique();
        port4 = PortAssignment.unique();
        port5 = PortAssignment.unique();
        portLE1 = PortAssignment.unique();
        portLE2 = PortAssignment.unique();
        portLE3 = PortAssignment.unique();
        portLE4 = PortAssignment.unique();
        portLE5 = PortAssignment.unique();
        portClient1 = PortAssignment.unique();
        portClient2 = PortAssignment.unique();
        portClient3 = PortAssignment.unique();
        portClient4 = PortAssignment.unique();
        portClient5 = PortAssignment.unique();
        hostPort = "";
        for (int id = 1; id <= 5; id++) {
            hostPort += (id == 1 ? "" : ",") + LOCALADDR + ":" + clientPort(id);
        }
        s1dir = createTmpDir();
        s2dir = createTmpDir();
        s3dir = createTmpDir();
        s4dir = createTmpDir();
        s5dir = createTmpDir();
        startServers(withObservers, withOracle);
    }

    void startServers() throws Exception {
        startServers(false, true);
    }

    void startServers(boolean withObservers) throws Exception {
        startServers(withObservers, true);
    }

    void startServers(boolean withObservers, boolean withOracle) throws Exception {
        hasObservers = withObservers;
        peers = null;
        setupServers();
        for (QuorumPeer peer : getPeerList()) {
            peer.start();
        }
        for (String one : hostPort.split(",")) {
            if (!waitForServerUp(one, CONNECTION_TIMEOUT)) {
                throw new AssertionError(one + " does not serve");
            }
        }
    }

    public void setupServers() throws IOException {
        for (int id = 1; id <= 5; id++) {
            setupServer(id);
        }
    }

    public void setupServer(int id) throws IOException {
        int[] quorum = {port1, port2, port3, port4, port5};
        int[] votes = {portLE1, portLE2, portLE3, portLE4, portLE5};
        if (peers == null) {
            peers = new HashMap<>();
            for (int i = 1; i <= 5; i++) {
                LearnerType role = hasObservers && i > 3 ? LearnerType.OBSERVER : LearnerType.PARTICIPANT;
                peers.put((long) i, new QuorumServer(i, local(quorum[i - 1]), local(votes[i - 1]),
                    local(clientPort(i)), role));
            }
        }
        Map<String, String> more = new HashMap<>();
        more.put("localSessionsEnabled", Boolean.toString(localSessionsEnabled));
        more.put("localSessionsUpgradingEnabled", Boolean.toString(localSessionsUpgradingEnabled));
        File[] homes = {s1dir, s2dir, s3dir, s4dir, s5dir};
        QuorumPeer peer = new Peer(peers, homes[id - 1], clientPort(id), 3, id, 2000, 3, 3, 3, more);
        switch (id) {
            case 1:
                s1 = peer;
                break;
            case 2:
                s2 = peer;
                break;
            case 3:
                s3 = peer;
                break;
            case 4:
                s4 = peer;
                break;
            default:
                s5 = peer;
        }
    }

    private static InetSocketAddress local(int port) {
        return new InetSocketAddress(LOCALADDR, port);
    }

    private int clientPort(int id) {
        return new int[] {portClient1, portClient2, portClient3, portClient4, portClient5}[id - 1];
    }

    public ArrayList<QuorumPeer> getPeerList() {
        return new ArrayList<>(Arrays.asList(s1, s2, s3, s4, s5));
    }

    public int getLeaderIndex() {
        for (int i = 0; i < 5; i++) {
            if (getPeerList().get(i).getPeerState() == ServerState.LEADING) {
                return i;
            }
        }
        return -1;
    }

    public int getLeaderClientPort() {
        int leader = getLeaderIndex();
        return leader < 0 ? -1 : clientPort(leader + 1);
    }

    public QuorumPeer getLeaderQuorumPeer() {
        int leader = getLeaderIndex();
        return leader < 0 ? null : getPeerList().get(leader);
    }

    public File getLeaderDataDir() {
        int leader = getLeaderIndex();
        return leader < 0 ? null : new File[] {s1dir, s2dir, s3dir, s4dir, s5dir}[leader];
    }

    public QuorumPeer getFirstObserver() {
        return hasObservers ? s4 : null;
    }

    public int getFirstObserverClientPort() {
        return hasObservers ? portClient4 : -1;
    }

    public String getPeersMatching(ServerState state) {
        StringBuilder found = new StringBuilder();
        for (QuorumPeer peer : getPeerList()) {
            if (peer.getPeerState() == state) {
                found.append(LOCALADDR).append(':').append(peer.getClientPort()).append(',');
            }
        }
        return found.toString();
    }

    public QuorumPeer getPeerByClientPort(int port) {
        for (QuorumPeer peer : getPeerList()) {
            if (peer.getClientPort() == port) {
                return peer;
            }
        }
        return null;
    }

    @AfterEach
    @Override
    public void tearDown() throws Exception {
        tearDownAll();
        shutdownServers();
    }

    public void shutdownServers() {
        for (QuorumPeer peer : getPeerList()) {
            shutdown(peer);
        }
    }

    public static void shutdown(QuorumPeer peer) {
        if (peer != null) {
            peer.shutdown();
        }
    }

    protected TestableZooKeeper createClient() throws IOException, InterruptedException {
        return createClient(hostPort);
    }

    protected TestableZooKeeper createClient(String address) throws IOException, InterruptedException {
        return createClient(new CountdownWatcher(), address);
    }

    protected TestableZooKeeper createClient(CountdownWatcher watcher, ServerState state)
            throws IOException, InterruptedException {
        return createClient(watcher, getPeersMatching(state));
    }
}
