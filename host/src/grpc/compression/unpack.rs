//! Decompresses one message in steps, into a buffer that is never larger than the message may be.
//!
//! Called by `grpc::incoming` once the message is wanted: until then it stays as small as it came.
//! Invariants: the output never passes the limit by more than a byte, whatever the message promises;
//! exactly one stream or frame makes a message, and nothing follows it; no step takes in or gives
//! out more than [`STEP_BYTES`].
//!
//! Most messages are small and say nothing of it. So one that does not say its size is tried in a
//! little room first, and begun again in as much as it may need if it turns out to be large.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

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

/// Smallest message of gzip, in bytes: header, an empty block, checksum and size. Source: RFC 1952.
const GZIP_BYTES_MIN: usize = 20;

/// What a decompressor holds beside its window, in bytes; that of zstd, as measured, has 94 KiB.
const TOOL_BYTES: usize = 128 * 1024;

/// Decompressors for small messages of zstd, which have no window; making one costs 15 us, one for gzip
/// or deflate 3 us.
static IDLE: Shelf<DCtx<'static>> = Shelf::new();

/// First guess at what a message becomes, for each byte of it; what is cleared doubles from there.
const RATIO_GUESS: usize = 4;

/// Most of the output that is reserved before any of it is there, in bytes: four times the default limit.
/// Where messages may be larger, the buffer grows with what comes.
const AT_ONCE_BYTES_MAX: usize = 16 << 20;

/// Least of the output that is cleared at a time, in bytes.
const CLEARED_BYTES_MIN: usize = 1024;

