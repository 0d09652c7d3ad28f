//! Keys whose value is a Java class. Apache's own classes are known for what they do; any other
//! cannot be loaded here and refuses the start, since leaving out an authentication provider or a
//! watch table would change what the server does.

use super::error::ConfigError;
use super::reader::Reader;

/// Checks `metricsProvider.className`, the one class that zoo.cfg's reader parses itself.
pub(crate) fn check_file_keys(reader: &mut Reader<'_>) -> Result<(), ConfigError> {
    check(reader, "metricsProvider.className", METRICS, "take the key out and read the word mntr")
}

/// Checks the classes that are named by properties.
pub(crate) fn check_properties(reader: &mut Reader<'_>) -> Result<(), ConfigError> {
    check(
        reader,
        "serverCnxnFactory",
        CNXN_FACTORIES,
        "take the key out; there is one kind of connection",
    )?;
    check(
        reader,
        "watchManagerName",
        WATCH_MANAGERS,
        "take the key out; there is one kind of watch table",
    )?;
    for name in reader.names_in("authProvider.") {
        check(reader, &name, AUTH_PROVIDERS, "take the key out and use the schemes ip and digest")?;
    }
    Ok(())
}

/// A class of Apache's and what to say about it; nothing to say where the text is empty.
type Known = (&'static str, &'static str);

fn check(
    reader: &mut Reader<'_>,
    name: &str,
    known: &[Known],
    instead: &'static str,
) -> Result<(), ConfigError> {
    let Some(given) = reader.given(name).filter(|given| !given.value.is_empty()) else {
        return Ok(());
    };
    match known.iter().find(|(class, _)| *class == given.value) {
        Some((_, "")) => Ok(()),
        Some((_, text)) => {
            reader.warn(given, *text);
            Ok(())
        }
        None => Err(ConfigError::ForeignClass {
            key: given.written.clone(),
            class: given.value.clone(),
            instead,
        }),
    }
}

const METRICS: &[Known] = &[
    ("org.apache.zookeeper.metrics.impl.DefaultMetricsProvider", ""),
    (
        "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
        "metrics are kept all the same; they cost nothing",
    ),
    (
        "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
        "metrics are not exported over HTTP in this version and the port stays closed; read the \
         word mntr",
    ),
];

const CNXN_FACTORIES: &[Known] = &[
    ("org.apache.zookeeper.server.NIOServerCnxnFactory", ""),
    (
        "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "there is one kind of connection, without TLS in this version; take the key out",
    ),
];

const WATCH_MANAGERS: &[Known] = &[
    ("org.apache.zookeeper.server.watch.WatchManager", ""),
    ("org.apache.zookeeper.server.watch.WatchManagerOptimized", ""),
];

const AUTH_PROVIDERS: &[Known] = &[
    ("org.apache.zookeeper.server.auth.IPAuthenticationProvider", ""),
    ("org.apache.zookeeper.server.auth.DigestAuthenticationProvider", ""),
    (
        "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        "SASL is not in this version; the scheme sasl stays unknown, use digest",
    ),
    (
        "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
        "TLS is not in this version; the scheme x509 stays unknown, use digest",
    ),
    (
        "org.apache.zookeeper.server.auth.X509ZNodeGroupAclProvider",
        "TLS is not in this version; the scheme x509 stays unknown, use digest",
    ),
    (
        "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
        "the scheme ensemble is not in this version and stays unknown to clients",
    ),
];
