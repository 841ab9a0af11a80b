//! Memory layouts of the canonical ABI for the types of `wit/` that do not fit in registers.
//!
//! Written by `lower`, read by `call`. Pointers have the width of the target, so the tests below
//! compare the same structs with `wit/` natively, as a 64-bit memory would have them; the rules
//! (C layout, variants with a one-byte tag) are the same. Field names are those of `wit/`.

/// `list<T>` or `string`, as lowered by us: the memory stays ours.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Slice {
    pub(super) pointer: *const u8,
    pub(super) length: usize,
}

/// `tuple<string, list<u8>>`, an entry of `metadata`; and `tuple<string, string>`, an attribute of an event.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) key: Slice,
    pub(super) value: Slice,
}

/// `types.status`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Status {
    pub(super) code: u32,
    pub(super) message: Slice,
    pub(super) details: Slice,
    pub(super) trailers: Slice,
}

/// `result<list<u8>, status>`, and `result<_, status>` without the first of the payloads.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Outcome {
    pub(super) tag: u8,
    pub(super) payload: OutcomePayload,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union OutcomePayload {
    pub(super) ok: Slice,
    pub(super) err: Status,
}

/// `types.method`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Method {
    pub(super) id: u32,
    pub(super) name: Slice,
    pub(super) kind: u8,
    pub(super) idempotent: u8,
}

/// `types.service`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Service {
    pub(super) name: Slice,
    pub(super) methods: Slice,
}

/// `types.description`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Description {
    pub(super) services: Slice,
    pub(super) file_descriptor_set: OptionSlice,
    pub(super) max_request_message: u32,
}

/// `option<list<u8>>`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct OptionSlice {
    pub(super) tag: u8,
    pub(super) some: Slice,
}

/// `trace.context`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Context {
    pub(super) traceparent: Slice,
    pub(super) tracestate: Slice,
}

/// `option<context>`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct OptionContext {
    pub(super) tag: u8,
    pub(super) some: Context,
}

/// `option<u64>`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct OptionU64 {
    pub(super) tag: u8,
    pub(super) some: u64,
}

/// `option<cancel-reason>`, and `result<_, metadata-error>`: a tag, then an enum of a byte.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct TaggedByte {
    pub(super) tag: u8,
    pub(super) value: u8,
}

/// `call.received`, and `call.received-many`, whose list has elements of another type.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Received {
    pub(super) tag: u8,
    pub(super) payload: ReceivedPayload,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union ReceivedPayload {
    pub(super) list: Slice,
    pub(super) reason: u8,
}

/// `result<_, send-error>`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Sent {
    pub(super) tag: u8,
    pub(super) error: u8,
    pub(super) reason: u8,
}

/// The sizes that the canonical ABI gives these types in the 32-bit memory of a plugin.
#[cfg(target_arch = "wasm32")]
const _: () = {
    assert!(size_of::<Slice>() == 8 && size_of::<Entry>() == 16 && size_of::<Status>() == 28);
    assert!(size_of::<Outcome>() == 32 && core::mem::offset_of!(Outcome, payload) == 4);
    assert!(size_of::<Method>() == 16 && size_of::<Service>() == 16);
    assert!(size_of::<Description>() == 24 && size_of::<OptionSlice>() == 12);
    assert!(size_of::<OptionU64>() == 16 && align_of::<OptionU64>() == 8);
    assert!(size_of::<Context>() == 16 && size_of::<OptionContext>() == 20);
    assert!(size_of::<TaggedByte>() == 2 && size_of::<Sent>() == 3);
    assert!(size_of::<Received>() == 12 && core::mem::offset_of!(Received, payload) == 4);
};

#[cfg(test)]
mod tests;
