//! The two files under the log: `log.redb`, and `log.mark` beside it.
//!
//! The mark is how a damaged log is told apart from an interrupted write. redb recovers from a
//! crash in the middle of a commit by going back to the commit before it, which is right, since
//! nobody was told that the interrupted one succeeded. But a commit that *was* acknowledged and
//! whose pages were damaged later looks the same to redb. So after each durable commit its number
//! is written to the mark, without a sync of its own: it survives the death of the process, and
//! after a power cut it may be old but is never ahead of the disk. A log that opens behind its
//! mark has lost something it promised, and is refused.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redb::StorageBackend;
use tokio::time::Instant;

/// Name of the state's database file.
pub const STATE_FILE: &str = "state.redb";
/// Name of the log's database file.
pub const LOG_FILE: &str = "log.redb";
/// Name of the file that says how far the log is durable.
pub const MARK_FILE: &str = "log.mark";

/// Makes a directory that is open to its owner only, with its parents, which are not: a node's files are
/// the data of everybody. One that is there already stays as it is.
pub fn create_private(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made,
    }
}

/// How much the file grows at once. Growth costs a journal commit of the file system, which
/// writes into a file that is already there do not.
const GROWTH_BYTES: u64 = 16 << 20;

/// How long a file that is to be opened may still be in use.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_LOOK: Duration = Duration::from_millis(10);

/// Growth is written in pieces this small because a file system keeps one page-cache unit per
/// write: later writes of a 4 KiB page into a large unit cost several times as much.
const ZEROS: [u8; 4096] = [0; 4096];

/// Where the log is kept.
#[derive(Debug)]
pub struct LogDisk {
    /// What redb reads and writes.
    pub backend: Box<dyn StorageBackend>,
    /// Where the number of the last durable commit is written, unsynced. None when a lost commit
    /// need not be noticed.
    pub mark: Option<Box<dyn StorageBackend>>,
    /// The file's name, for error messages.
    pub name: String,
}

impl LogDisk {
    /// The log's files in a data directory, which are created if they are missing.
    ///
    /// Without `sync` nothing waits for the disk: what was written survives the death of the
    /// process, and an unknown part of it the death of the machine.
    pub fn open(directory: &Path, sync: bool) -> io::Result<Self> {
        let path = directory.join(LOG_FILE);
        let file = open_database(&path, sync, GROWTH_BYTES)?;
        let mark = FileBackend::open(&directory.join(MARK_FILE), false, 0)?;
        Ok(Self {
            backend: Box::new(file),
            mark: Some(Box::new(mark)),
            name: path.display().to_string(),
        })
    }
}

/// The file of a database, which is created if it is missing. It grows by `growth_bytes` at
/// least, a multiple of the page size.
///
/// Without `sync` nothing waits for the disk.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] while another process, or another part of this one, has it
/// open.
pub fn open_database(path: &Path, sync: bool, growth_bytes: u64) -> io::Result<FileBackend> {
    if !path.try_exists()? {
        create_database(path, growth_bytes)?;
    }
    FileBackend::open(path, sync, growth_bytes)
}

/// Makes an empty database under another name first: a redb file whose creation was interrupted
/// is not a redb file.
fn create_database(path: &Path, growth_bytes: u64) -> io::Result<()> {
    let unfinished = path.with_extension("redb.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let backend = FileBackend::open(&unfinished, true, growth_bytes)?;
    let database = redb::Database::builder()
        .create_with_backend(backend)
        .map_err(io::Error::other)?;
    drop(database);
    fs::rename(&unfinished, path)?;
    let directory: PathBuf = path.parent().map(Path::to_owned).unwrap_or_default();
    File::open(directory)?.sync_all()
}

/// A file for redb that never shrinks and grows in large steps.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    sync: bool,
    growth_bytes: u64,
    length: Mutex<Length>,
}

#[derive(Debug)]
struct Length {
    /// What redb believes.
    logical: u64,
    /// What the file has; bytes past the logical length are never read.
    physical: u64,
}

impl FileBackend {
    /// Opens a file, creating it if it is missing, and locks it for as long as this lives.
    pub(crate) fn open(path: &Path, sync: bool, growth_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        lock(&file, path)?;
        let physical = file.metadata()?.len();
        Ok(Self {
            file,
            sync,
            growth_bytes,
            length: Mutex::new(Length {
                logical: physical,
                physical,
            }),
        })
    }

    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        let mut offset = from;
        while offset < to {
            let count = (to - offset).min(ZEROS.len() as u64);
            self.file.write_all_at(&ZEROS[..count as usize], offset)?;
            offset += count;
        }
        if self.sync {
            self.file.sync_all()?;
        }
        Ok(())
    }
}

/// Keeps two writers apart.
fn lock(file: &File, path: &Path) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => error,
        TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{}: in use by another hostd", path.display()),
        ),
    })
}

/// Opens files that may still be in use for a moment: a replica that was just dropped lets go of
/// them in a task of its own.
pub async fn once_free<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match open() {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                tokio::time::sleep(LOCK_LOOK).await;
            }
            opened => return opened,
        }
    }
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        let length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(length.logical)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    /// redb shrinks a file as soon as its end is free and grows it again soon after; both are
    /// mere bookkeeping here. On opening the file again, redb finds it larger than it left it
    /// and takes the rest as free space.
    ///
    /// What redb calls new after a shrink holds old pages, not zeros: redb reads no page that it
    /// has not written.
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        if len > length.physical {
            let target = len.max(length.physical + self.growth_bytes);
            self.grow(length.physical, target)?;
            length.physical = target;
        }
        length.logical = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    /// Whoever still reads an old state keeps the file open, but nobody writes it any more.
    fn close(&self) -> io::Result<()> {
        self.file.unlock()
    }
}

/// The number of the last durable commit, in a file of its own.
#[derive(Debug)]
pub(crate) struct Mark(Box<dyn StorageBackend>);

/// The number, then a checksum of it.
const MARK_BYTES: usize = 16;

impl Mark {
    pub(crate) fn new(backend: Box<dyn StorageBackend>) -> Self {
        Self(backend)
    }

    /// The number, or zero when there is none or it is damaged.
    pub(crate) fn load(&self) -> io::Result<u64> {
        if self.0.len()? < MARK_BYTES as u64 {
            self.0.set_len(MARK_BYTES as u64)?;
            return Ok(0);
        }
        let mut bytes = [0; MARK_BYTES];
        self.0.read(0, &mut bytes)?;
        let (number, checksum) = bytes.split_at(8);
        if mark_checksum(number) != checksum {
            return Ok(0);
        }
        Ok(u64::from_le_bytes(
            number.try_into().expect("the first of two halves of 16"),
        ))
    }

    pub(crate) fn store(&self, number: u64) -> io::Result<()> {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let checksum = mark_checksum(&bytes[..8]);
        bytes[8..].copy_from_slice(&checksum);
        self.0.write(0, &bytes)
    }
}

fn mark_checksum(number: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(number);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// redb takes a backend by value; this is one that was boxed.
#[derive(Debug)]
pub(crate) struct Boxed(pub(crate) Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
