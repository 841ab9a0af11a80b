//! Decompresses one message in steps, into a buffer that is never larger than a message may be.
//!
//! Called by `grpc::incoming` once the message is wanted: until then it stays as small as it came.
//! Invariants: the output never passes the limit by more than a byte, whatever the message promises;
//! exactly one stream or frame makes a message, and nothing follows it; no step takes in or gives
//! out more than [`STEP_BYTES`].

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::STEP_BYTES;
use super::room::Share;
use super::shelf::Shelf;
use crate::config::Encoding;
use crate::error::CallError;

/// Window of gzip and deflate, as a power of two: the largest there is.
const DEFLATE_WINDOW_LOG: u8 = 15;

/// Largest window of zstd that is taken, as a power of two: 8 MiB. Source: RFC 8878, section
/// 3.1.1.1.2, "it's recommended for decoders to support a Window_Size of up to 8 MB".
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What DEFLATE makes of a byte at most. Source: zlib's technical details, 1032:1.
const DEFLATE_RATIO_MAX: usize = 1032;

/// What a decompressor holds beside its window, in bytes.
const TOOL_BYTES: usize = 192 * 1024;

/// Decompressors of zstd that are kept are no larger than this, in bytes: those that had a large window
/// give it back. One for small messages holds 94 KiB.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Only those of zstd: making one for gzip or deflate costs 3 us.
static IDLE: Shelf<DCtx<'static>> = Shelf::new();

/// First guess at what a message becomes, for each byte of it; the buffer doubles from there.
const RATIO_GUESS: usize = 4;

/// Smallest buffer that is made for the output, in bytes.
const OUTPUT_BYTES_MIN: usize = 1024;

/// One message being decompressed.
pub(crate) struct Unpacking {
    encoding: Encoding,
    message: Bytes,
    /// Bytes of `message` that were put in.
    taken: usize,
    unpacked: Vec<u8>,
    bytes_max: usize,
    share: Share,
    /// None before there is room.
    tool: Option<Tool>,
}

impl std::fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacking")
            .field("encoding", &self.encoding)
            .field("taken", &self.taken)
            .field("unpacked", &self.unpacked.len())
            .finish_non_exhaustive()
    }
}

enum Tool {
    Deflate(Decompress),
    Zstd(DCtx<'static>),
}

/// What one turn of a decompressor did.
struct Turn {
    /// Bytes taken in.
    taken: usize,
    /// Bytes given out.
    given: usize,
    /// The stream or frame is complete.
    ended: bool,
}

impl Unpacking {
    /// Decompresses `message` to at most `bytes_max`.
    ///
    /// # Errors
    /// [`CallError::UnpackedTooLarge`] if it says itself that it is.
    pub(crate) fn new(
        encoding: Encoding,
        message: Bytes,
        bytes_max: usize,
    ) -> Result<Self, CallError> {
        let (window, size_max) = match encoding {
            Encoding::Deflate | Encoding::Gzip => (
                1 << DEFLATE_WINDOW_LOG,
                message.len().saturating_mul(DEFLATE_RATIO_MAX),
            ),
            Encoding::Zstd => {
                let size = zstd_safe::get_frame_content_size(&message).ok().flatten();
                let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
                if size.is_some_and(|size| size > bytes_max) {
                    return Err(CallError::UnpackedTooLarge { max: bytes_max });
                }
                let size_max = size.unwrap_or(usize::MAX);
                (zstd_window(&message).min(size_max), size_max)
            }
        };
        let needs = TOOL_BYTES + window + size_max.min(bytes_max);
        Ok(Self {
            share: Share::of(needs),
            encoding,
            message,
            taken: 0,
            unpacked: Vec::new(),
            bytes_max,
            tool: None,
        })
    }

