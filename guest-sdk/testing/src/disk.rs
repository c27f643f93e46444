//! A disk in memory that outlives the database on it, so that a test can restart its node.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, PoisonError, RwLock};

use redb::StorageBackend;

/// Bytes that survive a restart. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<RwLock<Vec<u8>>>);

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let stored = range(offset, out.len()).and_then(|range| bytes.get(range));
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
        let stored = range(offset, data.len()).and_then(|range| bytes.get_mut(range));
        stored
            .ok_or(ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        Ok(())
    }
}

fn range(offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}
