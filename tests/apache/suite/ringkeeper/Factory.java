package ringkeeper;

import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.zookeeper.server.ServerCnxn;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * What zookeeper.serverCnxnFactory names: where a test starts a server in its own machine, the
 * connections of its clients go to Ringkeepers instead, on the same port.
 */
public final class Factory extends ServerCnxnFactory {

    private InetSocketAddress address;
    private int perHost;
    private Three three;

    @Override
    public void configure(InetSocketAddress addr, int maxcc, int backlog, boolean secure) {
        this.address = addr;
        this.perHost = maxcc;
        this.secure = secure;
    }

    @Override
    public void startup(ZooKeeperServer server, boolean startServer) throws IOException {
        zkServer = server;
        server.setServerCnxnFactory(this);
        File home = server.getTxnLogFactory().getSnapDir().getParentFile();
        Map<String, String> lines = new LinkedHashMap<>();
        lines.put("tickTime", Integer.toString(server.getTickTime()));
        lines.put("minSessionTimeout", Integer.toString(server.getMinSessionTimeout()));
        lines.put("maxSessionTimeout", Integer.toString(server.getMaxSessionTimeout()));
        lines.put("maxClientCnxns", Integer.toString(perHost));
        three = new Three(home, address.getPort(), lines);
        three.start();
    }

    @Override
    public void shutdown() {
        if (three != null) {
            three.stop();
            three = null;
        }
    }

    @Override
    public int getLocalPort() {
        return address.getPort();
    }

    @Override
    public InetSocketAddress getLocalAddress() {
        return address;
    }

    @Override
    public Iterable<ServerCnxn> getConnections() {
        return Collections.emptyList();
    }

    @Override
    public boolean closeSession(long sessionId, ServerCnxn.DisconnectReason reason) {
        return false;
    }

    @Override
    public void reconfigure(InetSocketAddress addr) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int getMaxClientCnxnsPerHost() {
        return perHost;
    }

    @Override
    public void setMaxClientCnxnsPerHost(int max) {
        perHost = max;
    }

    @Override
    public int getSocketListenBacklog() {
        return -1;
    }

    @Override
    public void join() {}

    @Override
    public void start() {}

    @Override
    public void closeAll(ServerCnxn.DisconnectReason reason) {}

    @Override
    public void resetAllConnectionStats() {}

    @Override
    public Iterable<Map<String, Object>> getAllConnectionInfo(boolean brief) {
        return Collections.emptyList();
    }
}
