//! Every key of ZooKeeper 3.4 to 3.10 and of Ringkeeper: where it is read, what its value is, and
//! what it does here.
//!
//! It is data. The reader looks a key up to know how to take it, and the notices at start are made
//! from the same row, so that a key without a row can only be a misspelt one.

use Shape::{Bool, Double, Int, Long, Text};
use Source::{File, Jvm, Own, Property};
use Standing::{Alias, Client, Ensemble, Inert, NotYet, Used};

/// The place where Apache reads a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Parsed from zoo.cfg itself; `-Dzookeeper.KEY` does nothing.
    File,
    /// `KEY` in zoo.cfg or `-Dzookeeper.KEY`.
    Property,
    /// `-DKEY` alone: the property has no `zookeeper.` prefix, so zoo.cfg cannot set it.
    Jvm,
    /// Ringkeeper's own: `KEY` in zoo.cfg (Apache passes over it), `-DKEY` or `-Dzookeeper.KEY`.
    Own,
}

/// The kind of text that a value is; decides what a directly parsed key refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// A number with a fraction.
    Double,
    /// `true` or `false`.
    Bool,
    /// Must never be shown.
    Secret,
}

/// The effect of a key in Ringkeeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does what it does in Apache.
    Used,
    /// Documented by Apache under this name, which Apache does not read; taken as the key named
    /// here.
    Alias(&'static str),
    /// Its effect is not built; what that means and what to do, said unless the value asks for
    /// nothing (`off` values).
    NotYet(&'static str),
    /// It tunes a part that does not exist here; why nothing is lost.
    Inert(&'static str),
    /// It counts in an ensemble only.
    Ensemble,
    /// ZooKeeper's client reads it, no server does.
    Client,
}

/// One row of [`KEYS`].
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name as zoo.cfg has it, without `zookeeper.`; one that ends in `.` stands for every name
    /// that begins so.
    pub name: &'static str,
    /// The place where it is read.
    pub source: Source,
    /// The shape of its value.
    pub shape: Shape,
    /// Its effect here.
    pub standing: Standing,
}

impl Key {
    /// Whether this row stands for every key with its prefix.
    pub fn is_family(&self) -> bool {
        self.name.ends_with('.')
    }

    /// Whether `value` asks for nothing, so that a key that is not supported yet needs no warning.
    pub fn is_off(&self, value: &str) -> bool {
        let word = value.to_ascii_lowercase();
        match self.shape {
            Shape::Bool => word != "true",
            Shape::Int | Shape::Long => word.parse::<i64>().is_ok_and(|n| n <= 0),
            _ => word.is_empty(),
        }
    }
}

/// The row for `name`: an exact one, else the longest family it belongs to.
pub fn find(name: &str) -> Option<&'static Key> {
    let exact = KEYS.iter().find(|key| key.name == name && !key.is_family());
    let families = || KEYS.iter().filter(|key| key.is_family() && name.starts_with(key.name));
    exact.or_else(|| families().max_by_key(|key| key.name.len()))
}

/// Whether a `-D` property belongs to the JVM, its logging or its management, so that a server
/// without a JVM passes over it.
pub fn is_jvm_business(property: &str) -> bool {
    JVM_FAMILIES.iter().any(|family| property.starts_with(family))
}

const JVM_FAMILIES: &[&str] = &[
    "java.",
    "javax.",
    "sun.",
    "com.sun.",
    "jdk.",
    "user.",
    "os.",
    "file.",
    "log4j",
    "logback",
    "slf4j",
    "jmx.",
    "io.netty.",
    "org.slf4j.",
    "org.eclipse.jetty.",
    "zookeeper.log.",
    "zookeeper.root.logger",
    "zookeeper.console.threshold",
    "zookeeper.logs.",
    "zookeeper.tracelog.",
    "zookeeper.auditlog.",
    "zookeeper.jmx.",
    "visualvm.",
    "networkaddress.",
];

const fn key(name: &'static str, source: Source, shape: Shape, standing: Standing) -> Key {
    Key { name, source, shape, standing }
}

