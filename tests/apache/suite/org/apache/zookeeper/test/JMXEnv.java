package org.apache.zookeeper.test;

import java.util.Collections;
import java.util.List;
import java.util.Set;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;

/** In the place of the class of this name: a server in another process has no beans here. */
public final class JMXEnv {

    private JMXEnv() {}

    public static void setUp() {}

    public static void tearDown() {}

    public static void dump() {}

    public static MBeanServerConnection conn() {
        throw new UnsupportedOperationException("no beans");
    }

    public static Set<ObjectName> ensureAll(String... names) {
        return Collections.emptySet();
    }

    public static Set<ObjectName> ensureOnly(String... names) {
        return Collections.emptySet();
    }

    public static void ensureNone(String... names) {}

    public static Set<ObjectName> ensureParent(String... names) {
        return Collections.emptySet();
    }

    public static Object ensureBeanAttribute(String name, String attribute) {
        throw new UnsupportedOperationException("no beans");
    }

    public static List<ObjectName> getServerBeans() {
        return Collections.emptyList();
    }

    public static ObjectName getServerBean() {
        throw new UnsupportedOperationException("no beans");
    }
}
