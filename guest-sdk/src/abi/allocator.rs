//! wasi-libc's allocator for plugins without `std`: the one that `std` uses on this target.
//!
//! Set by [`crate::export_no_std!`]. Knows nothing of calls; an instance has one thread, so it
//! needs no lock.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by contract, and this one calls C"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;

/// What C's `malloc` aligns to on wasm32. Source: `max_align_t` of the C ABI for WebAssembly.
const MALLOC_ALIGN: usize = 16;

#[link(name = "c")]
unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn calloc(count: usize, size: usize) -> *mut c_void;
    fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    fn free(pointer: *mut c_void);
    fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
}

/// The global allocator of a plugin without `std`.
#[derive(Clone, Copy, Debug)]
pub struct Allocator;

// SAFETY: C's contract is what `GlobalAlloc` asks for: a block is unique until freed, as large as
// asked and aligned to `MALLOC_ALIGN`, or as `aligned_alloc` was told; failure is null.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: any size will do.
            return unsafe { malloc(layout.size()) }.cast();
        }
        // SAFETY: a `Layout` has a power of two to align to, and the size is a multiple of it.
        unsafe { aligned_alloc(layout.align(), layout.pad_to_align().size()) }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: any size will do.
            return unsafe { calloc(1, layout.size()) }.cast();
        }
        // SAFETY: the caller's promise is ours.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block is new and has this many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the block came from `alloc`, that is from C.
        unsafe { free(block.cast()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: the block came from `alloc`, that is from C.
            return unsafe { realloc(block.cast(), size) }.cast();
        }
        // SAFETY: the caller promises that `size` fits this alignment.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller's promise is ours; `size` is not zero.
        let moved = unsafe { self.alloc(larger) };
        if !moved.is_null() {
            // SAFETY: two blocks, both at least this long.
            unsafe { moved.copy_from_nonoverlapping(block, layout.size().min(size)) };
            // SAFETY: the block came from `alloc`, and nobody uses it after this.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}
