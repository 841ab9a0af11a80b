//! Every guest that is measured answers as it is expected to, and no guest is forgotten.

use switchboard_benches::guests;
use switchboard_benches::plugin::Plugin;
use tokio::runtime::Builder;

/// Guests that exist for tests only: one misbehaves, the other is about what it may do.
const LEFT_OUT: [&str; 2] = ["faulty", "granted"];

#[test]
fn each_guest_answers_at_once_and_with_compiled_code_that_was_kept() {
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let cache = tempfile::tempdir().expect("a folder");
    for guest in guests::all() {
        let plugin = Plugin {
            cache: Some(cache.path().to_owned()),
            ..Plugin::guest(guest.name)
        };
        for kept in [false, true] {
            let answered = runtime.block_on(plugin.first_answer(&guest.call));
            let (running, took) =
                answered.unwrap_or_else(|error| panic!("{}: {error:#}", guest.name));
            assert!(!took.is_zero(), "{} with kept code: {kept}", guest.name);
            runtime.block_on(running.stop()).expect("it stops");
        }
    }
    let kept = std::fs::read_dir(cache.path()).expect("it is there");
    assert!(kept.count() >= guests::all().len());
}

#[test]
fn every_guest_is_measured_or_left_out_by_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let all = std::fs::read_dir(folder).expect("guests are there");
    let all = all.map(|entry| entry.expect("it can be listed").file_name());
    for name in all.map(|name| name.to_string_lossy().into_owned()) {
        let measured = guests::of(&name).is_ok();
        assert_ne!(measured, LEFT_OUT.contains(&&*name), "{name}");
    }
}

#[test]
fn a_round_finds_something_of_everything() {
    let mut chosen = guests::all();
    chosen.truncate(1);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_switchboard-bench"));
    let folder = switchboard_benches::server::guests_dir();
    let second = std::time::Duration::from_millis(100);
    let found = guests::measure(program, &chosen, &folder, 1, second, |_| {});
    let found = found.expect("it is measured");
    let echo = &found.guests[0];
    assert!(echo.compiled_bytes > echo.file_bytes, "{echo:?}");
    for spread in [
        echo.compiled_start_us,
        echo.cached_start_us,
        echo.server_cpu_us,
    ] {
        assert!(spread.median > 0.0, "{echo:?}");
    }
    // A page of memory, one of stack and what wasmtime keeps of an instance, at the least.
    assert!(echo.instance_bytes.median > 4096.0, "{echo:?}");
    assert!(guests::table(&found).contains("| `echo` | Rust, no std |"));
}
