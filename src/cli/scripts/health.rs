//! `ringkeeper health`: a probe for containers and supervisors, which have no other tool at hand.

use std::process::ExitCode;

use clap::Args;

use crate::cli::ask::{Said, ask};

/// Ask a server whether it serves. Exit code 0: it does; 1: it does not, or nobody answers.
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// Its client port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181", value_parser = address)]
    server: (String, u16),
}

/// Says its mode, or what is wrong. A server that has found no quorum and answers reads alone
/// (`readonlymode.enabled`) does not serve.
pub fn health(args: &HealthArgs) -> ExitCode {
    let (host, port) = &args.server;
    match ask(&args.server) {
        Said::Serving { ref mode, .. } if mode != "read-only" => {
            say!("{host}:{port} serves: {mode}");
            ExitCode::SUCCESS
        }
        Said::Serving { mode, .. } => {
            say!("{host}:{port} does not serve: {mode}");
            ExitCode::FAILURE
        }
        Said::NotServing => {
            say!("{host}:{port} does not serve: it has no quorum yet");
            ExitCode::FAILURE
        }
        Said::Nothing => {
            say!("{host}:{port} does not answer");
            ExitCode::FAILURE
        }
    }
}

fn address(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is no HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert_eq!(address("zk1:2181"), Ok(("zk1".into(), 2181)));
        assert_eq!(address("[::1]:2181"), Ok(("::1".into(), 2181)));
        for text in ["", "zk1", ":2181", "zk1:", "zk1:99999"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
