//! Compresses one message in steps.
//!
//! Called by `Responses` in the parent. Invariants: no step takes in more than [`STEP_BYTES`]; a
//! compressor that fails costs no call its message, which leaves as it is then.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::STEP_BYTES;
use super::room::Share;
use super::shelf::Shelf;
use crate::config::Encoding;

/// Levels. Measured with JSON, text and WebAssembly of 1 KiB to 1 MiB on 2 cores: level 3 of gzip makes
/// 2 to 8 % more than the usual 6 (a third more where long passages repeat) in half to a third of the time:
/// 64 KiB of JSON become 12.3 KB in 0.26 ms instead of 11.6 KB in 0.86 ms. zstd's level 1 makes about as
/// little as gzip's 6 in a fifth of its time, and its level 3 not less.
const DEFLATE_LEVEL: u32 = 3;
const ZSTD_LEVEL: i32 = 1;

/// Window of gzip and deflate, as a power of two: the largest there is, as everybody takes it.
const DEFLATE_WINDOW_LOG: u8 = 15;

/// What a compressor holds at most, in bytes: measured with messages of 1 MiB, which fill its window.
const DEFLATE_BYTES: usize = 448 * 1024;
const ZSTD_BYTES_MAX: usize = 1408 * 1024;

/// What one of zstd holds for a small message, in bytes, and for each byte of it; measured likewise.
const ZSTD_BYTES_MIN: usize = 32 * 1024;
const ZSTD_BYTES_PER_BYTE: usize = 16;

static IDLE: Shelf<Tool> = Shelf::new();

/// What is reserved at least when the output is full, in bytes.
const GROWTH_BYTES_MIN: usize = 4 * 1024;

/// The compressor does not do what its documentation says, or has no memory. The message leaves as
/// it is then.
#[derive(Debug)]
struct Failed;

/// One message being compressed.
pub(super) struct Packing {
    encoding: Encoding,
    message: Bytes,
    /// Bytes of `message` that were put in.
    taken: usize,
    packed: Vec<u8>,
    share: Share,
    /// None before there is room and after the end.
    tool: Option<Tool>,
}

impl std::fmt::Debug for Packing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packing")
            .field("encoding", &self.encoding)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

impl Packing {
    pub(super) fn new(encoding: Encoding, message: Bytes) -> Self {
        let len = message.len();
        let tool_bytes = match encoding {
            Encoding::Deflate | Encoding::Gzip => DEFLATE_BYTES,
            Encoding::Zstd => len
                .saturating_mul(ZSTD_BYTES_PER_BYTE)
                .clamp(ZSTD_BYTES_MIN, ZSTD_BYTES_MAX),
        };
        Self {
            share: Share::of(tool_bytes.saturating_add(len)),
            encoding,
            message,
            taken: 0,
            packed: Vec::new(),
            tool: None,
        }
    }

    /// Does a step; ready with the compressed message after the last one, or with none if it
    /// cannot be compressed. Wakes its task if there is another.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        ready!(self.share.poll(cx));
        let Ok(ended) = self.step() else {
            return Poll::Ready(None);
        };
        if !ended {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(tool) = self.tool.take() {
            tool.keep();
        }
        let mut packed = std::mem::take(&mut self.packed);
        // It may wait for its caller, and what it might have become should not.
        packed.shrink_to_fit();
        Poll::Ready(Some(packed.into()))
    }

    fn step(&mut self) -> Result<bool, Failed> {
        let tool = match &mut self.tool {
            Some(tool) => tool,
            None => {
                let tool = Tool::take(self.encoding, self.message.len())?;
                self.tool.insert(tool)
            }
        };
        let rest = &self.message[self.taken..];
        let part = &rest[..rest.len().min(STEP_BYTES)];
        let last = part.len() == rest.len();
        match tool {
            Tool::Deflate(_, tool) => deflate(tool, part, last, &mut self.packed)?,
            Tool::Zstd(tool) => zstd(tool, part, last, &mut self.packed)?,
        }
        self.taken += part.len();
        Ok(last)
    }
}

