//! Natively: that the faults are there, and those that a native process survives. The others are what
//! the host's tests are about.

use switchboard_guest::testing::Call;
use switchboard_guest::{CancelReason, Code, Service, Status};

use crate::{Described, Faulty};

fn faulty() -> Faulty {
    Faulty::default()
}

#[test]
fn each_method_has_a_line_in_the_readme() {
    let readme = include_str!("../README.md");
    for method in faulty().methods() {
        let row = format!("| `{}` |", method.name);
        assert!(readme.contains(&row), "no row {row} in README.md");
    }
}

#[test]
fn each_variant_has_a_line_in_the_readme_and_a_feature() {
    let readme = include_str!("../README.md");
    let manifest = include_str!("../Cargo.toml");
    let (_, list) = manifest
        .split_once("variants = [")
        .expect("a list of variants");
    let (list, _) = list.split_once(']').expect("the end of the list");
    let variants: Vec<_> = list.split('"').skip(1).step_by(2).collect();
    assert!(variants.len() >= 10, "{variants:?}");
    for variant in variants {
        assert!(
            manifest.contains(&format!("\n{variant} = []\n")),
            "{variant}"
        );
        let row = format!("| `faulty-{variant}` |");
        assert!(readme.contains(&row), "no row {row} in README.md");
    }
}

#[test]
fn counts_the_calls_of_an_instance() {
    let faulty = faulty();
    assert_eq!(Call::to(&faulty, "Calls").run().message(), b"1");
    assert!(Call::to(&faulty, "OkStatus").run().status.is_err());
    assert_eq!(Call::to(&faulty, "Calls").run().message(), b"3");
}

#[test]
#[should_panic(expected = "panicked as asked")]
fn panics() {
    Call::to(&faulty(), "Panic").run();
}

#[test]
fn grows_until_it_is_stopped() {
    let answer = Call::to(&faulty(), "GrowQuiet").run();
    assert_eq!(answer.message(), b"7340032");
}

#[test]
fn answers_as_large_as_asked() {
    let answer = Call::to(&faulty(), "TooLarge").message("1000").run();
    assert_eq!(answer.message().len(), 1000);
    let answer = Call::to(&faulty(), "LongMessage").message("1000").run();
    assert_eq!(answer.status.expect_err("a status").message().len(), 1000);
    let answer = Call::to(&faulty(), "TooLarge").message("many").run();
    assert_eq!(answer.code(), Code::InvalidArgument);
}

#[test]
fn recurses_as_deep_as_asked() {
    let answer = Call::to(&faulty(), "Recurse").message("100").run();
    assert_eq!(answer.message(), b"100");
}

#[test]
fn no_bad_metadata_is_accepted() {
    let answer = Call::to(&faulty(), "BadMetadata").run();
    let report = std::str::from_utf8(answer.message()).expect("a text");
    assert_eq!(report.lines().count(), 11, "{report}");
    assert!(!report.contains("accepted"), "{report}");
    assert!(answer.headers.is_empty() && answer.trailers.is_empty());
}

#[test]
fn metadata_has_a_limit() {
    let answer = Call::to(&faulty(), "MuchMetadata").run();
    let report = std::str::from_utf8(answer.message()).expect("a text");
    let counts: Vec<usize> = report
        .split(' ')
        .map(|count| count.parse().expect("a count"))
        .collect();
    assert!(
        counts.len() == 2 && counts.iter().all(|count| (1..1000).contains(count)),
        "{report}"
    );
}

#[test]
#[should_panic(expected = "the call is over")]
fn a_call_is_of_no_use_after_its_end() {
    let faulty = faulty();
    assert_eq!(Call::to(&faulty, "HoldCall").run().status, Ok(()));
    Call::to(&faulty, "UseHeldCall").run();
}

#[test]
fn no_call_is_held_at_first() {
    let answer = Call::to(&faulty(), "UseHeldCall").run();
    assert_eq!(answer.code(), Code::FailedPrecondition);
}

#[test]
fn client_streams_with_no_message_or_two() {
    let answer = Call::to(&faulty(), "OkWithoutMessage").message("a").run();
    assert_eq!(answer.messages, [[0; 0]; 0]);
    assert_ne!(answer.status, Ok(()));

    let answer = Call::to(&faulty(), "SendTwice").message("a").run();
    assert_eq!(answer.messages, [b"first"]);
    assert!(answer.log[0].1.starts_with("second message: "));
}

#[test]
fn fails_in_the_middle_of_a_stream() {
    let answer = Call::to(&faulty(), "ErrorMidStream").run();
    assert_eq!(answer.messages, [b"last words"]);
    assert_eq!(answer.code(), Code::FailedPrecondition);
    assert_eq!(answer.trailers.get_str("x-reason"), Some("asked"));
}

#[test]
fn says_what_became_of_a_large_message() {
    let answer = Call::to(&faulty(), "SendTooLarge")
        .message("11")
        .max_response_message(10)
        .run();
    assert_eq!(answer.messages.len(), 0, "the report is larger than 10 too");
    assert_eq!(answer.code(), Code::ResourceExhausted);
    let answer = Call::to(&faulty(), "SendTooLarge").message("1").run();
    assert_eq!(answer.messages, [b"\0".to_vec(), b"accepted".to_vec()]);
}

#[test]
fn goes_on_when_cancelled() {
    for method in ["IgnoreCancel", "ReceiveForEver"] {
        let answer = Call::to(&faulty(), method)
            .cancel(CancelReason::Deadline)
            .run();
        assert_eq!(answer.messages, [b"ready"], "{method}");
    }
}

#[test]
fn floods() {
    let answer = Call::to(&faulty(), "Flood").message("5").run();
    assert_eq!(answer.messages, [[0xa5; 5]; 8]);
    assert_eq!(Call::to(&faulty(), "FloodLog").run().log.len(), 8);
}

#[test]
fn writes_a_line_as_long_as_asked() {
    let answer = Call::to(&faulty(), "LongLine").message("100").run();
    assert_eq!(answer.log[0].1.len(), 100);
}

#[test]
fn describes_nonsense() {
    let names = |service: Described| {
        let methods = service.methods();
        methods.iter().map(|method| method.name).collect::<Vec<_>>()
    };
    assert_eq!(Described::Nonsense.name(), "not a name/");
    assert_eq!(
        names(Described::Nonsense),
        ["", "With/Slash", "Same", "Same"]
    );
    assert_eq!(Described::Clash.name(), "helloworld.Greeter");
    assert_eq!(Described::Clash.file_descriptor_set(), None);
    assert!(Described::Descriptors.file_descriptor_set().is_some());
    let answer = Call::to(&Described::Descriptors, "Name").run();
    assert_eq!(answer.status, Ok::<(), Status>(()));
    assert_eq!(answer.message(), b"faulty.Described");
}
