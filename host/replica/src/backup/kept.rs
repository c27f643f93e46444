//! The snapshots that a node keeps: a bounded number, in a directory of their own.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use hostd_machine::{Position, SnapshotReader};
use hostd_protocol::{SNAPSHOT_PIECE_BYTES_MAX, SnapshotInfo, TimeNs};

use super::SnapshotError;
use super::format::{self, SnapshotFile, SnapshotHeader};
use crate::log_file::create_private;

/// How many are kept; the oldest goes when there is one more.
const KEPT_MAX: usize = 3;

const ENDING: &str = ".snapshot";
const UNFINISHED: &str = "unfinished";

/// The name of a snapshot: what it is of and when it was taken, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    index: u64,
    term: u64,
    time_ms: u64,
}

impl Id {
    fn new(position: Position, time: TimeNs) -> Self {
        Self {
            index: position.index,
            term: position.term,
            time_ms: time / 1_000_000,
        }
    }

    /// The id that is written exactly so, and none that only resembles one: names of files are made
    /// of it.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|number| number.parse().ok());
        let (term, index, time_ms) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let id = Self {
            index,
            term,
            time_ms,
        };
        (id.to_string() == text).then_some(id)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}-{}", self.term, self.index, self.time_ms)
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Kept(PathBuf);

impl Kept {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Adds what `reader` reads, and lets the oldest go when there are too many. The file is there in
    /// full or not at all.
    pub(crate) fn add(
        &self,
        cluster: &str,
        time: TimeNs,
        reader: SnapshotReader,
    ) -> Result<SnapshotInfo, SnapshotError> {
        create_private(&self.0).map_err(SnapshotError::io("create", &self.0))?;
        let position = reader.position();
        let header = SnapshotHeader {
            cluster: cluster.to_owned(),
            term: position.term,
            index: position.index,
            time,
            digest: reader.digest(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let id = Id::new(position, time);
        let (unfinished, path) = (self.0.join(UNFINISHED), self.path(id));
        let written = File::create(&unfinished)
            .and_then(|file| format::write(file, &header, reader))
            .and_then(|_| fs::rename(&unfinished, &path))
            .and_then(|()| File::open(&self.0)?.sync_all());
        if let Err(source) = written {
            // It would take the place that was missing.
            let _ = fs::remove_file(&unfinished);
            return Err(SnapshotError::io("write", path)(source));
        }
        self.prune();
        self.info(id)
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<SnapshotInfo>, SnapshotError> {
        let mut found = Vec::new();
        for id in self.ids()? {
            match self.info(id) {
                Ok(info) => found.push(info),
                Err(error) => tracing::warn!(%error, "a snapshot is passed over"),
            }
        }
        Ok(found)
    }

    /// A part of one's file; `None` when there is no such snapshot.
    pub(crate) fn read(
        &self,
        id: &str,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, SnapshotError> {
        let Some(path) = Id::parse(id).map(|id| self.path(id)) else {
            return Ok(None);
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SnapshotError::io("read", path)(error)),
        };
        let length = range
            .end
            .saturating_sub(range.start)
            .min(SNAPSHOT_PIECE_BYTES_MAX);
        let mut piece = Vec::new();
        file.metadata()
            // What begins behind the end is empty; seeking very far is an error of its own.
            .and_then(|found| file.seek(SeekFrom::Start(range.start.min(found.len()))))
            .and_then(|_| file.take(length).read_to_end(&mut piece))
            .map_err(SnapshotError::io("read", path))?;
        Ok(Some(piece))
    }

    fn path(&self, id: Id) -> PathBuf {
        self.0.join(format!("{id}{ENDING}"))
    }

    fn ids(&self) -> Result<Vec<Id>, SnapshotError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(SnapshotError::io("read", &self.0)(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(SnapshotError::io("read", &self.0))?;
            ids.extend(id_of(&entry.path()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn info(&self, id: Id) -> Result<SnapshotInfo, SnapshotError> {
        let path = self.path(id);
        let header = SnapshotFile::open(&path)?.header().clone();
        let size_bytes = fs::metadata(&path)
            .map_err(SnapshotError::io("read", &path))?
            .len();
        Ok(SnapshotInfo {
            id: id.to_string(),
            file: path.display().to_string(),
            size_bytes,
            time: header.time,
            cluster: header.cluster,
            term: header.term,
            index: header.index,
            digest: header.digest,
        })
    }

    fn prune(&self) {
        let Ok(ids) = self.ids() else { return };
        let too_many = ids.len().saturating_sub(KEPT_MAX);
        for id in &ids[..too_many] {
            let path = self.path(*id);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old snapshot was not removed");
            }
        }
    }
}

fn id_of(path: &Path) -> Option<Id> {
    Id::parse(path.file_name()?.to_str()?.strip_suffix(ENDING)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_one_way_only() {
        assert!(Id::parse("3-17-1700000000000").is_some());
        for text in [
            "",
            "..",
            "../3-17-1",
            "3-17-1/..",
            "03-17-1",
            "+3-17-1",
            "3-17",
            "3-17-1-1",
            "3-17- 1",
        ] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_outside_of_the_directory_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("secret.snapshot"), "secret").unwrap();
        let kept = Kept::new(root.path().join("snapshots"));
        assert_eq!(kept.read("../secret", 0..9).unwrap(), None);
        assert_eq!(kept.list().unwrap(), []);
    }
}
