//! No number without its results file: the tables in `docs/benchmarks.md` are those of the file
//! that it names.

use std::path::Path;

use switchboard_benches::results::Results;
use switchboard_benches::table;

#[test]
fn the_document_shows_what_its_results_file_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("docs/benchmarks.md")).expect("it is there");
    let (_, rest) = document
        .split_once("](../benches/results/")
        .expect("the document names its results file");
    let (name, _) = rest.split_once(')').expect("a link ends");
    let results = Results::read(&root.join("benches/results").join(name)).expect("a results file");
    assert!(!results.source.dirty, "measured on what no commit has");
    assert!(
        document.contains(&results.source.commit),
        "names the commit"
    );
    assert!(document.contains(&results.command), "names the command");
    for part in table::markdown(&results).split("\n\n") {
        let part = part.trim();
        assert!(document.contains(part), "the document lacks\n{part}");
    }
}
