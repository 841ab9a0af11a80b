//! Lines for the host's log, which adds the name of the plugin to each.
//!
//! A line never waits and never fails; the host cuts text beyond 8 KiB. A guest that never logs
//! does not import the interface, except that a panic is logged too. Natively lines go to the
//! `log` of [`crate::testing::Answer`].
//!
//! ```
//! use switchboard_guest::log;
//!
//! let (user, tries) = ("ada", 3);
//! log::warn!("{user} is locked out after {tries} tries");
//! ```

use core::fmt;

use crate::abi;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Every step.
    Trace = 0,
    /// For whoever looks for a fault.
    Debug = 1,
    /// Worth knowing.
    Info = 2,
    /// Something is not as it should be.
    Warn = 3,
    /// Something failed.
    Error = 4,
}

/// Writes one line.
pub fn write(level: Level, message: &str) {
    abi::log(level, message);
}

/// Writes one line from `format_args!`; the macros of this module call it.
pub fn write_fmt(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(text) => write(level, text),
        None => write(level, &alloc::format!("{message}")),
    }
}

/// Logs at level trace; the arguments are those of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($argument:tt)+) => {
        $crate::log::write_fmt($crate::log::Level::Trace, ::core::format_args!($($argument)+))
    };
}

/// Logs at level debug; the arguments are those of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($argument:tt)+) => {
        $crate::log::write_fmt($crate::log::Level::Debug, ::core::format_args!($($argument)+))
    };
}

/// Logs at level info; the arguments are those of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($argument:tt)+) => {
        $crate::log::write_fmt($crate::log::Level::Info, ::core::format_args!($($argument)+))
    };
}

/// Logs at level warn; the arguments are those of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($argument:tt)+) => {
        $crate::log::write_fmt($crate::log::Level::Warn, ::core::format_args!($($argument)+))
    };
}

/// Logs at level error; the arguments are those of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($argument:tt)+) => {
        $crate::log::write_fmt($crate::log::Level::Error, ::core::format_args!($($argument)+))
    };
}

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace,
    __log_warn as warn,
};
