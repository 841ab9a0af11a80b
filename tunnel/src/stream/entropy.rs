//! Random bytes from the system, for keys that nobody may guess.
//!
//! Used by client streams for masking keys (RFC 6455 10.3) and by clients for the key of their
//! request. Asks the system for many keys at once: a system call for each frame would show.

/// Keys taken from the system at once.
const KEYS_COUNT: usize = 64;

/// Sixteen random bytes for [`handshake::request`](crate::handshake::request); `None` when the
/// system has none.
pub fn random_key() -> Option<[u8; 16]> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).ok()?;
    Some(key)
}

/// A source of masking keys.
pub(super) fn masking_keys() -> impl FnMut() -> Option<[u8; 4]> + Send + 'static {
    let mut keys = [[0; 4]; KEYS_COUNT];
    let mut used = KEYS_COUNT;
    move || {
        if used == KEYS_COUNT {
            getrandom::fill(keys.as_flattened_mut()).ok()?;
            used = 0;
        }
        used += 1;
        Some(keys[used - 1])
    }
}
