//! `compare`: the plugin beside native handlers; writes results, says when they became worse.
//!
//! Called by `main`. `make bench`, `make bench-quick` and `make bench-check` run it; `docs/benchmarks.md` says what the
//! numbers mean. Exit code 1: something failed or became worse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use switchboard_benches::compare::Runner;
use switchboard_benches::machine::{Machine, Source};
use switchboard_benches::ratio::{Comparison, Worse};
use switchboard_benches::results::Results;
use switchboard_benches::scenario::{self, Cores, Scenario};
use switchboard_benches::server::guests_dir;
use switchboard_benches::table;

use super::{print, progress};

/// What `compare` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Only a few scenarios.
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Fail when a ratio is worse than in the newest results.
    #[arg(long)]
    check: bool,
    /// Write results under this name and the commit.
    #[arg(long, value_name = "NAME")]
    write: Option<String>,
    /// Take results from this file instead of measuring.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// Show what was written, or the file of `--show`, in this document.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Rounds over all kinds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each measurement takes.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Folder with echo.wasm.
    #[arg(long, default_value_os_t = guests_dir())]
    guests: PathBuf,
}

/// Runs the command; the code is 1 if something became worse.
pub(crate) fn run(args: &Compare) -> Result<ExitCode> {
    if let Some(path) = &args.show {
        let results = Results::read(path)?;
        print(&table::markdown(&results));
        document(args, &results, path)?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(args.rounds > 0, "--rounds must be 1 or more");
    let (source, machine) = (Source::this(), Machine::this());
    let scenarios = chosen(args, machine.cores);
    ensure!(!scenarios.is_empty(), "no scenario is named so");
    let measured = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let mut runner = Runner::new(args.guests.clone(), measured)?;
    let mut measured = Vec::new();
    for scenario in &scenarios {
        progress(&scenario.name);
        measured.push(runner.measure(scenario, args.rounds)?);
    }
    let mut results = Results {
        source,
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: command(),
        machine,
        rounds: args.rounds,
        seconds: args.seconds,
        scenarios: measured,
        memory: runner.memory()?,
    };
    print(&table::markdown(&results));
    if let Some(name) = &args.write {
        let path = results.write(&results_dir(), name)?;
        progress(&format!("wrote {}", path.display()));
        document(args, &results, &path)?;
    }
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let worse = check(&mut runner, &scenarios, &mut results, args.rounds)?;
    worse
        .iter()
        .for_each(|worse| progress(&format!("worse: {worse}")));
    Ok(ExitCode::from(u8::from(!worse.is_empty())))
}

/// What is worse than the newest results, also when it is measured again with twice the rounds.
fn check(
    runner: &mut Runner,
    scenarios: &[Scenario],
    results: &mut Results,
    rounds: usize,
) -> Result<Vec<Worse>> {
    let (path, before) = Results::newest(&results_dir())?;
    progress(&format!("comparing with {}", path.display()));
    let suspect = Comparison::of(results, &before);
    for new in &suspect.new {
        progress(&format!("not compared, it is new: {new}"));
    }
    let suspect = suspect.worse;
    results.scenarios.clear();
    for scenario in scenarios {
        if suspect.iter().any(|worse| worse.scenario == scenario.name) {
            progress(&format!("{}: worse, once more", scenario.name));
            results
                .scenarios
                .push(runner.measure(scenario, rounds * 2)?);
        }
    }
    Ok(Comparison::of(results, &before).worse)
}

/// Shows results in the document that was asked for. Not those of a tree that no commit has.
fn document(args: &Compare, results: &Results, path: &Path) -> Result<()> {
    let Some(document) = &args.document else {
        return Ok(());
    };
    ensure!(
        !results.source.dirty,
        "measured on what no commit has: commit first"
    );
    let file = path.file_name().context("results have a name")?;
    let section = table::section(results, &file.to_string_lossy());
    let text = fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let text = table::put(&text, &section).with_context(|| document.display().to_string())?;
    fs::write(document, text).with_context(|| document.display().to_string())
}

fn chosen(args: &Compare, cores: usize) -> Vec<Scenario> {
    let mut all = scenario::all();
    all.retain(|scenario| {
        let named = args
            .only
            .as_ref()
            .is_none_or(|part| scenario.name.contains(part));
        let quick = scenario.quick || !(args.quick || args.check);
        named && quick && (cores > 1 || scenario.cores == Cores::Shared)
    });
    all
}

/// What was typed, without the path of this program.
fn command() -> String {
    let typed = std::env::args().skip(1);
    std::iter::once("switchboard-bench".to_owned())
        .chain(typed)
        .collect::<Vec<_>>()
        .join(" ")
}

fn results_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}
