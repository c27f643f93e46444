//! Sending a snapshot: chunk after chunk, never more than one in memory.

use hostd_machine::SnapshotReader;
use openraft::raft::SnapshotResponse;

use super::{
    Lost,
    link::{Link, open, read_one, write_one},
    priority,
};
use crate::{
    network::{Opening, SnapshotHead, SnapshotMeta, SnapshotPart, SnapshotTell},
    types::{GROUP, TypeConfig, Vote},
};

/// Sends a snapshot and waits until it is installed.
pub(super) async fn send(
    link: &Link,
    vote: Vote,
    meta: SnapshotMeta,
    reader: Box<SnapshotReader>,
) -> Result<SnapshotResponse<TypeConfig>, Lost> {
    let (mut send, mut recv, mut answers) =
        open(link.connection(), priority::SNAPSHOT, &Opening::Snapshot).await?;
    let head = SnapshotHead {
        group: GROUP,
        vote,
        meta,
    };
    let broken = |error: quinn::WriteError| Lost::Broken(error.to_string());
    write_one(&mut send, &head).await.map_err(broken)?;
    for chunk in reader {
        let chunk = chunk
            .map_err(|fault| Lost::Broken(format!("this node's state cannot be read: {fault}")))?;
        let sent = write_one(&mut send, &SnapshotPart::Chunk(chunk)).await;
        if let Err(error) = sent {
            // The other side may have said why it takes no more.
            let answer: Result<SnapshotTell, _> = read_one(&mut recv, &mut answers).await;
            return Err(match answer {
                Ok(Err(reason)) => Lost::Refused(reason),
                _ => broken(error),
            });
        }
    }
    write_one(&mut send, &SnapshotPart::End)
        .await
        .map_err(broken)?;
    let answer: SnapshotTell = read_one(&mut recv, &mut answers)
        .await
        .map_err(Lost::Broken)?;
    answer.map_err(Lost::Refused)
}
