//! Diagnostics for the operator: lines in the node's log. Not state, not replicated.
//!
//! Usually through the macros [`error!`](crate::error), [`warn!`](crate::warn),
//! [`info!`](crate::info), [`debug!`](crate::debug) and [`trace!`](crate::trace), which take what
//! [`format!`] takes. Never log what a client may not want others to see.

use core::fmt;

use crate::bindings::hostd::plugin::log;
pub use crate::bindings::hostd::plugin::log::Level;

/// Writes a line to the node's log.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(text) => log::write(level, text),
        None => log::write(level, &message.to_string()),
    }
}

/// Logs what an operator must look at.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => {
        $crate::log::write($crate::log::Level::Error, ::core::format_args!($($message)+))
    };
}

/// Logs what an operator should know about.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => {
        $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($message)+))
    };
}

/// Logs what happens in the course of work.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => {
        $crate::log::write($crate::log::Level::Info, ::core::format_args!($($message)+))
    };
}

/// Logs what helps to find a defect.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => {
        $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($message)+))
    };
}

/// Logs every step.
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => {
        $crate::log::write($crate::log::Level::Trace, ::core::format_args!($($message)+))
    };
}
