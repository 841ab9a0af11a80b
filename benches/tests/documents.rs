//! No number without its results file: `docs/benchmarks.md` shows the file that it names, as it is.

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
    let (file, _) = rest.split_once(')').expect("a link ends");
    let results = Results::read(&root.join("benches/results").join(file)).expect("a results file");
    assert!(!results.source.dirty, "measured on what no commit has");
    let section = table::section(&results, file);
    let shown = table::put(&document, &section).expect("the document has marks");
    assert_eq!(shown, document, "make bench writes both");
}
