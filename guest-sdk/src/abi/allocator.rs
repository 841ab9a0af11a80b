//! The allocator of plugins without `std`: a tenth of the code of wasi-libc's.
//!
//! Set by [`crate::export_no_std!`]. Up to 32 KiB, blocks have a power of two for a size and go
//! back to the list of their size; above, they are runs of 64 KiB pages that merge with their
//! free neighbours. So a plugin that serves messages of one kind for ever stops growing. Sizes
//! come from `Layout`, so a block has no header. Cost: a list operation; for large blocks, a walk
//! over the free runs. Invariants: the runs are in order of address and never touch; memory is
//! never given back, as WebAssembly cannot. An instance has one thread, so there is no lock.
#![expect(unsafe_code, reason = "an allocator is unsafe by contract")]

use core::alloc::Layout;
use core::ptr::null_mut;

/// What WebAssembly grows memory by.
const PAGE_BYTES: usize = 64 << 10;
/// The sizes of small blocks are 2^4 to 2^15 bytes; all are aligned to the smallest.
const CLASS_FIRST: u32 = 4;
const CLASS_COUNT: usize = 12;
const SMALL_ALIGN: usize = 1 << CLASS_FIRST;

/// Where memory comes from.
pub(super) trait Memory {
    /// What is there from the start: first byte, and the one behind the last.
    fn initial(&mut self) -> (*mut u8, *mut u8);
    /// So many pages more, aligned to a page; null when there are none.
    fn grow(&mut self, pages: usize) -> *mut u8;
}

/// A free block of a class; the list is last in, first out, for warm memory.
struct Block {
    next: *mut Self,
}

/// Free pages in a row.
struct Run {
    next: *mut Self,
    pages: usize,
}

/// Where a layout goes; the same layout always goes to the same place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Class(usize),
    Pages(usize),
}

fn place(layout: Layout) -> Place {
    let class = layout.size().max(SMALL_ALIGN).next_power_of_two().ilog2() - CLASS_FIRST;
    if layout.align() <= SMALL_ALIGN && (class as usize) < CLASS_COUNT {
        Place::Class(class as usize)
    } else {
        Place::Pages(layout.size().div_ceil(PAGE_BYTES))
    }
}

/// The free memory of an instance.
pub(super) struct Heap<M> {
    memory: M,
    started: bool,
    free: [*mut Block; CLASS_COUNT],
    /// Memory that has been no block yet.
    fresh: *mut u8,
    fresh_end: *mut u8,
    runs: *mut Run,
}

impl<M: Memory> Heap<M> {
    pub(super) const fn new(memory: M) -> Self {
        Self {
            memory,
            started: false,
            free: [null_mut(); CLASS_COUNT],
            fresh: null_mut(),
            fresh_end: null_mut(),
            runs: null_mut(),
        }
    }

    /// A block, or null.
    pub(super) fn alloc(&mut self, layout: Layout) -> *mut u8 {
        match place(layout) {
            Place::Class(class) => self.alloc_class(class),
            Place::Pages(pages) if layout.align() <= PAGE_BYTES => self.alloc_pages(pages),
            Place::Pages(_) => null_mut(),
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from `alloc` with this layout, and nobody uses it any more.
    pub(super) unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        match place(layout) {
            // SAFETY: the caller's promise.
            Place::Class(class) => unsafe { self.free_class(block, class) },
            // SAFETY: the caller's promise.
            Place::Pages(pages) => unsafe { self.free_pages(block, pages) },
        }
    }

    /// A block of another size with the same bytes in front, or null, and then the old one stays.
    ///
    /// # Safety
    /// As [`Heap::dealloc`], unless this answers null; `bytes` is not zero and fits the alignment.
    pub(super) unsafe fn realloc(
        &mut self,
        block: *mut u8,
        layout: Layout,
        bytes: usize,
    ) -> *mut u8 {
        // SAFETY: the caller's promise.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        if place(wanted) == place(layout) {
            return block;
        }
        let moved = self.alloc(wanted);
        if !moved.is_null() {
            // SAFETY: two blocks, both at least this long; the old one is not used after this.
            unsafe {
                moved.copy_from_nonoverlapping(block, layout.size().min(bytes));
                self.dealloc(block, layout);
            }
        }
        moved
    }

    fn alloc_class(&mut self, class: usize) -> *mut u8 {
        let block = self.free[class];
        if !block.is_null() {
            // SAFETY: blocks in the list are free and were written by `free_class`.
            self.free[class] = unsafe { (*block).next };
            return block.cast();
        }
        let bytes = 1 << (class as u32 + CLASS_FIRST);
        if self.fresh_bytes() < bytes && !self.refill(bytes) {
            return null_mut();
        }
        let block = self.fresh;
        self.fresh = block.wrapping_add(bytes);
        block
    }

    fn fresh_bytes(&self) -> usize {
        self.fresh_end.addr() - self.fresh.addr()
    }

