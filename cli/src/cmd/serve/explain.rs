//! Faults and settings in the words of the command line: the host knows fields, its operator knows flags.
//!
//! Called by `cmd::serve`. What has no flag keeps the name of its field.

use std::path::PathBuf;

use switchboard_host::{BuildError, ConfigError, HostConfig};

use crate::args::{DEFAULT_FOLDER, Serve};

/// What the host calls a setting, and its flag. Longer names come before those that they contain.
const FLAGS: &[(&str, &str)] = &[
    (
        "a tunnel with a cookie must not be open to pages of any origin",
        "--tunnel-cookie must not come with --tunnel-origin '*', which lets in pages of any origin",
    ),
    ("tunnel path", "--tunnel-path"),
    ("tunnel cookie", "--tunnel-cookie"),
    ("tunnel ping_interval", "--tunnel-ping"),
    ("tunnel dead_after", "--tunnel-dead-after"),
    ("tunnel idle_timeout", "--tunnel-idle"),
    ("tunnel close_timeout", "--tunnel-close-timeout"),
    ("tunnel frame_bytes_max", "--tunnel-frame-max"),
    ("handshake_timeout", "--handshake-timeout"),
    ("first_request_timeout", "--first-request-timeout"),
    ("keepalive_interval", "--keepalive-time"),
    ("keepalive_timeout", "--keepalive-timeout"),
    ("send_stall_timeout", "--send-stall-timeout"),
    ("connection age_max", "--connection-age-max"),
    ("connection idle_timeout", "--idle-timeout"),
    ("header_list_bytes_max", "--header-list-max"),
    ("http1 head_timeout", "--http1-head-timeout"),
    ("http1 stall_timeout", "--http1-stall-timeout"),
    ("head_bytes_max", "--http1-head-max"),
    ("headers_max", "--http1-headers-max"),
    ("ping_interval", "--tunnel-ping"),
    ("quarantine faults_max", "--quarantine-faults"),
    ("quarantine window", "--quarantine-window"),
    ("quarantine backoff_min", "--quarantine-min"),
    ("quarantine backoff_max", "--quarantine-max"),
    ("backoff_max", "--quarantine-max"),
    ("files path", "--files: path"),
    ("stores_max", "--stores-max"),
    ("priority_stores", "--priority-stores"),
    ("warm_min", "--warm-min"),
    ("calls_max", "--calls-max"),
    ("age_max", "--age-max"),
    ("priority_methods", "--priority-method"),
    ("long_methods", "--long-method"),
    ("compression by_default", "--compress-responses"),
    ("encodings: ", "--response-encodings: "),
    ("messages request_bytes_max", "--method-request-max"),
    ("messages response_bytes_max", "--method-response-max"),
    (
        "messages: ",
        "--method-request-max, --method-response-max: ",
    ),
    ("request_bytes_max", "--request-max"),
    ("response_bytes_max", "--response-max"),
    ("metadata_bytes_max", "--metadata-max"),
    ("memory_bytes_max", "--memory-max"),
    ("unread_bytes_max", "--unread-max"),
    ("connection_unsent_bytes_max", "--connection-unsent-max"),
    ("unsent_bytes_max", "--unsent-max"),
    ("timeout_max", "--timeout-max"),
];

/// Faults of a configuration, with flags for fields.
pub(super) fn faults(ConfigError(faults): ConfigError) -> ConfigError {
    let flags = |fault: String| {
        FLAGS
            .iter()
            .fold(fault, |text, (field, flag)| text.replace(field, flag))
    };
    ConfigError(faults.into_iter().map(flags).collect())
}

/// Faults of a certificate and its key, with the flags and files they came from.
pub(super) fn tls(ConfigError(faults): ConfigError, cert: &str, key: &str) -> ConfigError {
    let named = |fault: String| {
        fault
            .replace(
                "the TLS certificate and key",
                &format!("{cert} and {key} together"),
            )
            .replace("the TLS certificate", cert)
            .replace("the TLS key", key)
    };
    ConfigError(faults.into_iter().map(named).collect())
}

/// Why no host was built, with what the operator can do about it.
pub(super) fn build(error: BuildError, args: &Serve, config: &HostConfig) -> anyhow::Error {
    let by_default = args.paths == [PathBuf::from(DEFAULT_FOLDER)];
    if let BuildError::Config(error) = error {
        faults(error).into()
    } else if matches!(error, BuildError::Engine(_)) {
        anyhow::Error::new(error).context(format!(
            "--instances-max {} reserves about 4 GiB of address space for each; lower it, or raise \
             the limit (ulimit -v)",
            config.engine.instances_max
        ))
    } else if matches!(error, BuildError::Path { .. }) && by_default {
        anyhow::Error::new(error).context(format!(
            "{DEFAULT_FOLDER} is the default folder; name the files or folders to serve"
        ))
    } else {
        error.into()
    }
}

/// Why there is nothing to serve.
pub(super) fn nothing_to_serve(args: &Serve, refused: usize) -> String {
    match refused {
        0 => {
            let paths = args.paths.iter().map(|path| path.display().to_string());
            let paths = paths.collect::<Vec<_>>().join(", ");
            format!("nothing to serve: no plugin file (*.wasm) was found in {paths}")
        }
        1 => "nothing to serve: the only plugin was refused, see above".to_owned(),
        count => format!("nothing to serve: all {count} plugins were refused, see above"),
    }
}

/// What is not as it would be by default, as `plugin.pool.stores_max=4 ...`; empty if everything is.
pub(super) fn changes(config: &HostConfig) -> String {
    let default = settings(&format!("{:#?}", HostConfig::default()));
    let mut changed = settings(&format!("{config:#?}"));
    changed.retain(|setting| !default.contains(setting));
    changed.join(" ")
}

/// Each value in the many-lined debug form of a configuration, after the names it is under.
fn settings(debug: &str) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in debug.lines() {
        let line = line.trim();
        let line = line.strip_suffix(',').unwrap_or(line);
        if let Some(opened) = line.strip_suffix(['{', '(', '[']) {
            // `name: Type {`, or `Type {` and `Some(` without a name.
            names.push(opened.split_once(": ").map_or("", |(name, _)| name));
        } else if matches!(line, "}" | ")" | "]") {
            names.pop();
        } else {
            let field = line.split_once(": ").filter(|(name, _)| is_name(name));
            let (name, value) = field.unwrap_or(("", line));
            let path = names.iter().copied().chain([name]);
            let path: Vec<_> = path.filter(|name| !name.is_empty()).collect();
            found.push(format!("{}={value}", path.join(".")));
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_flags_of_their_fields() {
        for (fault, expected) in [
            (
                "warm_min must be at most stores_max (64)",
                "--warm-min must be at most --stores-max (64)",
            ),
            (
                "tunnel dead_after must be above ping_interval",
                "--tunnel-dead-after must be above --tunnel-ping",
            ),
            ("stack_bytes_max must be", "stack_bytes_max must be"),
        ] {
            let ConfigError(found) = faults(ConfigError(vec![fault.to_owned()]));
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn only_what_was_changed_is_said() {
        let mut config = HostConfig::default();
        assert_eq!(changes(&config), "");
        config.plugin.pool.streams_max = 7;
        config.call.timeout_max = Some(std::time::Duration::from_secs(5));
        config.tunnel = None;
        config.plugin.long_methods.insert("/a.B/C".to_owned());
        assert_eq!(
            changes(&config),
            "plugin.pool.streams_max=7 plugin.long_methods=\"/a.B/C\" call.timeout_max=5s tunnel=None"
        );
    }
}
