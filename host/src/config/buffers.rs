//! How many bytes of calls the host may hold, over all connections.
//!
//! Read by `grpc`; checked by [`HostConfig::check`](super::HostConfig::check). Windows, send buffers and
//! message limits bound what one call or connection holds; these bound what all of them hold together.

/// Limits of what waits in the host.
#[derive(Clone, Debug)]
pub struct BufferConfig {
    /// Bytes of request messages that have begun and are not whole, or wait for an instance, over all
    /// connections; a message has its place by its declared length, up to 16 KiB it needs none. Default
    /// 32 MiB: eight messages of the largest default size. At the limit a message waits for its turn
    /// (the caller's window stays closed), at most 10 s, then its call ends with `RESOURCE_EXHAUSTED`;
    /// while any waits, calls whose message takes more than 2 s to come end so, one at a time. One message
    /// of `request_bytes_max` always finds room, also where that is more.
    pub unread_bytes_max: usize,
    /// Bytes of unary replies that their callers have not taken, over all connections, with those that calls
    /// which run are expected to give, as their methods did before; replies below 4 KiB do not count. Default
    /// 32 MiB. At the limit further calls of methods with such replies wait for their turn, at most 10 s, then
    /// they end with `RESOURCE_EXHAUSTED`; while any waits, replies of which no byte was taken for 3 s end so,
    /// or are reset when part of them has left, and connections that take nothing are closed. One reply always
    /// finds room, also where it is more.
    pub unsent_bytes_max: usize,
    /// The same for one connection, and for what all its calls have handed to HTTP/2 that has not left. Default
    /// 4 MiB: the largest default reply. At the limit its further unary calls wait before they begin, and its
    /// streams before they send; 64 KiB is the limit while the host holds more than half of
    /// `unsent_bytes_max`, 16 KiB while it holds more than all.
    pub connection_unsent_bytes_max: usize,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self {
            unread_bytes_max: 32 << 20,
            unsent_bytes_max: 32 << 20,
            connection_unsent_bytes_max: 4 << 20,
        }
    }
}

/// Most that can be set, in bytes: a semaphore counts no further on 32 bits.
const BYTES_MAX: usize = (u32::MAX >> 3) as usize;

impl BufferConfig {
    /// What [`HostConfig::check`](super::HostConfig::check) finds wrong here.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, bytes) in [
            ("unread_bytes_max", self.unread_bytes_max),
            ("unsent_bytes_max", self.unsent_bytes_max),
            (
                "connection_unsent_bytes_max",
                self.connection_unsent_bytes_max,
            ),
        ] {
            if !(64 << 10..=BYTES_MAX).contains(&bytes) {
                let min = 64 << 10;
                faults.push(format!(
                    "{name} must be {min} to {BYTES_MAX} bytes, not {bytes}"
                ));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_let_nothing_through_are_refused() {
        let default = BufferConfig::default();
        assert_eq!(default.faults(), Vec::<String>::new());
        let none = BufferConfig {
            unread_bytes_max: 0,
            unsent_bytes_max: 0,
            connection_unsent_bytes_max: usize::MAX,
        };
        assert_eq!(none.faults().len(), 3);
    }
}
