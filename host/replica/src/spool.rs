//! A snapshot that is being received: its chunks in a file, each behind its length.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Largest chunk that is believed: a row may be as large as a component.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 << 20;

/// A file being filled. It is removed when this is dropped before [`Spool::finish`].
#[derive(Debug)]
pub(crate) struct Spool {
    writer: Option<BufWriter<File>>,
    path: PathBuf,
}

impl Spool {
    /// A new file in `directory`.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("snapshot-{number}.incoming"));
        let writer = BufWriter::new(File::create(&path)?);
        Ok(Self {
            writer: Some(writer),
            path,
        })
    }

    /// Adds a chunk.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        let writer = self.writer.as_mut().expect("only finishing takes it");
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        writer.write_all(&length.to_le_bytes())?;
        writer.write_all(chunk)
    }

    /// All chunks are in.
    pub(crate) fn finish(mut self) -> io::Result<SpoolFile> {
        let mut writer = self.writer.take().expect("only finishing takes it");
        writer.flush()?;
        Ok(SpoolFile(std::mem::take(&mut self.path)))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.writer.is_some() {
            remove(&self.path);
        }
    }
}

/// A filled file; removed when dropped.
#[derive(Debug)]
pub(crate) struct SpoolFile(PathBuf);

impl SpoolFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a received snapshot was not removed");
    }
}

/// Removes what an earlier process left.
pub(crate) fn clean(directory: &Path) -> io::Result<()> {
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let is_spool = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("snapshot-") && name.ends_with(".incoming"));
        if is_spool {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The chunks of a filled file.
pub(crate) fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let mut reader = BufReader::new(File::open(path)?);
    Ok(std::iter::from_fn(move || {
        next_chunk(&mut reader).transpose()
    }))
}

fn next_chunk(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    match reader.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(header) as usize;
    if length > CHUNK_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a chunk of {length} bytes"),
        ));
    }
    let mut chunk = vec![0; length];
    reader.read_exact(&mut chunk)?;
    Ok(Some(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_and_nothing_stays_behind() {
        let directory = tempfile::tempdir().unwrap();
        drop(Spool::create(directory.path()).unwrap());
        let mut spool = Spool::create(directory.path()).unwrap();
        let chunks = [vec![1; 300_000], vec![], vec![2; 3]];
        for chunk in &chunks {
            spool.push(chunk).unwrap();
        }
        let file = spool.finish().unwrap();
        let read: Vec<_> = read(file.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, chunks);
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_an_earlier_process_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("snapshot-9.incoming"), b"x").unwrap();
        std::fs::write(directory.path().join("state.redb"), b"x").unwrap();
        clean(directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
