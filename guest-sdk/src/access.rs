//! What a handle to the state may do, as a type: writing from a read command does not compile.

/// The right that a handle to the state carries: [`ReadOnly`] or [`ReadWrite`].
pub trait Access: sealed::Sealed {}

/// The handle can read.
#[derive(Clone, Copy, Debug)]
pub enum ReadOnly {}

/// The handle can read and write.
#[derive(Clone, Copy, Debug)]
pub enum ReadWrite {}

impl Access for ReadOnly {}
impl Access for ReadWrite {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ReadOnly {}
    impl Sealed for super::ReadWrite {}
}