    /// Does a step; ready with the message after the last one. Wakes its task if there is another.
    ///
    /// # Errors
    /// [`CallError::Corrupt`], [`CallError::UnpackedTooLarge`], [`CallError::WindowTooLarge`].
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, CallError>> {
        ready!(self.share.poll(cx));
        let mut moved = 0;
        while moved < STEP_BYTES {
            let turn = self.turn()?;
            if turn.ended {
                return Poll::Ready(self.whole());
            }
            moved += turn.taken.max(turn.given);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Bytes that the output takes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.unpacked.capacity()
    }

    fn whole(&mut self) -> Result<Bytes, CallError> {
        if self.taken < self.message.len() {
            return Err(self.corrupt("more follows its end"));
        }
        if let Some(Tool::Zstd(mut tool)) = self.tool.take()
            && tool.sizeof() <= KEPT_BYTES_MAX
            && tool.reset(ResetDirective::SessionOnly).is_ok()
        {
            IDLE.put(tool);
        }
        Ok(std::mem::take(&mut self.unpacked).into())
    }

    fn corrupt(&self, what: &'static str) -> CallError {
        CallError::Corrupt {
            encoding: self.encoding,
            what,
        }
    }

    fn turn(&mut self) -> Result<Turn, CallError> {
        let had = self.make_room();
        let tool = match &mut self.tool {
            Some(tool) => tool,
            None => self.tool.insert(Tool::new(self.encoding)?),
        };
        let rest = &self.message[self.taken..];
        let part = &rest[..rest.len().min(STEP_BYTES)];
        let output = &mut self.unpacked[had..];
        let turn = match tool {
            Tool::Deflate(tool) => deflate(tool, part, output),
            Tool::Zstd(tool) => zstd(tool, part, output)?,
        };
        let Some(turn) = turn else {
            return Err(self.corrupt("it is damaged"));
        };
        self.unpacked.truncate(had + turn.given);
        self.taken += turn.taken;
        if self.unpacked.len() > self.bytes_max {
            return Err(CallError::UnpackedTooLarge {
                max: self.bytes_max,
            });
        }
        if turn.taken == 0 && turn.given == 0 && !turn.ended {
            return Err(self.corrupt("it ends too early"));
        }
        Ok(turn)
    }

    /// Lengthens the output by what may come in a turn: a byte beyond the limit at most, which
    /// tells that there is more. Answers how long it was.
    fn make_room(&mut self) -> usize {
        let had = self.unpacked.len();
        let guess = match had {
            0 => self.message.len().saturating_mul(RATIO_GUESS),
            _ => had,
        };
        let more = guess.clamp(OUTPUT_BYTES_MIN, STEP_BYTES);
        let len = (had + more).min(self.bytes_max.saturating_add(1));
        if len > self.unpacked.capacity() {
            let doubled = self.unpacked.capacity().saturating_mul(2);
            let capacity = doubled.clamp(len, self.bytes_max.saturating_add(1).max(len));
            self.unpacked.reserve_exact(capacity - had);
        }
        self.unpacked.resize(len, 0);
        had
    }
}

impl Tool {
    fn new(encoding: Encoding) -> Result<Self, CallError> {
        Ok(match encoding {
            Encoding::Gzip => Self::Deflate(Decompress::new_gzip(DEFLATE_WINDOW_LOG)),
            Encoding::Deflate => {
                Self::Deflate(Decompress::new_with_window_bits(true, DEFLATE_WINDOW_LOG))
            }
            Encoding::Zstd => {
                if let Some(kept) = IDLE.take(|_| true) {
                    return Ok(Self::Zstd(kept));
                }
                let mut tool = DCtx::try_create().ok_or(CallError::Bug)?;
                let window = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
                tool.set_parameter(window).map_err(|_| CallError::Bug)?;
                Self::Zstd(tool)
            }
        })
    }
}

/// None if the stream is damaged.
fn deflate(tool: &mut Decompress, part: &[u8], output: &mut [u8]) -> Option<Turn> {
    let (took, gave) = (tool.total_in(), tool.total_out());
    let status = tool.decompress(part, output, FlushDecompress::None).ok()?;
    Some(Turn {
        taken: usize::try_from(tool.total_in() - took).ok()?,
        given: usize::try_from(tool.total_out() - gave).ok()?,
        ended: matches!(status, Status::StreamEnd),
    })
}

/// The same with zstd.
fn zstd(tool: &mut DCtx<'_>, part: &[u8], output: &mut [u8]) -> Result<Option<Turn>, CallError> {
    const WINDOW_TOO_LARGE: usize =
        (ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge as usize).wrapping_neg();
    let mut input = InBuffer::around(part);
    let mut output = OutBuffer::around(output);
    match tool.decompress_stream(&mut output, &mut input) {
        Ok(left) => Ok(Some(Turn {
            taken: input.pos(),
            given: output.pos(),
            ended: left == 0,
        })),
        Err(WINDOW_TOO_LARGE) => Err(CallError::WindowTooLarge {
            max: 1 << ZSTD_WINDOW_LOG_MAX,
        }),
        Err(_) => Ok(None),
    }
}

/// The window that a frame of zstd declares, in bytes, as far as it is taken; its content may be
/// smaller, and none is needed beyond that. Source: RFC 8878, section 3.1.1.1.
fn zstd_window(frame: &[u8]) -> usize {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let max = 1 << ZSTD_WINDOW_LOG_MAX;
    match frame {
        // Its window is its content.
        [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & SINGLE_SEGMENT != 0 => max,
        [0x28, 0xb5, 0x2f, 0xfd, _, window, ..] => {
            let base = 1_usize << (10 + (window >> 3));
            let eighths = usize::from(window & 7);
            (base + base / 8 * eighths).min(max)
        }
        _ => 0,
    }
}
