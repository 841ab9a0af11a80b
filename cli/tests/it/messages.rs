//! The limits of single methods and services on the command line.

use std::ffi::OsString;

use switchboard_test_support::guest;

use crate::serving::{Serving, run};

fn args(parts: &[&str]) -> Vec<OsString> {
    let mut args = vec![guest("echo").into_os_string()];
    args.extend(parts.iter().map(OsString::from));
    args
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_and_a_service_have_limits_of_their_own() {
    let serving = Serving::start(args(&[
        "--method-request-max",
        "/echo.Echo/Unary=10B",
        "--method-request-max",
        "/echo.Echo/*=1KiB",
        "--method-response-max",
        "/echo.Echo/*=20B",
    ]))
    .await;
    let client = serving.client().await;
    for (path, request, is_refused) in [
        ("/echo.Echo/Unary", &[7; 10][..], false),
        ("/echo.Echo/Unary", &[7; 11], true),
        ("/echo.Echo/Bidi", &[7; 20], false),
        ("/echo.Echo/Bidi", &[7; 21], true),
    ] {
        let answer = client.unary(path, request).await;
        let expected = if is_refused { 8 } else { 0 };
        assert_eq!(answer.code(), expected, "{path}: {}", answer.message());
    }
    serving.says("/echo.Echo/Unary").await;
    assert_eq!(serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_ends_with_64() {
    for (flags, says) in [
        (
            &["--method-request-max", "/echo.Echo/Unary"][..],
            "write PATH=SIZE",
        ),
        (
            &["--method-request-max", "Unary=1KiB"],
            "--method-request-max: \"Unary\" is no method",
        ),
        (
            &["--method-response-max", "Unary=1KiB"],
            "--method-response-max: \"Unary\" is no method",
        ),
        (
            &["--method-request-max", "/a.B/C=0B"],
            "--method-request-max of /a.B/C must be 1 to",
        ),
        (
            &["--method-response-max", "/a.B/*=128MiB"],
            "--method-response-max of /a.B/* must be 1 to",
        ),
    ] {
        let command = [OsString::from("serve")].into_iter().chain(args(flags));
        let ended = run(command).await;
        assert_eq!(ended.code, Some(64), "{flags:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{flags:?}: {}", ended.stderr);
    }
}