const TLS: &str = "TLS is not in this version and its port stays closed; end it in a proxy, or \
                   keep to clientPort";
const QUORUM_TLS: &str = "TLS between servers is not in this version";
const SASL: &str = "SASL is not in this version; use the digest scheme";
const ADMIN: &str = "the HTTP admin server is not in this version and its port stays closed; \
                     use the four-letter words (4lw.commands.whitelist)";
const METRICS: &str = "metrics are not exported over HTTP in this version and the port stays \
                       closed; read the word mntr";
const AUDIT: &str = "the audit log is not in this version; nothing is written";
const NIO: &str = "it sizes Java's NIO threads; cores and shards are set by ringkeeper.cores and \
                   ringkeeper.shards";
const NETTY: &str = "it tunes Netty, which is not here";
const PIPELINE: &str =
    "it sizes a queue or thread of Apache's pipeline, which is built differently here";
const WATCH_TABLE: &str = "it tunes Apache's watch tables; watches need no cleaner here";
const CACHE: &str = "replies are built from the tree directly; there is no response cache to size";
const PAUSE: &str = "there is no JVM, hence no pause to watch for";
const TRACKING: &str = "it is a diagnosis of Apache's own; use mntr";
const KERBEROS: &str = "Kerberos is not in this version; use the digest scheme";
const REQUEST_THROTTLE: &str =
    "requests are not throttled in this version; globalOutstandingLimit bounds what is in process";
const CONNECTION_THROTTLE: &str = "new connections are not throttled in this version; maxCnxns and \
                                   maxClientCnxns bound how many there are";
const TTL_353: &str = "TTL nodes as 3.5.3 wrote them are not told from ephemerals; delete them \
                       before the data comes here";
const GROUP_COMMIT: &str =
    "a group is flushed as soon as the flush before it ends; there is nothing to wait for";
const PEERS: &str = "no thread waits for another server here";
const NODELAY: &str = "nothing is held back between servers (TCP_NODELAY is always on)";
const TESTS: &str = "Apache's own tests set it; it has no place in a server";

