//! Where settings come from, which of them counts, and what is said of those that are wrong.

use clap::{Args as _, Command, FromArgMatches as _};

use super::super::load::Sources;
use super::super::*;

const FILE: &str = "/etc/switchboard/host.toml";

/// Reads a file's text, variables and flags together.
fn load(text: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, Faults> {
    let command = Flags::augment_args(Command::new("serve").no_binary_name(true));
    let line = ["--config", FILE].iter().chain(flags);
    let matches = command.try_get_matches_from(line).expect("flags of ours");
    let flags = Flags::from_arg_matches(&matches).expect("flags of ours");
    let variable = |name: &str| {
        let mut found = variables.iter().filter(|(known, _)| *known == name);
        found.next().map(|(_, value)| (*value).into())
    };
    Sources::of(flags, variable).load(Some(text))
}

/// What is said of a file that is wrong, without its path.
fn faults(text: &str) -> Vec<String> {
    let Faults(found) = load(text, &[], &[]).expect_err("faults");
    let lines = found.iter().map(ToString::to_string);
    let own = format!("{FILE}:");
    lines
        .map(|line| line.strip_prefix(&own).map(str::to_owned).unwrap_or(line))
        .collect()
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let file =
        "[limits]\nrequest_max = \"1MiB\"\nresponse_max = \"1MiB\"\nmetadata_max = \"1KiB\"\n";
    let variables = [
        ("SWITCHBOARD_REQUEST_MAX", "2MiB"),
        ("SWITCHBOARD_RESPONSE_MAX", "2MiB"),
    ];
    let loaded = load(file, &variables, &["--request-max", "3MiB"]).expect("right");
    assert_eq!(
        loaded.changed(),
        [
            "limits.request_max=3MiB",
            "limits.response_max=2MiB",
            "limits.metadata_max=1KiB"
        ]
    );
    assert_eq!(loaded.names.of("limits.request_max"), "--request-max");
    assert_eq!(
        loaded.names.of("limits.response_max"),
        "SWITCHBOARD_RESPONSE_MAX"
    );
    assert_eq!(
        loaded.names.of("limits.metadata_max"),
        "limits.metadata_max"
    );
    assert_eq!(loaded.names.of("limits.memory_max"), "--memory-max");
}

#[test]
fn switches_go_both_ways() {
    let off = "[tunnel]\nenabled = false\n[plugin.compression]\nresponses = true\n";
    let loaded = load(off, &[], &[]).expect("right");
    assert!(loaded.configuration.host.tunnel.is_none());
    assert!(loaded.configuration.host.plugin.compression.by_default);
    let on = [
        ("SWITCHBOARD_TUNNEL_OFF", "false"),
        ("SWITCHBOARD_COMPRESS_RESPONSES", "no"),
    ];
    assert_eq!(load(off, &on, &[]).expect("right").changed(), [""; 0]);
    let loaded = load(off, &on, &["--tunnel-off"]).expect("right");
    assert_eq!(loaded.changed(), ["tunnel.enabled=false"]);
}

#[test]
fn lists_take_the_place_of_lists() {
    let file =
        "[listeners]\naddresses = [\"127.0.0.1:1\", \"unix:run/a\"]\n[tunnel]\norigins = []\n";
    let loaded = load(file, &[], &[]).expect("right");
    assert_eq!(
        loaded.configuration.addresses,
        ["127.0.0.1:1", "unix:/etc/switchboard/run/a"]
    );
    let tunnel = loaded.configuration.host.tunnel.expect("on");
    assert!(tunnel.origins.is_empty());
    let loaded = load(file, &[("SWITCHBOARD_LISTEN", "a:1, b:2")], &[]).expect("right");
    assert_eq!(loaded.configuration.addresses, ["a:1", "b:2"]);
    let flags = ["--listen", "a:1", "--listen", "unix:here"];
    let loaded = load(file, &[], &flags).expect("right");
    assert_eq!(loaded.configuration.addresses, ["a:1", "unix:here"]);
}

#[test]
fn paths_of_a_file_begin_where_it_is() {
    let file = "paths = [\"plugins\", \"/a.wasm\"]\nfiles = { \"/demo/\" = \"page\" }\n\
                [tls]\ncert = \"tls/cert.pem\"\nkey = \"/key.pem\"\n";
    let configuration = load(file, &[], &[]).expect("right").configuration;
    let paths = ["/etc/switchboard/plugins", "/a.wasm"].map(std::path::PathBuf::from);
    assert_eq!(configuration.paths, paths);
    let tls = configuration.tls.expect("both files");
    assert_eq!(
        tls.certificate,
        std::path::Path::new("/etc/switchboard/tls/cert.pem")
    );
    assert_eq!(tls.key, std::path::Path::new("/key.pem"));
    let folder = &configuration.host.files[0].folder;
    assert_eq!(folder, std::path::Path::new("/etc/switchboard/page"));
    // What is typed begins where it is typed.
    let configuration = load(file, &[], &["elsewhere"])
        .expect("right")
        .configuration;
    assert_eq!(
        configuration.paths,
        ["elsewhere"].map(std::path::PathBuf::from)
    );
}

#[test]
fn a_plugin_has_what_all_have_but_for_its_own_section() {
    let file = "[plugin.pool]\nstores_max = 8\nstreams_max = 9\n\
                [plugins.greeter.pool]\nstores_max = 2\nmode = \"fresh\"\n\
                [plugins.\"a.b\"]\n\
                [plugins.kv.messages]\nmethod_request_max = { \"/kv.Kv/Put\" = \"16MiB\" }\n";
    let loaded = load(file, &[], &["--streams-max", "7"]).expect("right");
    let of = |name: &str| &loaded.configuration.plugins[name];
    let pool = |name: &str| (of(name).pool.stores_max.get(), of(name).pool.streams_max);
    assert_eq!(pool("greeter"), (2, 7));
    assert_eq!(pool("a.b"), (8, 7));
    assert_eq!(
        of("greeter").pool.warm_min,
        0,
        "mode fresh keeps none ready"
    );
    assert_eq!(of("kv").pool.warm_min, 1);
    let limits = of("kv").messages.of["/kv.Kv/Put"];
    assert_eq!(limits.request_bytes_max, Some(16 << 20));
    assert_eq!(
        loaded.changed(),
        [
            "plugin.pool.stores_max=8",
            "plugin.pool.streams_max=7",
            "plugins.greeter.pool.mode=fresh",
            "plugins.greeter.pool.stores_max=2",
            "plugins.kv.messages.method_request_max=/kv.Kv/Put=16MiB",
        ]
    );
    let sections: Vec<_> = loaded
        .sections
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(sections, ["a.b", "greeter", "kv"]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_line() {
    let file = "\
[limits]
request_mx = \"1MiB\"
response_max = \"much\"
instances_max = 0
timeout_max = 5
memory_max = \"1KiB\"

[tunnel]
dead_after = \"10s\"
ping = \"20s\"

[plugin.pool]
stores_max = \"four\"
priority_stores = 64
warm_min = 65

[plugins.greeter]
pool.calls_max = 0
pool.ping = \"1s\"

[listeners]
addresses = [\"nowhere\", \"a:1\"]

[tls]
cert = \"a.pem\"

[colour]
";
    // Examples of what to write are looked at where they are made.
    let found = faults(file);
    let found: Vec<_> = found
        .iter()
        .map(|fault| fault.split(", as in").next())
        .collect();
    let found: Vec<_> = found.into_iter().flatten().collect();
    assert_eq!(
        found,
        [
            "2: there is no limits.request_mx; did you mean limits.request_max?",
            "3: limits.response_max: \"much\" is no size: write it like 512KiB, 16MiB",
            "4: limits.instances_max must be 1 or more",
            "5: limits.timeout_max must be a time in quotes, like \"5s\", or \"never\", not a number",
            "6: limits.memory_max must be 65536 to 4294967296 bytes, not 1024",
            "9: tunnel.dead_after must be above tunnel.ping, or nobody has time to answer",
            "13: plugin.pool.stores_max must be a number without quotes, not text in quotes",
            "18: plugins.greeter.pool.calls_max must be 1 or more",
            "19: there is no plugins.greeter.pool.ping; `switchboard config sample` shows every key",
            "22: listeners.addresses \"nowhere\" is no HOST:PORT: write both",
            "25: tls.cert needs tls.key",
            "27: there is no colour; `switchboard config sample` shows every key",
        ]
    );
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let found = faults("[limits]\nrequest_max = 16MiB\n\n[limits]\nmemory_max = \"8MiB\"\n");
    assert!(
        found.iter().any(|fault| fault.starts_with("2: no TOML: ")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|fault| fault.starts_with("4: no TOML: ")),
        "{found:?}"
    );
}

#[test]
fn one_slip_is_one_line() {
    let found = faults("paths = [\"plugins\"\n[limits]\nmemory_max = \"1MiB\"\n");
    let lines: Vec<_> = found.iter().map(|fault| &fault[..2]).collect();
    assert_eq!(lines, ["2:", "3:"], "{found:?}");
}

#[test]
fn everything_that_is_wrong_in_a_list_is_said() {
    let found = faults("[plugin.grants]\ntcp = [\"nowhere\", \"a:1\", \"10.0.0.0/33:80\"]\n");
    assert_eq!(found.len(), 1, "{found:?}");
    for part in ["\"nowhere\": ", "; nor \"10.0.0.0/33:80\": "] {
        assert!(found[0].contains(part), "{found:?}");
    }
    assert!(!found[0].contains("a:1"), "{found:?}");
}

#[test]
fn a_share_is_a_number_or_text() {
    for sample in ["0.25", "\"0.25\""] {
        let text = format!(
            "[telemetry]\notlp_endpoint = \"http://collector:4318\"\ntrace_sample = {sample}\n"
        );
        let loaded = load(&text, &[], &[]).expect("right");
        let traces = loaded.configuration.traces.expect("traced");
        assert!((traces.sample - 0.25).abs() < f64::EPSILON, "{sample}");
    }
    let found = faults("[telemetry]\ntrace_sample = true\n");
    assert!(found[0].contains("must be a number like 0.01"), "{found:?}");
}

#[test]
fn the_admin_listener_cannot_have_the_port_of_the_host() {
    let addresses = "[listeners]\naddresses = [\"127.0.0.1:5\"]\n";
    for admin in ["127.0.0.1:5", "0.0.0.0:5"] {
        let found = faults(&format!("{addresses}[admin]\nlisten = \"{admin}\"\n"));
        let said =
            format!("admin.listen {admin} takes the port of listeners.addresses 127.0.0.1:5");
        assert!(found.len() == 1 && found[0].ends_with(&said), "{found:?}");
    }
    let beside = format!("{addresses}[admin]\nlisten = \"127.0.0.1:6\"\n");
    load(&beside, &[], &[]).expect("right");
}

#[test]
fn what_has_the_wrong_shape_is_said_with_the_right_one() {
    for (file, said) in [
        ("limits = 5", "limits is a section: write [limits]"),
        ("plugins = 5", "write [plugins.NAME]"),
        ("[plugins]\ngreeter = 5", "write [plugins.NAME]"),
        (
            "[plugins.a]\nmode = \"fresh\"",
            "did you mean plugins.a.pool.mode?",
        ),
        ("paths = \"plugins\"", "paths must be a list"),
        ("paths = [1]", "only text in its list"),
        ("paths = [\"\"]", "no empty text"),
        ("files = \"/a/=b\"", "files must be a table"),
        ("[tunnel]\nenabled = \"false\"", "true or false, not text"),
        ("[limits]\ninstances_max = -1", "0 or more"),
        ("[limits]\ninstances_max = 1.5", "not a number with a point"),
        (
            "[limits]\ninstances_max = 99999999999",
            "cannot be as much as",
        ),
        ("[connections]\nper_peer_max = \"many\"", "or \"none\""),
        ("[listeners]\nunix_mode = 600", "octal digits in quotes"),
        ("[tls]\nmin = \"1.1\"", "none of 1.2, 1.3"),
        ("[tunnel]\norigins = [\"nobody\"]", "not an origin"),
        (
            "[tunnel]\ncookie = \"a\"",
            "tunnel.cookie needs tunnel.tokens",
        ),
        (
            "[telemetry]\notlp_headers = \"a\"",
            "telemetry.otlp_headers needs telemetry.otlp_endpoint",
        ),
        (
            "[web]\ncredentials = true",
            "web.credentials needs other web.origins",
        ),
        (
            "[web]\ncredentials = true\norigins = [\"*\"]",
            "web.credentials must not come with web.origins '*'",
        ),
        (
            "[tls]\nclient = \"optional\"",
            "tls.client needs tls.client_ca",
        ),
        (
            "[plugin.pool]\nlong_methods = [\"a.B/C\"]",
            "plugin.pool.long_methods: \"a.B/C\" is no method",
        ),
        (
            "[plugins.a.pool]\nlong_methods = [\"a.B/C\"]",
            "plugins.a.pool.long_methods: \"a.B/C\" is no method",
        ),
    ] {
        let found = faults(file);
        assert!(
            found.len() == 1 && found[0].contains(said),
            "{file}: {found:?}"
        );
    }
}

#[test]
fn a_fault_names_whoever_made_it() {
    let found = load(
        "",
        &[("SWITCHBOARD_WAIT_MAX", "soon")],
        &["--warm-min", "65", "--age-max=x"],
    );
    let Faults(found) = found.expect_err("faults");
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "SWITCHBOARD_WAIT_MAX: \"soon\" is no time: write it like 300ms, 5s, 2min, 1h",
            "--age-max: \"x\" is no time: write it like 300ms, 5s, 2min, 1h",
            "--warm-min must be at most --stores-max (64)",
        ]
    );
}

#[test]
fn an_empty_variable_is_none() {
    let loaded = load("", &[("SWITCHBOARD_WAIT_MAX", "")], &[]).expect("right");
    assert_eq!(loaded.changed(), [""; 0]);
}

#[test]
fn what_is_in_force_is_shown_with_who_said_so_and_is_read_back() {
    let file = "[tunnel]\nping = \"10s\"\ntokens = \"tokens\"\n[plugins.kv.pool]\nstores_max = 3\n";
    let loaded = load(
        file,
        &[("SWITCHBOARD_AGE_MAX", "2h")],
        &["--request-max", "1MiB"],
    );
    let loaded = loaded.expect("right");
    let shown = loaded.shown();
    for line in [
        format!("ping = \"10s\" # {FILE}:2"),
        "age_max = \"2h\" # SWITCHBOARD_AGE_MAX".to_owned(),
        "request_max = \"1MiB\" # --request-max".to_owned(),
        format!("[plugins.kv.pool]\nstores_max = 3 # {FILE}:5"),
        format!("tokens = \"/etc/switchboard/tokens\" # {FILE}:3"),
        "response_max = \"4MiB\"\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line}: {shown}");
    }
    let again = load(&shown, &[], &["plugins"]).expect("what is shown is right");
    assert_eq!(again.changed(), loaded.changed());
}

#[test]
fn what_changed_is_named_with_old_and_new() {
    let before = "[limits]\nrequest_max = \"1MiB\"\n[plugins.kv.pool]\nstores_max = 3\n[plugins.a.pool]\nwait_max = \"2s\"\n";
    let after = "[limits]\ntimeout_max = \"5s\"\n[plugin.pool]\nwait_max = \"3s\"\n[plugins.kv.pool]\nstores_max = 4\n[plugins.a.pool]\nwait_max = \"2s\"\n";
    let (before, after) = (
        load(before, &[], &[]).expect("right"),
        load(after, &[], &[]).expect("right"),
    );
    let changes = before.changes(&after);
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "plugin.pool.wait_max: 1s -> 3s",
            "limits.request_max: 1MiB -> 4MiB",
            "limits.timeout_max: never -> 5s",
            "plugins.kv.pool.stores_max: 3 -> 4",
        ]
    );
    assert_eq!(after.changes(&after), []);
}

