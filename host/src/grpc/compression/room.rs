//! The memory that all compression and decompression of the process may take at once.
//!
//! Called by `pack` and `unpack`, which know what a message needs at most: the tables of the
//! algorithm and what it makes. A message that finds no room waits, first come, first served. It
//! never waits for another call's progress in anything but computing, so the line moves.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// All of it, in bytes for each core: a message of the default limit in work, and what that takes beside.
const CORE_BYTES: usize = 4608 << 10;

/// All of it, in bytes, on any machine: what the process grows by is not to follow the number of cores
/// for ever, and two messages of the default limit should fit. One that needs more than all has it alone.
const ROOM_BYTES: RangeInclusive<usize> = 9 << 20..=128 << 20;

/// The unit of counting, in bytes.
const UNIT_BYTES: usize = 1024;

static ROOM: LazyLock<Room> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let bytes = cores.saturating_mul(CORE_BYTES);
    Room::new(bytes.clamp(*ROOM_BYTES.start(), *ROOM_BYTES.end()))
});

struct Room {
    bytes: usize,
    units: Arc<Semaphore>,
}

impl Room {
    fn new(bytes: usize) -> Self {
        Self {
            bytes,
            units: Arc::new(Semaphore::new(bytes / UNIT_BYTES)),
        }
    }
}

/// A share of the room: waited for, then held until it is dropped.
#[derive(Debug)]
pub(super) enum Share {
    Waiting {
        line: PollSemaphore,
        units: u32,
    },
    Held {
        _units: Option<OwnedSemaphorePermit>,
    },
}

impl Share {
    /// A share of so many bytes; of all there is, if it is more than that.
    pub(super) fn of(bytes: usize) -> Self {
        Self::within(&ROOM, bytes)
    }

    fn within(room: &Room, bytes: usize) -> Self {
        let units = bytes.min(room.bytes).div_ceil(UNIT_BYTES);
        Self::Waiting {
            line: PollSemaphore::new(Arc::clone(&room.units)),
            units: u32::try_from(units).unwrap_or(u32::MAX),
        }
    }

    /// Ready once there is room, and from then on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Waiting { line, units } = self {
            // None only of a semaphore that was closed, which nobody does.
            let _units = ready!(line.poll_acquire_many(cx, *units));
            *self = Self::Held { _units };
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const ROOM_BYTES: usize = 1 << 20;

    #[test]
    fn who_finds_no_room_waits_for_it_in_order() {
        let room = Room::new(ROOM_BYTES);
        let mut cx = Context::from_waker(Waker::noop());
        let mut shares: Vec<_> = (0..4)
            .map(|_| Share::within(&room, ROOM_BYTES / 2))
            .collect();
        let ready = |shares: &mut Vec<Share>, cx: &mut Context<'_>| -> Vec<bool> {
            let shares = shares.iter_mut();
            shares.map(|share| share.poll(cx).is_ready()).collect()
        };
        assert_eq!(ready(&mut shares, &mut cx), [true, true, false, false]);
        shares.remove(0);
        assert_eq!(ready(&mut shares, &mut cx), [true, true, false]);
        // One that gives up waiting leaves the line.
        shares.truncate(1);
        let mut all = Share::within(&room, usize::MAX);
        assert!(all.poll(&mut cx).is_pending());
        shares.clear();
        assert!(all.poll(&mut cx).is_ready(), "more than all is all");
    }
}
