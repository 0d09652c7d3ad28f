package org.apache.curator.test;

import java.io.File;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import ringkeeper.Server;
import ringkeeper.Three;

/** In the place of the class of this name: where it has a server in its machine, here are Ringkeepers. */
public class ZooKeeperServerEmbeddedAdapter implements ZooKeeperMainFace {

    private Server member;
    private Three three;
    private int port;

    @Override
    public void start(QuorumPeerConfigBuilder builder) {
        try {
            Properties properties = builder.buildProperties();
            port = Integer.parseInt(properties.getProperty("clientPort"));
            if (port == 0) {
                port = Server.freePort();
            }
            Map<String, String> lines = new LinkedHashMap<>();
            boolean isMember = false;
            for (String key : properties.stringPropertyNames()) {
                boolean isServer = key.startsWith("server.");
                isMember |= isServer;
                // The client's port stands in the line clientPort.
                String value = properties.getProperty(key);
                lines.put(key, isServer ? value.substring(0, value.indexOf(';')) : value);
            }
            File home = new File(properties.getProperty("dataDir"));
            if (isMember) {
                lines.put("clientPort", Integer.toString(port));
                lines.put("clientPortAddress", "127.0.0.1");
                member = new Server(home, port, lines);
                member.start();
            } else {
                three = new Three(home, port, lines);
                three.start();
            }
        } catch (Exception e) {
            throw new FailedServerStartException(e);
        }
    }

    @Override
    public int getClientPort() {
        return port;
    }

    @Override
    public void kill() {
        if (member != null) {
            member.kill();
        }
        if (three != null) {
            three.kill();
        }
    }

    @Override
    public void close() throws IOException {
        if (member != null) {
            member.stop();
        }
        if (three != null) {
            three.stop();
        }
    }
}
