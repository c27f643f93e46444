//! The file of a snapshot.
//!
//! ```text
//! HOSTDSNP   format   length of the header   header      numbers of four bytes, little-endian
//! length   chunk                                          once for each chunk of the machine's
//! 0   BLAKE3 of everything before it
//! ```
//!
//! The chunks are those that a node is sent that the log cannot bring up to date.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use hostd_machine::{InstallError, Position, SnapshotReader, check_snapshot};
use hostd_protocol::{TimeNs, codec};
use serde::{Deserialize, Serialize};

use super::SnapshotError;
use crate::spool::CHUNK_BYTES_MAX;

const MAGIC: [u8; 8] = *b"HOSTDSNP";
const FORMAT: u32 = 1;
const HEADER_BYTES_MAX: u32 = 64 << 10;

/// What a snapshot says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// Identity of the cluster that it is of.
    pub cluster: String,
    /// Term of the last entry in it.
    pub term: u64,
    /// Log index of the last entry in it.
    pub index: u64,
    /// When it was taken, by the wall clock of the node that took it.
    pub time: TimeNs,
    /// Digest of the state.
    pub digest: [u8; 32],
    /// Version of the hostd that wrote it.
    pub version: String,
}

impl SnapshotHeader {
    pub(crate) fn position(&self) -> Position {
        Position {
            term: self.term,
            index: self.index,
        }
    }
}

/// A snapshot of which all was read, and found to be what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it says about itself.
    pub header: SnapshotHeader,
    /// How many rows it has.
    pub rows: u64,
    /// Digest of all rows but those that say who the cluster and its members are: equal for a state
    /// and what was restored of it.
    pub contents: [u8; 32],
    /// Size of the file.
    pub size_bytes: u64,
}

/// Writes what `reader` reads. Returns the size.
pub(crate) fn write(
    file: File,
    header: &SnapshotHeader,
    reader: SnapshotReader,
) -> io::Result<u64> {
    let mut out = Hashing::new(BufWriter::new(file));
    out.write_all(&MAGIC)?;
    out.write_all(&FORMAT.to_le_bytes())?;
    let header = codec::encode(header);
    out.write_all(&length(&header)?)?;
    out.write_all(&header)?;
    for chunk in reader {
        let chunk = chunk.map_err(io::Error::other)?;
        out.write_all(&length(&chunk)?)?;
        out.write_all(&chunk)?;
    }
    out.write_all(&0u32.to_le_bytes())?;
    let sum = *out.hasher.finalize().as_bytes();
    out.write_all(&sum)?;
    let size = out.bytes;
    let file = out
        .inner
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(size)
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok(length.to_le_bytes())
}

/// A snapshot's file, open behind its header.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    header: SnapshotHeader,
    input: Hashing<BufReader<File>>,
}

impl SnapshotFile {
    /// Opens a file and reads what it says about itself.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(SnapshotError::io("read", path))?;
        let mut input = Hashing::new(BufReader::new(file));
        let stranger = |_: io::Error| SnapshotError::NotASnapshot(path.to_owned());
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(stranger)?;
        if magic != MAGIC {
            return Err(SnapshotError::NotASnapshot(path.to_owned()));
        }
        let found = input.number().map_err(stranger)?;
        if found != FORMAT {
            return Err(SnapshotError::NewerFormat {
                path: path.to_owned(),
                found,
                known: FORMAT,
            });
        }
        let header = read_header(&mut input).map_err(|source| SnapshotError::Damaged {
            path: path.to_owned(),
            source: source.into(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            header,
            input,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about itself. Whether it is so is known once all of it was read.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when it is not exactly what was written.
    pub fn check(self) -> Result<Checked, SnapshotError> {
        let (path, header) = (self.path.clone(), self.header.clone());
        let damaged = |source| SnapshotError::Damaged {
            path: path.clone(),
            source,
        };
        let sum = check_snapshot(header.position(), self.chunks()).map_err(damaged)?;
        if sum.digest != header.digest {
            return Err(damaged(InstallError::Damaged(
                "it is of another state than it says".into(),
            )));
        }
        let size_bytes = std::fs::metadata(&path)
            .map_err(SnapshotError::io("read", &path))?
            .len();
        Ok(Checked {
            header,
            rows: sum.rows,
            contents: sum.contents,
            size_bytes,
        })
    }

    /// The chunks. The last item is an error unless the file ends where and as it was written.
    pub(crate) fn chunks(self) -> impl Iterator<Item = io::Result<Vec<u8>>> {
        let mut input = Some(self.input);
        std::iter::from_fn(move || {
            let next = next_chunk(input.as_mut()?);
            if !matches!(next, Ok(Some(_))) {
                input = None;
            }
            next.transpose()
        })
    }
}

fn read_header(input: &mut Hashing<BufReader<File>>) -> io::Result<SnapshotHeader> {
    let length = input.number()?;
    if length > HEADER_BYTES_MAX {
        return Err(altered("its header is too long"));
    }
    let mut header = vec![0; length as usize];
    input.read_exact(&mut header).map_err(truncated)?;
    codec::decode(&header).map_err(|error| altered(&error.to_string()))
}

/// The next chunk; `None` at the end, once the checksum is found to be right.
fn next_chunk(input: &mut Hashing<BufReader<File>>) -> io::Result<Option<Vec<u8>>> {
    let length = input.number()? as usize;
    if length > CHUNK_BYTES_MAX {
        return Err(altered("it is altered: a chunk is too long"));
    }
    if length > 0 {
        let mut chunk = vec![0; length];
        input.read_exact(&mut chunk).map_err(truncated)?;
        return Ok(Some(chunk));
    }
    let expected = *input.hasher.finalize().as_bytes();
    let mut sum = [0; 32];
    input.read_exact(&mut sum).map_err(truncated)?;
    if sum != expected {
        return Err(altered("it is altered: its checksum is another"));
    }
    match input.inner.read(&mut [0])? {
        0 => Ok(None),
        _ => Err(altered("it goes on after its end")),
    }
}

fn altered(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn truncated(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => altered("it is truncated"),
        _ => error,
    }
}

/// Hashes what passes.
#[derive(Debug)]
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }
}

impl<T: Write> Hashing<T> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Hashing<T> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read_exact(&mut bytes).map_err(truncated)?;
        Ok(u32::from_le_bytes(bytes))
    }
}
