package ringkeeper;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/** One Ringkeeper: a process, its configuration and its data directory. */
public final class Server {

    private static final String PROGRAM = System.getProperty("ringkeeper.program");
    private static final long START_MS = 30_000;
    private static final int LAST_PORT = 32_000;

    private static int next = 26_000;

    public final int port;
    private final File home;
    private final Map<String, String> lines;
    private Process process;

    /** `home` takes the configuration and the log; it must exist. */
    public Server(File home, int port, Map<String, String> lines) {
        this.home = home;
        this.port = port;
        this.lines = new LinkedHashMap<>(lines);
        Runtime.getRuntime().addShutdownHook(new Thread(this::kill));
    }

    /** A line of the configuration, from the next start on. */
    public synchronized void set(String key, String value) {
        lines.put(key, value);
    }

    public synchronized void start() throws IOException {
        if (isRunning()) {
            return;
        }
        StringBuilder text = new StringBuilder();
        for (Map.Entry<String, String> line : lines.entrySet()) {
            text.append(line.getKey()).append('=').append(line.getValue()).append('\n');
        }
        File file = new File(home, "ringkeeper-" + port + ".cfg");
        Files.write(file.toPath(), text.toString().getBytes(StandardCharsets.UTF_8));
        List<String> command = new ArrayList<>();
        command.add(PROGRAM);
        command.add("server");
        for (Map.Entry<String, String> property : properties().entrySet()) {
            command.add("-D" + property.getKey() + "=" + property.getValue());
        }
        command.add(file.getPath());
        File logs = new File(System.getProperty("ringkeeper.logs"));
        process = new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(new File(logs, port + ".log")))
            .start();
    }

    /** What a test has set for the server in its own machine. */
    private static Map<String, String> properties() {
        Map<String, String> found = new TreeMap<>();
        Properties all = System.getProperties();
        for (String name : all.stringPropertyNames()) {
            if ((name.startsWith("zookeeper.") || name.startsWith("jute.") || name.startsWith("znode.")
                    || name.startsWith("readonlymode.")) && !name.contains("serverCnxnFactory")
                    && !name.contains(".ssl.") && !name.contains("clientCnxnSocket")) {
                found.put(name, all.getProperty(name));
            }
        }
        found.put("zookeeper.admin.enableServer", "false");
        found.put("zookeeper.4lw.commands.whitelist",
            System.getProperty("zookeeper.4lw.commands.whitelist", "*"));
        return found;
    }

    public synchronized boolean isRunning() {
        return process != null && process.isAlive();
    }

    public synchronized void kill() {
        end(true);
    }

    public synchronized void stop() {
        end(false);
    }

    private void end(boolean hard) {
        if (process == null) {
            return;
        }
        if (hard) {
            process.destroyForcibly();
        } else {
            process.destroy();
        }
        try {
            if (!process.waitFor(30, TimeUnit.SECONDS)) {
                process.destroyForcibly().waitFor();
                throw new IllegalStateException("a server did not end within 30 s: " + port);
            }
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        } finally {
            process = null;
        }
    }

    /** `leader`, `follower`, `observer`, `standalone`, `read-only`, or "" where it does not serve. */
    public String mode() {
        for (String line : word("srvr").split("\n")) {
            if (line.startsWith("Mode: ")) {
                return line.substring(6).trim();
            }
        }
        return "";
    }

    public String word(String word) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("127.0.0.1", port), 3000);
            socket.setSoTimeout(3000);
            socket.getOutputStream().write(word.getBytes(StandardCharsets.US_ASCII));
            InputStream in = socket.getInputStream();
            StringBuilder answer = new StringBuilder();
            byte[] bytes = new byte[4096];
            for (int n = in.read(bytes); n > 0; n = in.read(bytes)) {
                answer.append(new String(bytes, 0, n, StandardCharsets.UTF_8));
            }
            return answer.toString();
        } catch (IOException e) {
            return "";
        }
    }

    public void awaitServing() throws IOException {
        long end = System.currentTimeMillis() + START_MS;
        while (mode().isEmpty()) {
            if (!isRunning()) {
                throw new IOException("the server on port " + port + " has ended");
            }
            if (System.currentTimeMillis() > end) {
                throw new IOException("the server on port " + port + " does not serve");
            }
            try {
                Thread.sleep(20);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IOException(e);
            }
        }
    }

    /** A port that no server has had yet, and that the kernel gives to no connection. */
    public static synchronized int freePort() throws IOException {
        while (next < LAST_PORT) {
            next++;
            try (ServerSocket socket = new ServerSocket(next)) {
                return socket.getLocalPort();
            } catch (IOException e) {
                continue;
            }
        }
        throw new IOException("no port is free");
    }
}
