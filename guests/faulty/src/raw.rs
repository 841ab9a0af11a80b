//! What the SDK does not let a plugin do: the ABI by hand, in order to break it.
//!
//! Only in the components `raw`, `describe-ids` and `describe-empty`, in place of the SDK's exports.
//! Nothing that is allocated here is freed, and nothing has a post-return: an instance of it lives
//! for one call or two. Source of the layouts: `wit/types.wit` and the canonical ABI, 32-bit.
#![expect(
    unsafe_code,
    reason = "exports, imports and memory layouts are what is broken here"
)]

use std::ptr;

use switchboard_guest::abi;

#[used]
#[unsafe(link_section = "component-type:switchboard:grpc@0.1.0:plugin")]
static SECTION: [u8; abi::SECTION.len()] = *abi::SECTION;

#[link(wasm_import_module = "switchboard:grpc/call@0.1.0")]
unsafe extern "C" {
    #[link_name = "[resource-drop]call"]
    fn call_drop(call: u32);
}

/// A list or a string.
#[derive(Clone, Copy)]
#[repr(C)]
struct Slice {
    pointer: *const u8,
    count: usize,
}

impl Slice {
    const EMPTY: Self = Self {
        pointer: ptr::null(),
        count: 0,
    };

    fn of<T: 'static>(items: &'static [T]) -> Self {
        Self {
            pointer: items.as_ptr().cast(),
            count: items.len(),
        }
    }

    fn leaked<T: 'static>(items: Vec<T>) -> Self {
        Self::of(items.leak())
    }
}

#[repr(C)]
struct Method {
    id: u32,
    name: Slice,
    kind: u8,
    idempotent: u8,
}

#[repr(C)]
struct Service {
    name: Slice,
    methods: Slice,
}

#[repr(C)]
struct Description {
    services: Slice,
    descriptors_tag: u8,
    descriptors: Slice,
    max_request_message: u32,
}

/// `result<list<u8>, status>` and `result<_, status>` with an error.
#[repr(C)]
struct Outcome {
    tag: u8,
    code: u32,
    message: Slice,
    details: Slice,
    trailers: Slice,
}

/// The same without.
#[repr(C)]
struct Ok {
    tag: u8,
    message: Slice,
}

#[repr(C)]
struct Entry {
    key: Slice,
    value: Slice,
}

const UNARY: u8 = 0;
const SERVER_STREAMING: u8 = 2;

/// Ids that are no indices: the host must give back what it was told.
const METHODS: &[(u32, &str, u8)] = &[
    (u32::MAX, "Echo", UNARY),
    (10, "Code99", UNARY),
    (11, "Code0", UNARY),
    (12, "BadUtf8", UNARY),
    (13, "OutOfBounds", UNARY),
    (14, "KeepBorrow", UNARY),
    (15, "BadTrailers", UNARY),
    (16, "DropTwice", UNARY),
    (17, "BadTag", UNARY),
    (0, "KeepHandle", SERVER_STREAMING),
];

/// Below the host's own limit, so that a test can tell which one counts.
const REQUEST_BYTES_MAX: u32 = 64 << 10;

/// The same id for two methods.
const METHODS_OF_ONE_ID: &[(u32, &str, u8)] = &[(1, "One", UNARY), (1, "Other", UNARY)];

#[unsafe(export_name = "switchboard:grpc/handler@0.1.0#describe")]
extern "C" fn describe() -> *const Description {
    let services = if cfg!(feature = "describe-empty") {
        Vec::new()
    } else if cfg!(feature = "describe-ids") {
        vec![service("faulty.Ids", METHODS_OF_ONE_ID)]
    } else {
        vec![service("faulty.Raw", METHODS)]
    };
    leak(Description {
        services: Slice::leaked(services),
        descriptors_tag: 0,
        descriptors: Slice::EMPTY,
        max_request_message: REQUEST_BYTES_MAX,
    })
}

fn service(name: &'static str, methods: &'static [(u32, &'static str, u8)]) -> Service {
    let method = |(id, name, kind): &(u32, &'static str, u8)| Method {
        id: *id,
        name: Slice::of(name.as_bytes()),
        kind: *kind,
        idempotent: 0,
    };
    Service {
        name: Slice::of(name.as_bytes()),
        methods: Slice::leaked(methods.iter().map(method).collect()),
    }
}

#[unsafe(export_name = "switchboard:grpc/handler@0.1.0#unary")]
extern "C" fn unary(method: u32, call: u32, pointer: *const u8, count: usize) -> *const Outcome {
    if method != 14 {
        // SAFETY: the handle was lent to this call and is used no more, but by method 16.
        unsafe { call_drop(call) };
    }
    match method {
        u32::MAX => ok(Slice { pointer, count }),
        10 => error(99, b"code 99", Vec::new()),
        11 => error(0, b"code 0", Vec::new()),
        12 => error(3, b"\xff\xfe", Vec::new()),
        13 => ok(Slice {
            pointer: ptr::without_provenance(0xffff_0000),
            count: 0x1_0000,
        }),
        14 => ok(Slice::EMPTY),
        15 => error(10, b"with trailers", bad_trailers()),
        16 => {
            // SAFETY: not at all, which is the fault: the host traps.
            unsafe { call_drop(call) };
            ok(Slice::EMPTY)
        }
        _ => leak(Ok {
            tag: 7,
            message: Slice::EMPTY,
        })
        .cast(),
    }
}

/// Keeps the handle that it was given for good.
#[unsafe(export_name = "switchboard:grpc/handler@0.1.0#stream")]
extern "C" fn stream(_method: u32, _call: u32) -> *const Outcome {
    ok(Slice::EMPTY)
}

#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn realloc(
    block: *mut u8,
    old_bytes: usize,
    align: usize,
    new_bytes: usize,
) -> *mut u8 {
    // SAFETY: the host calls this as the canonical ABI says.
    unsafe { abi::realloc(block, old_bytes, align, new_bytes) }
}

fn ok(message: Slice) -> *const Outcome {
    leak(Ok { tag: 0, message }).cast()
}

fn error(code: u32, message: &'static [u8], trailers: Vec<Entry>) -> *const Outcome {
    leak(Outcome {
        tag: 1,
        code,
        message: Slice::of(message),
        details: Slice::EMPTY,
        trailers: Slice::leaked(trailers),
    })
}

fn bad_trailers() -> Vec<Entry> {
    let entry = |key: &'static str, value: &'static [u8]| Entry {
        key: Slice::of(key.as_bytes()),
        value: Slice::of(value),
    };
    vec![
        entry("", b"empty"),
        entry("Upper", b"1"),
        entry("grpc-status", b"0"),
        entry("x-line", b"two\nlines"),
        entry("x-good", b"kept"),
    ]
}

fn leak<T>(value: T) -> *const T {
    Box::leak(Box::new(value))
}
