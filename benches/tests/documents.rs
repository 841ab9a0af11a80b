//! No number without its results file: `docs/benchmarks.md` shows the file that it names, as it is.

use std::collections::BTreeSet;
use std::path::Path;

use serde::de::DeserializeOwned;
use switchboard_benches::kept::{Kept, Shelf};
use switchboard_benches::plot::{self, Inputs};
use switchboard_benches::results::Results;
use switchboard_benches::table;
use switchboard_benches::{guests, ladder, mixed, scale};

#[test]
fn the_document_shows_what_its_results_file_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("docs/benchmarks.md")).expect("it is there");
    let (_, rest) = document
        .split_once("](../benches/results/")
        .expect("the document names its results file");
    let (file, _) = rest.split_once(')').expect("a link ends");
    let results = Results::read(&root.join("benches/results").join(file)).expect("a results file");
    assert!(!results.source.dirty, "measured on what no commit has");
    let section = table::section(&results, file);
    let shown = table::put(&document, &section).expect("the document has marks");
    assert_eq!(shown, document, "make bench writes both");
}

#[test]
fn the_readme_quotes_the_same_file_as_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("it is there");
    let (readme, document) = (read("README.md"), read("docs/benchmarks.md"));
    let (_, rest) = document
        .split_once("](../benches/results/")
        .expect("the document names its results file");
    let (file, _) = rest.split_once(')').expect("a link ends");
    assert!(
        readme.contains(&format!("benches/results/{file}")),
        "not {file}"
    );
    let results = Results::read(&root.join("benches/results").join(file)).expect("a results file");
    for (scenario, size) in [
        ("unary 16 B, 8x32", "16 bytes"),
        ("unary 1 KiB, 8x32", "1 KiB"),
    ] {
        let measured = results
            .scenarios
            .iter()
            .find(|measured| measured.name == scenario)
            .expect("the goal's scenario was measured");
        let ratio = measured.ratios["cpu reuse/stock"].median;
        let quoted = format!("{ratio:.2} of it at {size}");
        let short = format!("{ratio:.2} at {size}");
        assert!(
            readme.contains(&quoted) || readme.contains(&short),
            "{quoted}"
        );
    }
}

#[test]
fn the_browsers_part_says_what_its_results_file_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("docs/benchmarks.md")).expect("it is there");
    let folder = "benches/results/browser/";
    let (_, rest) = document
        .split_once(&format!("](../{folder}"))
        .expect("the document names its results file");
    let (file, _) = rest.split_once(')').expect("a link ends");
    let results = std::fs::read_to_string(root.join(folder).join(file)).expect("a results file");
    let results: serde_json::Value = serde_json::from_str(&results).expect("JSON");
    assert_eq!(results["source"]["dirty"], false);
    for measured in results["scenarios"].as_array().expect("a list") {
        let name = measured["name"].as_str().expect("a name");
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")))
            .expect("each scenario has a row");
        for (beside, ratio) in measured["ratio_to"].as_object().into_iter().flatten() {
            let median = ratio["median"].as_f64().expect("a number");
            let shown = format!("{median:.2} of {beside}");
            assert!(row.contains(&shown), "{shown}: {row}");
        }
    }
}

/// The section of a shelf shows its newest results, and nothing while there are none.
fn shows_the_newest<T: DeserializeOwned>(shelf: &Shelf, section: fn(&Kept<T>, &str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let document = std::fs::read_to_string(path).expect("it is there");
    let newest = shelf.newest().expect("results of the form of today");
    let section = newest.map_or_else(String::new, |(path, kept)| {
        let file = path.file_name().expect("a file has a name");
        section(&kept, &file.to_string_lossy())
    });
    let shown = shelf.put(&document, &section).expect("it has marks");
    assert_eq!(shown, document, "make bench writes both");
}

#[test]
fn the_ladder_is_that_of_its_newest_results() {
    shows_the_newest(&ladder::SHELF, ladder::section);
}

#[test]
fn guests_are_those_of_their_newest_results() {
    shows_the_newest(&guests::SHELF, guests::section);
}

#[test]
fn calls_beside_others_are_those_of_their_newest_results() {
    shows_the_newest(&mixed::SHELF, mixed::section);
}

#[test]
fn scale_is_that_of_its_newest_results() {
    shows_the_newest(&scale::SHELF, scale::section);
}

#[test]
fn every_results_file_can_be_read() {
    // Those of old are what `bench-check` compares with where nothing newer is there.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let (path, newest) = Results::newest(&folder).expect("all are read");
    assert!(!newest.scenarios.is_empty(), "{}", path.display());
}

#[test]
fn plots_are_what_the_newest_results_give() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let plots = Inputs::newest().and_then(|inputs| plot::all(&inputs));
    let plots = plots.expect("results can be drawn");
    for plot in &plots {
        let kept = std::fs::read_to_string(docs.join("plots").join(plot.file));
        let same = kept.is_ok_and(|kept| kept == plot.svg);
        assert!(
            same,
            "{} is not of the newest results: make plots",
            plot.file
        );
    }
    let files = std::fs::read_dir(docs.join("plots")).expect("there are results to draw");
    let files: BTreeSet<_> = files
        .map(|file| file.expect("it can be listed").file_name())
        .collect();
    let drawn: BTreeSet<_> = plots.iter().map(|plot| plot.file.into()).collect();
    assert_eq!(files, drawn, "make plots");
    let document = std::fs::read_to_string(docs.join("benchmarks.md")).expect("it is there");
    let shown = plot::SHELF.put(&document, &plot::section(&plots));
    assert_eq!(shown.expect("it has marks"), document, "make plots");
}
