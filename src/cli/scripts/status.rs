//! `zkServer.sh status`: where the configuration has the clients' port, and what answers there.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::ask::answer;

use super::service::Server;
use super::site::{Settings, read_file};

/// Says where it asks and the server's mode. Exit code 1: no server answers, or no port is found.
pub(super) fn status(server: &Server) -> ExitCode {
    if let Some(why) = &server.unreadable {
        say_error!("{why}");
    }
    let mut said = Vec::new();
    let port = find_port(&server.settings, &mut said);
    for line in said {
        say!("{line}");
    }
    let Some(port) = port else {
        say!("Unable to find either secure or unsecure client port in any configs. Terminating.");
        return ExitCode::FAILURE;
    };
    say!(
        "Client port found: {}. Client address: {}. Client SSL: {}.",
        port.number,
        port.host,
        port.is_secure
    );
    let number = port.number.parse().ok().filter(|_| !port.is_secure);
    let said = number.and_then(|number| answer(&(port.host.clone(), number), "srvr"));
    let mode = said.as_deref().and_then(|text| text.lines().find(|line| line.contains("Mode")));
    if let Some(mode) = mode {
        say!("{mode}");
        return ExitCode::SUCCESS;
    }
    if port.is_secure {
        say!(" ");
        say!(
            "Note: only secureClientPort ({}) is set, and TLS is not in this version.",
            port.number
        );
        say!(" ");
    }
    say!("Error contacting service. It is probably not running.");
    ExitCode::FAILURE
}

/// Where clients are taken. A port that is no number is found as well, as Apache's script has it.
#[derive(Debug, PartialEq, Eq)]
struct Port {
    host: String,
    number: String,
    is_secure: bool,
}

/// The clients' port of a configuration, for commands that ask the server.
pub(super) fn client_port(settings: &Settings) -> Option<(String, u16)> {
    let port = find_port(settings, &mut Vec::new()).filter(|port| !port.is_secure)?;
    Some((port.host, port.number.parse().ok()?))
}

fn find_port(settings: &Settings, said: &mut Vec<String>) -> Option<Port> {
    let of = |key: &str| settings.get(key).map(str::to_owned);
    let mut host = of("clientPortAddress");
    let mut number = of("clientPort");
    if number.as_deref().is_none_or(|text| !is_number(text))
        && let Some((line_host, line_number)) = own_line(settings, said)
    {
        host = line_host.or(host);
        number = Some(line_number);
    }
    let localhost = || LOCALHOST.to_owned();
    if let Some(number) = number {
        return Some(Port { host: host.unwrap_or_else(localhost), number, is_secure: false });
    }
    said.push("Client port not found. Looking for secureClientPort in the static config.".into());
    let number = of("secureClientPort")?;
    let host = of("secureClientPortAddress").unwrap_or_else(localhost);
    Some(Port { host, number, is_secure: true })
}

/// Host and port in this server's own line, of the configuration or of the dynamic file.
fn own_line(settings: &Settings, said: &mut Vec<String>) -> Option<(Option<String>, String)> {
    let Some(id) = my_id(settings) else {
        said.push(
            "myid could not be determined, will not able to locate clientPort in the server configs."
                .into(),
        );
        return None;
    };
    let key = format!("server.{id}");
    let client = |settings: &Settings| {
        let client = settings.get(&key)?.split(';').nth(1)?.trim().to_owned();
        (!client.is_empty()).then_some(client)
    };
    let client = client(settings).or_else(|| {
        let file = "Client port not found in static config file. Looking in dynamic config file.";
        said.push(file.into());
        client(&Settings::read(settings.get("dynamicConfigFile")?).ok()?)
    });
    let Some(client) = client else {
        said.push("Client port not found in the server configs".into());
        return None;
    };
    match client.rsplit_once(':') {
        Some((host, port)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((Some(host.to_owned()), port.to_owned()))
        }
        None => Some((None, client)),
    }
}

fn my_id(settings: &Settings) -> Option<String> {
    let path = Path::new(settings.get("dataDir")?).join("myid");
    let text = String::from_utf8_lossy(&read_file(&path).ok()?).trim().to_owned();
    is_number(&text).then_some(text)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

const LOCALHOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        dir: tempfile::TempDir,
    }

    impl Case {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().expect("a directory") }
        }

        fn write(&self, name: &str, text: &str) -> String {
            let path = self.dir.path().join(name);
            let text = text.replace("DIR", self.dir.path().to_str().expect("a plain path"));
            std::fs::write(&path, text).expect("a file");
            path.to_str().expect("a plain path").to_owned()
        }

        /// Host, port and the number of lines that were said on the way.
        fn found(&self, text: &str) -> (Option<(String, String, bool)>, usize) {
            let settings = Settings::read(&self.write("zoo.cfg", text)).expect("it parses");
            let mut said = Vec::new();
            let port = find_port(&settings, &mut said);
            (port.map(|port| (port.host, port.number, port.is_secure)), said.len())
        }
    }

    fn found(host: &str, number: &str, is_secure: bool) -> Option<(String, String, bool)> {
        Some((host.into(), number.into(), is_secure))
    }

    #[test]
    fn the_port_is_found_where_apaches_script_finds_it() {
        let case = Case::new();
        for (text, wanted) in [
            ("clientPort=2181\n", (found("localhost", "2181", false), 0)),
            ("clientPort=1\nclientPortAddress=::1\n", (found("::1", "1", false), 0)),
            ("dataDir=DIR\n", (None, 2)),
            ("secureClientPort=2281\n", (found("localhost", "2281", true), 2)),
            ("clientPort=x\n", (found("localhost", "x", false), 1)),
        ] {
            assert_eq!(case.found(text), wanted, "{text}");
        }
        case.write("myid", "2\n");
        for (text, wanted) in [
            ("dataDir=DIR\nserver.2=h:1:2;3\n", (found("localhost", "3", false), 0)),
            ("dataDir=DIR\nserver.2=h:1:2:observer;a:3\n", (found("a", "3", false), 0)),
            ("dataDir=DIR\nserver.2=h:1:2;[::1]:3\n", (found("::1", "3", false), 0)),
            ("dataDir=DIR\nserver.1=h:1:2;3\n", (None, 3)),
        ] {
            assert_eq!(case.found(text), wanted, "{text}");
        }
        case.write("zoo.cfg.dynamic", "server.2=h:1:2;7\n");
        let text = "dataDir=DIR\ndynamicConfigFile=DIR/zoo.cfg.dynamic\n";
        assert_eq!(case.found(text), (found("localhost", "7", false), 1));
    }
}