    /// Gets fresh memory for a block of this size, at most half a page.
    fn refill(&mut self, bytes: usize) -> bool {
        if !self.started {
            self.started = true;
            let (start, end) = self.memory.initial();
            let skip = start.align_offset(SMALL_ALIGN);
            if end.addr() - start.addr() >= skip {
                (self.fresh, self.fresh_end) = (start.wrapping_add(skip), end);
            }
            if self.fresh_bytes() >= bytes {
                return true;
            }
        }
        let page = self.alloc_pages(1);
        if page.is_null() {
            return false;
        }
        // What is left of the old memory becomes blocks, the largest that fit.
        while self.fresh_bytes() >= SMALL_ALIGN {
            let class = (self.fresh_bytes().ilog2() - CLASS_FIRST).min(CLASS_COUNT as u32 - 1);
            let block = self.fresh;
            self.fresh = block.wrapping_add(1 << (class + CLASS_FIRST));
            // SAFETY: this memory has been nobody's.
            unsafe { self.free_class(block, class as usize) };
        }
        (self.fresh, self.fresh_end) = (page, page.wrapping_add(PAGE_BYTES));
        true
    }

    /// # Safety
    /// The block has the size of the class, and nobody uses it.
    unsafe fn free_class(&mut self, block: *mut u8, class: usize) {
        let block = block.cast::<Block>();
        // SAFETY: the block is free, aligned to `SMALL_ALIGN` and large enough.
        unsafe {
            block.write(Block {
                next: self.free[class],
            })
        };
        self.free[class] = block;
    }

    /// Takes from the end of the first run that is long enough, or grows the memory.
    fn alloc_pages(&mut self, pages: usize) -> *mut u8 {
        let mut link: *mut *mut Run = &raw mut self.runs;
        // SAFETY: links and runs are ours; runs are free memory written by `free_pages`.
        unsafe {
            while !(*link).is_null() {
                let run = *link;
                if (*run).pages >= pages {
                    (*run).pages -= pages;
                    let left = (*run).pages;
                    if left == 0 {
                        *link = (*run).next;
                    }
                    return run.cast::<u8>().wrapping_add(left * PAGE_BYTES);
                }
                link = &raw mut (*run).next;
            }
        }
        self.memory.grow(pages)
    }

    /// # Safety
    /// These pages came from `alloc_pages`, and nobody uses them.
    unsafe fn free_pages(&mut self, start: *mut u8, pages: usize) {
        let behind = |run: *mut Run, pages: usize| run.addr() + pages * PAGE_BYTES;
        let freed = start.cast::<Run>();
        let mut before: *mut Run = null_mut();
        let mut after = self.runs;
        // SAFETY: runs are free memory written here; `freed` is free and large enough for one.
        unsafe {
            while !after.is_null() && after.addr() < freed.addr() {
                before = after;
                after = (*after).next;
            }
            freed.write(Run { next: after, pages });
            if !after.is_null() && behind(freed, pages) == after.addr() {
                freed.write(Run {
                    next: (*after).next,
                    pages: pages + (*after).pages,
                });
            }
            if before.is_null() {
                self.runs = freed;
            } else if behind(before, (*before).pages) == freed.addr() {
                (*before).pages += (*freed).pages;
                (*before).next = (*freed).next;
            } else {
                (*before).next = freed;
            }
        }
    }
}

// Nothing is named: `core` itself calls `memcmp` and its like, which `std` would have brought.
#[cfg(target_arch = "wasm32")]
#[link(name = "c")]
unsafe extern "C" {}

/// The memory of the instance: behind the data that the linker placed, and what can be grown.
#[cfg(target_arch = "wasm32")]
struct LinearMemory;

#[cfg(target_arch = "wasm32")]
impl Memory for LinearMemory {
    fn initial(&mut self) -> (*mut u8, *mut u8) {
        unsafe extern "C" {
            safe static __heap_base: u8;
            safe static __heap_end: u8;
        }
        (
            (&raw const __heap_base).cast_mut(),
            (&raw const __heap_end).cast_mut(),
        )
    }

    fn grow(&mut self, pages: usize) -> *mut u8 {
        match core::arch::wasm32::memory_grow(0, pages) {
            usize::MAX => null_mut(),
            first => core::ptr::without_provenance_mut(first * PAGE_BYTES),
        }
    }
}

/// The global allocator of a plugin without `std`.
#[cfg(target_arch = "wasm32")]
#[derive(Clone, Copy, Debug)]
pub struct Allocator;

#[cfg(target_arch = "wasm32")]
static HEAP: super::entry::OneThread<core::cell::UnsafeCell<Heap<LinearMemory>>> =
    super::entry::OneThread(core::cell::UnsafeCell::new(Heap::new(LinearMemory)));

// SAFETY: a block is unique until freed, as large and as aligned as asked (see `place`), and
// nothing here unwinds or allocates.
#[cfg(target_arch = "wasm32")]
unsafe impl core::alloc::GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and the heap does not call back.
        let heap = unsafe { &mut *HEAP.0.get() };
        heap.alloc(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: one thread, and the heap does not call back.
        let heap = unsafe { &mut *HEAP.0.get() };
        // SAFETY: the caller's promise.
        unsafe { heap.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: one thread, and the heap does not call back.
        let heap = unsafe { &mut *HEAP.0.get() };
        // SAFETY: the caller's promise.
        unsafe { heap.realloc(block, layout, bytes) }
    }
}

#[cfg(test)]
mod tests;