/// One message being decompressed.
pub(crate) struct Unpacking {
    encoding: Encoding,
    message: Bytes,
    bytes_max: usize,
    /// What the message says that it becomes, in bytes.
    declared: Option<usize>,
    /// Most that it may become in this attempt, in bytes.
    limit: usize,
    /// Bytes of `message` that were put in.
    taken: usize,
    /// What came out; made for the limit and a byte, when there is room.
    unpacked: Vec<u8>,
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
        let declared = match encoding {
            Encoding::Deflate => None,
            // It stands at the end, so if it is too much the message may as well be cut.
            Encoding::Gzip => gzip_size(&message).filter(|size| *size <= bytes_max),
            Encoding::Zstd => zstd_size(&message),
        };
        if declared.is_some_and(|declared| declared > bytes_max) {
            return Err(CallError::UnpackedTooLarge { max: bytes_max });
        }
        let mut unpacking = Self {
            encoding,
            message,
            bytes_max,
            declared,
            limit: 0,
            taken: 0,
            unpacked: Vec::new(),
            share: Share::of(0),
            tool: None,
        };
        let limit = unpacking.most();
        unpacking.begin(match declared {
            Some(declared) => declared,
            None => limit.min(STEP_BYTES),
        });
        Ok(unpacking)
    }

    /// Most that the message can or may become, in bytes.
    fn most(&self) -> usize {
        let made_of_it = match self.encoding {
            Encoding::Deflate | Encoding::Gzip => {
                self.message.len().saturating_mul(DEFLATE_RATIO_MAX)
            }
            Encoding::Zstd => usize::MAX,
        };
        let most = made_of_it.min(self.bytes_max);
        self.declared.unwrap_or(most)
    }

    /// Begins, from the beginning, with what may become this much.
    fn begin(&mut self, limit: usize) {
        let window = match self.encoding {
            Encoding::Deflate | Encoding::Gzip => 1 << DEFLATE_WINDOW_LOG,
            // What is not written to costs nothing.
            Encoding::Zstd => zstd_window(&self.message).min(limit),
        };
        self.limit = limit;
        self.taken = 0;
        self.unpacked = Vec::new();
        self.tool = None;
        self.share = Share::of(limit.saturating_add(window + TOOL_BYTES));
    }

    /// Does a step; ready with the message after the last one. Wakes its task if there is another.
    ///
    /// # Errors
    /// [`CallError::Corrupt`], [`CallError::UnpackedTooLarge`], [`CallError::WindowTooLarge`].
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, CallError>> {
        ready!(self.share.poll(cx));
        if self.encoding == Encoding::Zstd && self.limit.max(self.message.len()) <= STEP_BYTES {
            if let Some(unpacked) = self.zstd_at_once()? {
                return Poll::Ready(Ok(unpacked));
            }
            self.overflow()?;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut moved = 0;
        while moved < STEP_BYTES {
            let turn = self.turn()?;
            if self.unpacked.len() > self.limit {
                self.overflow()?;
                break;
            }
            if turn.ended {
                return Poll::Ready(self.whole());
            }
            if turn.taken == 0 && turn.given == 0 {
                return Poll::Ready(Err(self.corrupt("it ends too early")));
            }
            moved += turn.taken.max(turn.given);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A small message of zstd in one go, which needs no window; none if more came out than the limit.
    fn zstd_at_once(&mut self) -> Result<Option<Bytes>, CallError> {
        const TOO_SMALL: usize = code(ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall);
        const CUT: usize = code(ZSTD_ErrorCode::ZSTD_error_srcSize_wrong);
        match zstd_safe::find_frame_compressed_size(&self.message) {
            Ok(len) if len == self.message.len() => {}
            Ok(_) => return Err(self.corrupt("more follows its end")),
            Err(CUT) => return Err(self.corrupt("it ends too early")),
            Err(_) => return Err(self.corrupt("it is damaged")),
        }
        let mut tool = zstd_tool()?;
        let mut unpacked = Vec::with_capacity(self.limit);
        match tool.decompress(&mut unpacked, &self.message) {
            Ok(_) => {}
            Err(TOO_SMALL) => return Ok(None),
            Err(_) => return Err(self.corrupt("it is damaged")),
        }
        IDLE.put(tool);
        Ok(Some(thrifty(unpacked)))
    }

    /// More came out than the limit.
    fn overflow(&mut self) -> Result<(), CallError> {
        if self.declared.is_some() {
            return Err(self.corrupt("it is longer than it says"));
        }
        let most = self.most();
        if self.limit >= most {
            return Err(CallError::UnpackedTooLarge {
                max: self.bytes_max,
            });
        }
        self.begin(most);
        Ok(())
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
        Ok(thrifty(std::mem::take(&mut self.unpacked)))
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
        Ok(turn)
    }

    /// Clears as much of the output as a turn may fill: a byte beyond the limit at most, which tells
    /// that there is more. Answers how long it was.
    fn make_room(&mut self) -> usize {
        let had = self.unpacked.len();
        let most = self.limit.saturating_add(1);
        let guess = match (had, self.declared) {
            (0, None) => self.message.len().saturating_mul(RATIO_GUESS),
            (0, Some(declared)) => declared.saturating_add(1),
            _ => had,
        };
        let more = guess.clamp(CLEARED_BYTES_MIN, STEP_BYTES);
        let len = (had + more).min(most);
        let capacity = self.unpacked.capacity();
        if len > capacity {
            // At once: copying while it grows would take twice the room.
            let capacity = match capacity {
                0 => most.min(AT_ONCE_BYTES_MAX),
                grown => grown.saturating_mul(2).min(most),
            };
            self.unpacked.reserve_exact(capacity.max(len) - had);
        }
        self.unpacked.resize(len, 0);
        had
    }
}

/// What a message of gzip says that it becomes, in bytes. "ISIZE: the size of the original input data
/// modulo 2^32". Source: RFC 1952, section 2.3.1.
fn gzip_size(message: &[u8]) -> Option<usize> {
    let size = message
        .get(GZIP_BYTES_MIN - size_of::<u32>()..)?
        .last_chunk()?;
    usize::try_from(u32::from_le_bytes(*size)).ok()
}

/// The same of zstd, whose frames may say so at their beginning.
fn zstd_size(message: &[u8]) -> Option<usize> {
    let size = zstd_safe::get_frame_content_size(message).ok().flatten()?;
    Some(usize::try_from(size).unwrap_or(usize::MAX))
}

impl Tool {
    fn new(encoding: Encoding) -> Result<Self, CallError> {
        Ok(match encoding {
            Encoding::Gzip => Self::Deflate(Decompress::new_gzip(DEFLATE_WINDOW_LOG)),
            Encoding::Deflate => {
                Self::Deflate(Decompress::new_with_window_bits(true, DEFLATE_WINDOW_LOG))
            }
            Encoding::Zstd => {
                let mut tool = DCtx::try_create().ok_or(CallError::Bug)?;
                let window = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
                tool.set_parameter(window).map_err(|_| CallError::Bug)?;
                Self::Zstd(tool)
            }
        })
    }
}

fn zstd_tool() -> Result<DCtx<'static>, CallError> {
    match IDLE.take(|_| true) {
        Some(kept) => Ok(kept),
        None => DCtx::try_create().ok_or(CallError::Bug),
    }
}

/// What zstd answers for this.
const fn code(error: ZSTD_ErrorCode) -> usize {
    (error as usize).wrapping_neg()
}

/// Whoever keeps a message should not keep what it might have become.
fn thrifty(unpacked: Vec<u8>) -> Bytes {
    if unpacked.len() < unpacked.capacity() / 2 {
        Bytes::copy_from_slice(&unpacked)
    } else {
        unpacked.into()
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
    const WINDOW_TOO_LARGE: usize = code(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge);
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
