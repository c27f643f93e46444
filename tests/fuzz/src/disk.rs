//! A disk in memory that outlives the machine on it.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, PoisonError, RwLock};

use redb::StorageBackend;

/// Bytes that survive a restart. Clones are the same disk; [`Disk::copy`] is another.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<RwLock<Vec<u8>>>);

impl Disk {
    /// Another disk with the same bytes.
    #[must_use]
    pub fn copy(&self) -> Self {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::new(RwLock::new(bytes.clone())))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).map_err(Error::other)?;
        let stored = bytes.get(start..start + out.len());
        out.copy_from_slice(stored.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let length = usize::try_from(length).map_err(Error::other)?;
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        bytes.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).map_err(Error::other)?;
        let stored = bytes.get_mut(start..start + data.len());
        stored
            .ok_or(ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        Ok(())
    }
}
