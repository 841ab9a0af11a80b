//! Reads the layouts back as the host does.
#![expect(unsafe_code, reason = "reads memory by its layout")]

use std::vec::Vec;

use super::*;
use crate::{ByteService, Method, Status};

/// # Safety
/// The slice points to so many values of this type, which live for as long as `'a`.
unsafe fn items<'a, T>(slice: raw::Slice) -> &'a [T] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(slice.pointer.cast(), slice.length) }
}

#[test]
fn a_message_is_lowered_in_place() {
    let message = vec![1, 2, 3];
    let pointer = message.as_ptr();
    let outcome = Outcome::new(Ok(message));
    let moved = Box::new(outcome);
    assert_eq!(moved.raw().tag, 0);
    // SAFETY: tag 0 has this payload, which `moved` owns.
    let ok = unsafe { moved.raw().payload.ok };
    assert_eq!((ok.pointer, ok.length), (pointer, 3));
}

#[test]
fn a_status_is_lowered_with_details_and_trailers() {
    let status = Status::not_found("no Ä")
        .with_details([8, 5])
        .with_trailer("key", "value")
        .with_trailer("raw-bin", [0, 255]);
    let outcome = Box::new(Outcome::new(Err(status)));
    assert_eq!(outcome.raw().tag, 1);
    // SAFETY: tag 1 has this payload, which `outcome` owns.
    unsafe {
        let err = outcome.raw().payload.err;
        assert_eq!(err.code, 5);
        assert_eq!(items::<u8>(err.message), "no Ä".as_bytes());
        assert_eq!(items::<u8>(err.details), [8, 5]);
        let trailers = items::<raw::Entry>(err.trailers).iter();
        let pairs: Vec<(&[u8], &[u8])> = trailers
            .map(|entry| (items(entry.key), items(entry.value)))
            .collect();
        assert_eq!(
            pairs,
            [(&b"key"[..], &b"value"[..]), (b"raw-bin", b"\0\xff")]
        );
    }
}

#[test]
fn empty_lists_have_aligned_pointers() {
    let outcome = Outcome::new(Err(Status::unknown("")));
    // SAFETY: tag 1 has this payload.
    let err = unsafe { outcome.raw().payload.err };
    for (list, align) in [
        (err.message, 1),
        (err.details, 1),
        (err.trailers, align_of::<usize>()),
    ] {
        assert_eq!(list.length, 0);
        assert!(!list.pointer.is_null());
        assert_eq!(list.pointer.addr() % align, 0);
    }
}

static FIRST: ByteService = ByteService::new(
    "a.First",
    &[
        Method::unary("One", |_, request| Ok(request)).idempotent(),
        Method::client_stream("Two", |_, _| Ok(Vec::new())),
    ],
);
static SECOND: ByteService = ByteService::new(
    "a.Second",
    &[
        Method::server_stream("Three", |_, _, _| Ok(())),
        Method::bidi("Four", |_, _, _| Ok(())),
    ],
);

#[test]
fn a_description_numbers_methods_across_services() {
    let plugin = Plugin::new(vec![Box::new(FIRST), Box::new(SECOND)]).max_request_message(77);
    let description = Box::new(Description::new(&plugin));
    let raw = description.raw();
    assert_eq!(
        (raw.max_request_message, raw.file_descriptor_set.tag),
        (77, 0)
    );
    let mut seen = Vec::new();
    // SAFETY: `description` owns what its layout points to.
    unsafe {
        for service in items::<raw::Service>(raw.services) {
            for method in items::<raw::Method>(service.methods) {
                seen.push((
                    core::str::from_utf8(items(service.name)).expect("text"),
                    core::str::from_utf8(items(method.name)).expect("text"),
                    (method.id, method.kind, method.idempotent),
                ));
            }
        }
    }
    let wanted = [
        ("a.First", "One", (0, 0, 1)),
        ("a.First", "Two", (1, 1, 0)),
        ("a.Second", "Three", (2, 2, 0)),
        ("a.Second", "Four", (3, 3, 0)),
    ];
    assert_eq!(seen, wanted);
}
