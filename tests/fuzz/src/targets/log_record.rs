//! Rows of the log on disk. The file that reads them is compiled in here: the crate shows it to
//! nobody.

use hostd_replica::types::{LogEntry, Payload, log_id};
use openraft::EntryPayload;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "log_record",
    what: "a row of the log is what was written under its key, or refused",
    run,
    seeds,
    bytes_max: 2048,
    inputs: 100_000,
};

use self::record::{Fact, GroupMeta, Identity, Meta, Record, read_entry, read_row, write_row};

/// By group and index, as in the log store.
pub(crate) type LogKey = (u64, u64);

#[path = "../../../../host/replica/src/log_store/record.rs"]
#[allow(dead_code, unreachable_pub)]
mod record;

const KEY: LogKey = (0, 9);
const CHECKSUM_BYTES: usize = 8;

fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    // As it lies on the disk: all but what was written fails at the checksum.
    let _ = read_entry(KEY, bytes);
    let _ = read_row::<Meta>(KEY, bytes);
    // With the checksum that it would have, to see what lies behind.
    let sealed = seal(bytes);
    match choice % 3 {
        0 => entry(&sealed),
        1 => row::<Meta>(&sealed),
        _ => row::<Identity>(&sealed),
    }
    // Under another key it is nothing, whatever it is.
    assert!(read_entry((KEY.0, KEY.1 + 1), &sealed).is_err());
    assert!(read_row::<Meta>((KEY.0 + 1, KEY.1), &sealed).is_err());
}

fn entry(sealed: &[u8]) {
    let Ok(entry) = crate::memory::bounded(sealed, 512, || read_entry(KEY, sealed)) else {
        return;
    };
    assert_eq!(entry.log_id.index(), KEY.1);
    let record = Record::new(&entry);
    let mut row = vec![0; record.len()];
    record.write(KEY, &mut row);
    let again = read_entry(KEY, &row).expect("what was written is read");
    assert_eq!(again, entry);
    if matches!(entry.payload, EntryPayload::Normal(_)) {
        assert_eq!(row, sealed);
    }
}

fn row<T>(sealed: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let read = crate::memory::bounded(sealed, 512, || read_row::<T>(KEY, sealed));
    if let Ok(value) = read {
        let row = write_row(KEY, &value);
        assert_eq!(read_row::<T>(KEY, &row).expect("it is read"), value);
    }
}

/// What `docs/storage-format.md` says a row begins with: BLAKE3 of key and content, 8 bytes of it.
fn seal(content: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&KEY.0.to_le_bytes());
    hasher.update(&KEY.1.to_le_bytes());
    hasher.update(content);
    let mut row = hasher.finalize().as_bytes()[..CHECKSUM_BYTES].to_vec();
    row.extend_from_slice(content);
    row
}

fn seeds() -> Vec<Vec<u8>> {
    let membership = openraft::Membership::new_with_defaults(vec![[1, 2].into()], [1, 2]);
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(Payload::from_bytes(b"abc".to_vec().into())),
        EntryPayload::Membership(membership),
    ];
    let mut rows: Vec<(u8, Vec<u8>)> = Vec::new();
    for payload in payloads {
        let record = Record::new(&LogEntry {
            log_id: log_id(3, KEY.1),
            payload,
        });
        let mut row = vec![0; record.len()];
        record.write(KEY, &mut row);
        rows.push((0, row));
    }
    let mut meta = Meta::default();
    *meta.group(0) = GroupMeta {
        vote: Some(openraft::impls::Vote::new(3, 1)),
        committed: Some(log_id(3, 8)),
        purged: Some(log_id(2, 4)),
        ..GroupMeta::default()
    };
    meta.group(0).facts.set(Fact::Joined, true);
    rows.push((1, write_row(KEY, &meta)));
    let identity = Identity {
        format: 1,
        node: 1,
        incarnation: 7,
    };
    rows.push((2, write_row(KEY, &identity)));
    rows.into_iter()
        .map(|(choice, row)| [&[choice], &row[CHECKSUM_BYTES..]].concat())
        .collect()
}