/// Every key there is, by theme.
pub const KEYS: &[Key] = &[
    // Where the server listens and keeps its data.
    key("clientPort", File, Int, Used),
    key("clientPortAddress", File, Text, Used),
    key("clientPortListenBacklog", File, Int, Used),
    key("dataDir", File, Text, Used),
    key("dataLogDir", File, Text, Used),
    key("datadir.autocreate", Property, Bool, Used),
    key("db.autocreate", Property, Bool, Ensemble),
    key("tickTime", File, Int, Used),
    key("minSessionTimeout", File, Int, Used),
    key("maxSessionTimeout", File, Int, Used),
    key("maxClientCnxns", File, Int, Used),
    key("maxCnxns", Property, Int, Used),
    key("nio.sessionlessCnxnTimeout", Property, Int, Used),
    key("clientTcpKeepAlive", Property, Bool, Used),
    key("4lw.commands.whitelist", Property, Text, Used),
    key("readonlymode.enabled", Jvm, Bool, Used),
    // Limits.
    key("globalOutstandingLimit", Property, Int, Used),
    key("jute.maxbuffer", Jvm, Int, Used),
    key("jute.maxbuffer.extrasize", Property, Int, Used),
    key("largeRequestMaxBytes", Property, Int, Used),
    key("largeRequestThreshold", Property, Int, Used),
    key("request_throttle_max_requests", Property, Int, NotYet(REQUEST_THROTTLE)),
    key("request_throttle_stall_time", Property, Int, NotYet(REQUEST_THROTTLE)),
    key("request_throttle_drop_stale", Property, Bool, NotYet(REQUEST_THROTTLE)),
    key("request_stale_latency_check", Property, Bool, NotYet(REQUEST_THROTTLE)),
    key("request_stale_connection_check", Property, Bool, NotYet(REQUEST_THROTTLE)),
    key("request_throttler.shutdownTimeout", Property, Int, Inert(PIPELINE)),
    key("throttled_op_wait_time", Property, Int, NotYet(REQUEST_THROTTLE)),
    key("connection_throttle_tokens", Property, Int, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_fill_time", Property, Int, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_fill_count", Property, Int, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_freeze_time", Property, Int, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_drop_increase", Property, Double, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_drop_decrease", Property, Double, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_decrease_ratio", Property, Double, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_weight_enabled", Property, Bool, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_global_session_weight", Property, Int, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_local_session_weight", Property, Int, NotYet(CONNECTION_THROTTLE)),
    key("connection_throttle_renew_session_weight", Property, Int, NotYet(CONNECTION_THROTTLE)),
    // Names in Apache's documentation that Apache's code does not read.
    key("connectionMaxTokens", Property, Int, Alias("connection_throttle_tokens")),
    key("connectionTokenFillTime", Property, Int, Alias("connection_throttle_fill_time")),
    key("connectionTokenFillCount", Property, Int, Alias("connection_throttle_fill_count")),
    key("connectionFreezeTime", Property, Int, Alias("connection_throttle_freeze_time")),
    key("connectionDropIncrease", Property, Double, Alias("connection_throttle_drop_increase")),
    key("connectionDropDecrease", Property, Double, Alias("connection_throttle_drop_decrease")),
    key("connectionDecreaseRatio", Property, Double, Alias("connection_throttle_decrease_ratio")),
    key("requestThrottleLimit", Property, Int, Alias("request_throttle_max_requests")),
    key("requestThrottleStallTime", Property, Int, Alias("request_throttle_stall_time")),
    key("requestThrottleDropStale", Property, Bool, Alias("request_throttle_drop_stale")),
    key("requestStaleLatencyCheck", Property, Bool, Alias("request_stale_latency_check")),
    key("requestStaleConnectionCheck", Property, Bool, Alias("request_stale_connection_check")),
    key("throttledOpWaitTime", Property, Int, Alias("throttled_op_wait_time")),
    key("maxConcurrentSnapSyncs", Property, Int, Alias("leader.maxConcurrentSnapSyncs")),
    key("maxConcurrentDiffSyncs", Property, Int, Alias("leader.maxConcurrentDiffSyncs")),
    key("maxTimeToWaitForEpoch", Property, Int, Alias("leader.maxTimeToWaitForEpoch")),
    key("advancedFlowControlEnabled", Property, Bool, Alias("netty.advancedFlowControl.enabled")),
    key(
        "outstandingHandshake.limit",
        Property,
        Int,
        Alias("netty.server.outstandingHandshake.limit"),
    ),
    // Log and snapshots.
    key("snapCount", Property, Int, Used),
    key("snapSizeLimitInKb", Property, Long, Used),
    key("preAllocSize", Property, Long, Used),
    key("txnLogSizeLimitInKb", Property, Long, Used),
    key("forceSync", Property, Text, Used),
    key("fsync.warningthresholdms", Property, Long, Used),
    key("flushDelay", Property, Long, Inert(GROUP_COMMIT)),
    key("maxBatchSize", Property, Int, Inert(GROUP_COMMIT)),
    key("maxWriteQueuePollTime", Property, Long, Inert(GROUP_COMMIT)),
    key("snapshot.compression.method", Property, Text, Used),
    key("snapshot.trust.empty", Property, Bool, Used),
    key("serializeLastProcessedZxid.enabled", Property, Bool, Used),
    key("closeSessionTxn.enabled", Property, Bool, Used),
    key("digest.enabled", Property, Bool, Used),
    key("commitLogCount", Property, Int, Ensemble),
    key("snapshotSizeFactor", Property, Double, Ensemble),
    key("autopurge.snapRetainCount", File, Int, Used),
    key("autopurge.purgeInterval", File, Text, Used),
    // Znodes, quotas, access.
    key("extendedTypesEnabled", Property, Bool, Used),
    key("emulate353TTLNodes", Property, Bool, NotYet(TTL_353)),
    key("znode.container.checkIntervalMs", Jvm, Int, Used),
    key("znode.container.maxPerMinute", Jvm, Int, Used),
    key("znode.container.maxNeverUsedIntervalMs", Jvm, Long, Used),
    key("enforceQuota", Property, Bool, Used),
    key("skipACL", Property, Text, Used),
    key("DigestAuthenticationProvider.superDigest", Property, Shape::Secret, Used),
    key("DigestAuthenticationProvider.digestAlg", Property, Text, Used),
    key("DigestAuthenticationProvider.enabled", Property, Bool, Used),
    key("enforce.auth.enabled", Property, Bool, Used),
    key("enforce.auth.schemes", Property, Text, Used),
    key(
        "IPAuthenticationProvider.usexforwardedfor",
        Property,
        Bool,
        Inert("it serves the HTTP admin server only"),
    ),
    key(
        "ensembleAuthName",
        Property,
        Text,
        NotYet("the scheme ensemble is not in this version; it is unknown to clients"),
    ),
    key("authProvider.", Property, Text, Used),
    // Ringkeeper's own.
    key("ringkeeper.shards", Own, Int, Used),
    key("ringkeeper.cores", Own, Text, Used),
    key("ringkeeper.placement", Own, Text, Used),
    key("ringkeeper.log", Own, Text, Used),
    key("ringkeeper.log.format", Own, Text, Used),
    key("ringkeeper.log.file", Own, Text, Used),
    key("ringkeeper.log.level", Own, Text, Used),
    key("ringkeeper.peerNetworks", Own, Text, Ensemble),
    key("ringkeeper.proposalBytesMax", Own, Long, Ensemble),
    key("ringkeeper.memoryKeptFree", Own, Long, Ensemble),
    // The ensemble.
    key("server.", File, Text, Used),
    key("group.", File, Text, Used),
    key("weight.", File, Text, Used),
    key("dynamicConfigFile", File, Text, Used),
    key("version", File, Text, Ensemble),
    key("standaloneEnabled", File, Bool, Used),
    key("reconfigEnabled", File, Bool, Used),
    key("initLimit", File, Int, Ensemble),
    key("syncLimit", File, Int, Ensemble),
    key("connectToLearnerMasterLimit", File, Int, Ensemble),
    key("electionAlg", File, Int, Ensemble),
    key("quorumListenOnAllIPs", File, Bool, Ensemble),
    key("peerType", File, Text, Ensemble),
    key("syncEnabled", File, Bool, Ensemble),
    key("observerMasterPort", File, Int, Ensemble),
    key("localSessionsEnabled", File, Bool, Ensemble),
    key("localSessionsUpgradingEnabled", File, Bool, Ensemble),
    key("multiAddress.enabled", File, Bool, Ensemble),
    key("multiAddress.reachabilityCheckTimeoutMs", File, Int, Ensemble),
    key("multiAddress.reachabilityCheckEnabled", File, Bool, Ensemble),
    key("oraclePath", File, Text, Ensemble),
    key("leaderServes", Property, Text, Ensemble),
    key("cnxTimeout", Property, Int, Ensemble),
    key("tcpKeepAlive", Property, Bool, Ensemble),
    key("electionPortBindRetry", Property, Int, Ensemble),
    key("quorumCnxnTimeoutMs", Property, Int, Ensemble),
    key("fastleader.minNotificationInterval", Property, Int, Ensemble),
    key("fastleader.maxNotificationInterval", Property, Int, Ensemble),
    key("leader.maxTimeToWaitForEpoch", Property, Int, Ensemble),
    key("leader.maxConcurrentSnapSyncs", Property, Int, Ensemble),
    key("leader.maxConcurrentDiffSyncs", Property, Int, Ensemble),
    key("leader.ackLoggingFrequency", Property, Int, Inert(TRACKING)),
    key("leader.closeSocketAsync", Property, Bool, Inert(PEERS)),
    key("leader.nodelay", Jvm, Bool, Inert(NODELAY)),
    key("follower.nodelay", Jvm, Bool, Inert(NODELAY)),
    key("leaderConnectDelayDuringRetryMs", Property, Int, Ensemble),
    key("learner.asyncSending", Property, Bool, Inert(PEERS)),
    key("learner.closeSocketAsync", Property, Bool, Inert(PEERS)),
    key("follower.skipLearnerRequestToNextProcessor", Property, Bool, Inert(PIPELINE)),
    key("forward_learner_requests_to_commit_processor_disabled", Property, Bool, Inert(PIPELINE)),
    key("forceSnapshotSync", Property, Bool, Ensemble),
    key("observer.syncEnabled", Property, Bool, Ensemble),
    key("observer.reconnectDelayMs", Property, Long, Ensemble),
    key("observer.election.DelayMs", Property, Long, Ensemble),
    key("observerMaster.sizeLimit", Property, Int, Ensemble),
    key("enableEagerACLCheck", Property, Bool, Ensemble),
    key("quorum.auth.", File, Text, Ensemble),
    key("quorum.auth.enableSasl", File, Bool, Ensemble),
    key("quorum.auth.serverRequireSasl", File, Bool, Ensemble),
    key("quorum.auth.learnerRequireSasl", File, Bool, Ensemble),
    key("quorum.cnxn.threads.size", File, Int, Inert(PEERS)),
    key("sslQuorum", File, Bool, NotYet(QUORUM_TLS)),
    key("sslQuorumReloadCertFiles", File, Bool, NotYet(QUORUM_TLS)),
    key("portUnification", File, Bool, NotYet(QUORUM_TLS)),
    key("ssl.quorum.", Property, Shape::Secret, NotYet(QUORUM_TLS)),
    // Transport security and SASL.
    key("secureClientPort", File, Int, NotYet(TLS)),
    key("secureClientPortAddress", File, Text, NotYet(TLS)),
    key("client.portUnification", Property, Bool, NotYet(TLS)),
    key("client.certReload", Property, Bool, NotYet(TLS)),
    key("ssl.", Property, Shape::Secret, NotYet(TLS)),
    key("fips-mode", Property, Bool, Inert("it chooses between Java's security providers")),
    key("X509AuthenticationProvider.superUser", Property, Shape::Secret, NotYet(TLS)),
    key("sessionRequireClientSASLAuth", Property, Bool, Used),
    key("allowSaslFailedClients", Property, Bool, NotYet(SASL)),
    key("sasl.serverconfig", Property, Text, NotYet(SASL)),
    key("letAnySaslUserDoX", Property, Text, NotYet(SASL)),
    key("superUser", Property, Shape::Secret, NotYet(SASL)),
    key("superUser.", Property, Shape::Secret, NotYet(SASL)),
    key("SASLAuthenticationProvider.superPassword", Property, Shape::Secret, NotYet(SASL)),
    key("java.security.auth.login.config", Jvm, Text, NotYet(SASL)),
    key("kerberos.", Property, Text, NotYet(KERBEROS)),
    key("requireKerberosConfig", Property, Bool, NotYet(KERBEROS)),
    key("security.auth_to_local", Property, Text, NotYet(KERBEROS)),
    key("kinit", Property, Text, NotYet(KERBEROS)),
    // Administration and diagnosis.
    key("admin.enableServer", Property, Bool, NotYet(ADMIN)),
    key("admin.", Property, Text, NotYet(ADMIN)),
    key("metricsProvider.className", File, Text, Used),
    key("metricsProvider.", File, Text, NotYet(METRICS)),
    key("audit.enable", Property, Bool, NotYet(AUDIT)),
    key("audit.impl.class", Property, Text, NotYet(AUDIT)),
    key("jvm.pause.monitor", File, Bool, Inert(PAUSE)),
    key("jvm.pause.info-threshold.ms", File, Long, Inert(PAUSE)),
    key("jvm.pause.warn-threshold.ms", File, Long, Inert(PAUSE)),
    key("jvm.pause.sleep.time.ms", File, Long, Inert(PAUSE)),
    key("pathStats.", Property, Text, Inert(TRACKING)),
    key("messageTracker.", Property, Text, Inert(TRACKING)),
    key("jmx.", Property, Text, Inert("there is no JVM to manage; use mntr")),
    key("server.realm", Property, Text, Client),
    key("server.principal", Property, Text, Client),
    // Parts that Apache is built of.
    key("serverCnxnFactory", Property, Text, Used),
    key("watchManagerName", Property, Text, Used),
    key("nio.numSelectorThreads", Property, Int, Inert(NIO)),
    key("nio.numWorkerThreads", Property, Int, Inert(NIO)),
    key("nio.directBufferBytes", Property, Int, Inert(NIO)),
    key("nio.shutdownTimeout", Property, Long, Inert(NIO)),
    key("netty.", Property, Text, Inert(NETTY)),
    key("netty.server.", Property, Text, Inert(NETTY)),
    key("commitProcessor.", Property, Text, Inert(PIPELINE)),
    key("intBufferStartingSizeBytes", Property, Int, Inert(PIPELINE)),
    key("maxResponseCacheSize", Property, Int, Inert(CACHE)),
    key("maxGetChildrenResponseCacheSize", Property, Int, Inert(CACHE)),
    key("watcherCleanThreadsNum", Property, Int, Inert(WATCH_TABLE)),
    key("watcherCleanThreshold", Property, Int, Inert(WATCH_TABLE)),
    key("watcherCleanIntervalInSeconds", Property, Int, Inert(WATCH_TABLE)),
    key("maxInProcessingDeadWatchers", Property, Int, Inert(WATCH_TABLE)),
    key("bitHashCacheSize", Property, Int, Inert(WATCH_TABLE)),
    key("testingonly.initialZxid", Property, Long, Inert(TESTS)),
    key("test.allowDiscontinuousProposals", Property, Bool, Inert(TESTS)),
    key("controllerPort", Property, Int, Inert(TESTS)),
    // What only a client reads.
    key("client.secure", Property, Bool, Client),
    key("clientCnxnSocket", Property, Text, Client),
    key("disableAutoWatchReset", Property, Bool, Client),
    key("request.timeout", Property, Long, Client),
    key("sasl.client", Property, Text, Client),
    key("sasl.client.", Property, Text, Client),
    key("sasl.clientconfig", Property, Text, Client),
    key("shuffleDnsResponse", Property, Bool, Client),
    key("hostProvider.", Property, Text, Client),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_aliases_lead_to_keys_in_use() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(!key.name.starts_with("zookeeper."), "{}", key.name);
            assert!(KEYS[..i].iter().all(|other| other.name != key.name), "{} twice", key.name);
            if let Standing::Alias(real) = key.standing {
                let real = find(real).expect("an alias names a key");
                assert!(
                    !matches!(real.standing, Standing::Alias(_)),
                    "{} leads to an alias",
                    key.name
                );
            }
        }
    }

    #[test]
    fn a_family_takes_what_no_exact_row_does() {
        for (name, row) in [
            ("server.1", "server."),
            ("server.principal", "server.principal"),
            ("netty.server.outstandingHandshake.limit", "netty.server."),
            ("quorum.auth.enableSasl", "quorum.auth.enableSasl"),
            ("ssl.quorum.keyStore.location", "ssl.quorum."),
            ("ssl.keyStore.location", "ssl."),
            ("superUser.2", "superUser."),
            ("metricsProvider.httpPort", "metricsProvider."),
        ] {
            assert_eq!(find(name).map(|key| key.name), Some(row), "{name}");
        }
        assert!(find("ticktime").is_none());
        assert!(find("ssl").is_none());
    }

    #[test]
    fn off_values_need_no_warning() {
        let admin = find("admin.enableServer").expect("a row");
        assert!(admin.is_off("false") && !admin.is_off("True"));
        let port = find("secureClientPort").expect("a row");
        assert!(!port.is_off("2281"));
    }
}
