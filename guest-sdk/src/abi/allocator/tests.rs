//! The heap over an arena of counted pages: blocks keep apart, and memory comes back.
//!
//! Sizes and order are random but the same in every run.

use std::vec::Vec;

use super::*;

/// Memory of a fixed size that counts what was taken of it.
struct Arena {
    memory: *mut u8,
    layout: Layout,
    pages: usize,
    pages_max: usize,
}

impl Arena {
    fn new(pages_max: usize) -> Self {
        let layout =
            Layout::from_size_align(pages_max * PAGE_BYTES, PAGE_BYTES).expect("a valid layout");
        // SAFETY: the size is not zero.
        let memory = unsafe { std::alloc::alloc(layout) };
        assert!(!memory.is_null());
        Self {
            memory,
            layout,
            pages: 1,
            pages_max,
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: it came from there, with this layout.
        unsafe { std::alloc::dealloc(self.memory, self.layout) };
    }
}

impl Memory for Arena {
    fn initial(&mut self) -> (*mut u8, *mut u8) {
        // An odd start, as the linker's may be.
        (
            self.memory.wrapping_add(1001),
            self.memory.wrapping_add(PAGE_BYTES),
        )
    }

    fn grow(&mut self, pages: usize) -> *mut u8 {
        if self.pages + pages > self.pages_max {
            return null_mut();
        }
        let start = self.memory.wrapping_add(self.pages * PAGE_BYTES);
        self.pages += pages;
        start
    }
}

fn layout(bytes: usize, align: usize) -> Layout {
    Layout::from_size_align(bytes, align).expect("a valid layout")
}

fn free<M: Memory>(heap: &mut Heap<M>, block: *mut u8, layout: Layout) {
    // SAFETY: tests free what they allocated, once.
    unsafe { heap.dealloc(block, layout) };
}

#[test]
fn random_blocks_never_overlap_and_keep_their_bytes() {
    let mut heap = Heap::new(Arena::new(512));
    let mut live: Vec<(*mut u8, Layout, u8)> = Vec::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..20_000_u32 {
        if live.len() < 40 && next(2) == 0 {
            let bytes_max = 1 << (1 + next(18));
            let align = 1 << next(8);
            let wanted = layout(1 + next(bytes_max) as usize, align);
            let block = heap.alloc(wanted);
            assert!(!block.is_null(), "round {round}");
            assert_eq!(block.addr() % align, 0);
            let fill = round as u8;
            // SAFETY: the block is new and has this many bytes.
            unsafe { block.write_bytes(fill, wanted.size()) };
            live.push((block, wanted, fill));
        } else if !live.is_empty() {
            let (block, wanted, fill) = live.swap_remove(next(live.len() as u64) as usize);
            // SAFETY: the block is live and was filled.
            let bytes = unsafe { core::slice::from_raw_parts(block, wanted.size()) };
            assert!(bytes.iter().all(|byte| *byte == fill), "round {round}");
            free(&mut heap, block, wanted);
        }
    }
}

#[test]
fn the_same_calls_for_ever_do_not_grow_memory() {
    let mut heap = Heap::new(Arena::new(512));
    let mut pages = 0;
    for call in 0..10_000_usize {
        let sizes = [12, 100, 1000, 70_000 + (call % 7) * 60_000, 5000, 1 << 20];
        let blocks = sizes.map(|bytes| (heap.alloc(layout(bytes, 8)), layout(bytes, 8)));
        for (block, wanted) in blocks {
            assert!(!block.is_null());
            free(&mut heap, block, wanted);
        }
        if call == 100 {
            pages = heap.memory.pages;
        }
    }
    assert_eq!(heap.memory.pages, pages);
}

#[test]
fn freed_neighbours_become_one_run_again() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut heap = Heap::new(Arena::new(16));
        let one = layout(5 * PAGE_BYTES, 1);
        let blocks = [heap.alloc(one), heap.alloc(one), heap.alloc(one)];
        for index in order {
            free(&mut heap, blocks[index], one);
        }
        let all = layout(15 * PAGE_BYTES, 1);
        assert_eq!(heap.alloc(all), blocks[0], "{order:?}");
        assert!(heap.alloc(one).is_null());
    }
}

#[test]
fn used_up_memory_is_null_and_comes_back() {
    let mut heap = Heap::new(Arena::new(3));
    let small = layout(100, 8);
    let mut blocks = Vec::new();
    loop {
        let block = heap.alloc(small);
        if block.is_null() {
            break;
        }
        blocks.push(block);
    }
    // Of three pages in blocks of 128 bytes, less what lies before the odd start.
    assert_eq!(blocks.len(), (3 * PAGE_BYTES - 1008) / 128);
    assert!(heap.alloc(layout(PAGE_BYTES, 1)).is_null());
    assert!(heap.alloc(layout(8, 2 * PAGE_BYTES)).is_null());
    let count = blocks.len();
    for block in blocks {
        free(&mut heap, block, small);
    }
    let again = core::iter::from_fn(|| Some(heap.alloc(small)).filter(|block| !block.is_null()));
    assert_eq!(again.count(), count);
}

#[test]
fn what_is_left_of_a_page_is_used() {
    let mut heap = Heap::new(Arena::new(2));
    // 32 KiB fit once in the rest of the first page; the second needs the next page.
    let large = layout(32 << 10, 1);
    assert!(!heap.alloc(large).is_null());
    assert!(!heap.alloc(large).is_null());
    assert_eq!(heap.memory.pages, 2);
    let first = heap.memory.memory.addr();
    let block = heap.alloc(layout(16 << 10, 1)).addr();
    assert!(
        (first..first + PAGE_BYTES).contains(&block),
        "the rest of the first page"
    );
}

#[test]
fn a_block_grows_and_shrinks_with_its_bytes() {
    let mut heap = Heap::new(Arena::new(16));
    let mut bytes = 1;
    let mut block = heap.alloc(layout(bytes, 1));
    // SAFETY: the block has one byte.
    unsafe { block.write(42) };
    for wanted in [16, 17, 40_000, 300_000, 40_000, 1] {
        // SAFETY: the block is live and has this layout.
        let moved = unsafe { heap.realloc(block, layout(bytes, 1), wanted) };
        assert_eq!(
            moved == block,
            place(layout(bytes, 1)) == place(layout(wanted, 1)),
            "{wanted}"
        );
        // SAFETY: the block has at least one byte.
        assert_eq!(unsafe { moved.read() }, 42);
        (block, bytes) = (moved, wanted);
    }
    // SAFETY: the block is live and has this layout.
    let refused = unsafe { heap.realloc(block, layout(bytes, 1), 17 * PAGE_BYTES) };
    assert!(refused.is_null());
    // SAFETY: a refused block stays.
    assert_eq!(unsafe { block.read() }, 42);
}
