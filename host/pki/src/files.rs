//! The files of a pki directory: names, modes, whole-or-nothing writes, and the lock that lets
//! several nodes make the directory at once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::PkiError;

/// The authority's certificate.
pub const CA_FILE: &str = "ca.pem";

/// The authority's private key.
pub const CA_KEY_FILE: &str = "ca-key.pem";

const LOCK_FILE: &str = ".lock";

/// The file of a certificate: `stem` is `node-N` or a client's name.
pub fn certificate_file(directory: &Path, stem: &str) -> PathBuf {
    directory.join(format!("{stem}.pem"))
}

/// The file of a certificate's private key.
pub fn key_file(directory: &Path, stem: &str) -> PathBuf {
    directory.join(format!("{stem}-key.pem"))
}

/// Makes the directory, with its parents, open to its owner only. Leaves an existing one alone.
pub(crate) fn create_directory(directory: &Path) -> Result<(), PkiError> {
    if let Some(parent) = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent).map_err(PkiError::io("create", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(PkiError::io("create", directory)(error)),
    }
}

/// Waits for, and holds, the directory's lock until the returned file is dropped. The operating
/// system releases it when its holder dies.
pub(crate) fn lock(directory: &Path) -> Result<File, PkiError> {
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(PkiError::io("create", &path))?;
    file.lock().map_err(PkiError::io("lock", &path))?;
    Ok(file)
}

/// Writes a file so that readers, and a machine that loses power, see all of it or nothing. Under
/// the directory's lock, so the temporary name is nobody else's.
pub(crate) fn write(path: &Path, contents: &str, mode: u32) -> Result<(), PkiError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let attempt = || -> io::Result<()> {
        // A leftover of a writer that died may have any mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    attempt().map_err(PkiError::io("write", path))
}

/// Reads a file, or `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    match fs::read(path) {
        Ok(contents) => Ok(Some(contents)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(PkiError::io("read", path)(error)),
    }
}

/// A warning when others than the owner may read a private key.
pub(crate) fn warn_if_readable_by_others(key: &Path) -> Option<String> {
    let mode = fs::metadata(key).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "the private key {0} has mode {mode:03o}, so others can use it; close it with `chmod 600 {0}`",
            key.display()
        )
    })
}