/// A compressor, ready for a message.
enum Tool {
    Deflate(Encoding, Compress),
    Zstd(CCtx<'static>),
}

impl Tool {
    fn encoding(&self) -> Encoding {
        match self {
            Self::Deflate(encoding, _) => *encoding,
            Self::Zstd(_) => Encoding::Zstd,
        }
    }

    fn take(encoding: Encoding, message_bytes: usize) -> Result<Self, Failed> {
        let kept = IDLE.take(|tool| tool.encoding() == encoding);
        let mut tool = match kept {
            Some(tool) => tool,
            None => Self::new(encoding)?,
        };
        if let Self::Zstd(tool) = &mut tool {
            // So that its tables are not larger than the message needs.
            let bytes = u64::try_from(message_bytes).unwrap_or(u64::MAX);
            tool.set_pledged_src_size(Some(bytes)).map_err(|_| Failed)?;
        }
        Ok(tool)
    }

    fn new(encoding: Encoding) -> Result<Self, Failed> {
        let level = Compression::new(DEFLATE_LEVEL);
        Ok(match encoding {
            Encoding::Gzip => {
                Self::Deflate(encoding, Compress::new_gzip(level, DEFLATE_WINDOW_LOG))
            }
            Encoding::Deflate => {
                let tool = Compress::new_with_window_bits(level, true, DEFLATE_WINDOW_LOG);
                Self::Deflate(encoding, tool)
            }
            Encoding::Zstd => {
                let mut tool = CCtx::try_create().ok_or(Failed)?;
                let level = CParameter::CompressionLevel(ZSTD_LEVEL);
                tool.set_parameter(level).map_err(|_| Failed)?;
                Self::Zstd(tool)
            }
        })
    }

    /// Keeps it for another message.
    fn keep(mut self) {
        let clean = match &mut self {
            Self::Deflate(_, tool) => {
                tool.reset();
                true
            }
            Self::Zstd(tool) => tool.reset(ResetDirective::SessionOnly).is_ok(),
        };
        if clean {
            IDLE.put(self);
        }
    }
}

/// Makes room for more output: as much again as there is.
fn grow(packed: &mut Vec<u8>) {
    if packed.capacity() == packed.len() {
        packed.reserve(packed.len().max(GROWTH_BYTES_MIN));
    }
}

/// Puts `part` in; takes everything out if it is the last one.
fn deflate(
    tool: &mut Compress,
    mut part: &[u8],
    last: bool,
    packed: &mut Vec<u8>,
) -> Result<(), Failed> {
    let flush = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::None
    };
    loop {
        grow(packed);
        let (before, had) = (tool.total_in(), packed.len());
        let status = tool.compress_vec(part, packed, flush);
        let status = status.map_err(|_| Failed)?;
        let taken = usize::try_from(tool.total_in() - before).map_err(|_| Failed)?;
        part = part.get(taken..).ok_or(Failed)?;
        match status {
            Status::StreamEnd => return Ok(()),
            Status::Ok | Status::BufError if !last && part.is_empty() => return Ok(()),
            Status::Ok | Status::BufError if taken == 0 && packed.len() == had => {
                return Err(Failed);
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

/// The same with zstd.
fn zstd(tool: &mut CCtx<'_>, part: &[u8], last: bool, packed: &mut Vec<u8>) -> Result<(), Failed> {
    let end = if last {
        ZSTD_EndDirective::ZSTD_e_end
    } else {
        ZSTD_EndDirective::ZSTD_e_continue
    };
    let mut input = InBuffer::around(part);
    loop {
        grow(packed);
        let had = packed.len();
        let mut output = OutBuffer::around_pos(packed, had);
        let left = tool.compress_stream2(&mut output, &mut input, end);
        let left = left.map_err(|_| Failed)?;
        if input.pos() == part.len() && (!last || left == 0) {
            return Ok(());
        }
    }
}