#[test]
fn what_needs_a_restart_stays_until_then() {
    let before = load("[plugins.kv.pool]\nstores_max = 3\n", &[], &[]).expect("right");
    let after = "[limits]\nrequest_max = \"1MiB\"\nmemory_max = \"8MiB\"\n[plugins.kv.pool]\nstores_max = 4\n";
    let after = load(after, &[], &[]).expect("right");
    let taken = before.taking(&after).expect("goes together");
    for change in taken.changes(&after) {
        assert!(!change.taken, "{change}");
    }
    for change in before.changes(&taken) {
        assert!(change.taken, "{change}");
    }
    assert_eq!(taken.configuration.plugins.len(), 1);
}

#[test]
fn grants_are_for_plugins_and_their_secrets_for_nobody() {
    let file = "[plugins.kv.grants]\nenv = { TOKEN = \"hush\", MODE = \"\" }\nargs = [\"\", \"-v\"]\n\
                tcp = [\"db.internal:5432\"]\nfolders_read = { \"/a\" = \"/\" }\n\
                folders_write = { \"/b\" = \"/\" }\nhttp_timeout = \"5s\"\n";
    let loaded = load(file, &[], &[]).expect("right");
    let grants = &loaded.configuration.plugins["kv"].grants;
    assert_eq!(grants.env["TOKEN"], "hush");
    assert_eq!(grants.args, ["", "-v"]);
    assert_eq!(grants.tcp.len(), 1);
    let folders: Vec<_> = grants
        .folders
        .iter()
        .map(|one| (&*one.guest, one.writable))
        .collect();
    assert_eq!(folders, [("/a", false), ("/b", true)]);
    let others = &loaded.configuration.host.plugin.grants;
    assert!(others.env.is_empty() && others.folders.is_empty());
    for shown in [loaded.shown(), loaded.changed().join(" ")] {
        assert!(
            shown.contains("TOKEN") && !shown.contains("hush"),
            "{shown}"
        );
    }
    for (file, said) in [
        (
            "tcp = [\"nowhere\"]",
            "plugins.kv.grants.tcp cannot have \"nowhere\"",
        ),
        (
            "env = { A = 5 }",
            "plugins.kv.grants.env must be text in quotes",
        ),
        (
            "sockets_max = 0",
            "plugins.kv.grants.sockets_max must be 1 to 1024, not 0",
        ),
        (
            "folders_write = { \"/a\" = \"gone\" }",
            "plugins.kv.grants.folders_write /etc/switchboard/gone cannot be given",
        ),
    ] {
        let found = faults(&format!("[plugins.kv.grants]\n{file}\n"));
        assert!(
            found.len() == 1 && found[0].contains(said),
            "{file}: {found:?}"
        );
    }
}
