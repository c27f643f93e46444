//! RAFT SNAPSHOT: those that this node keeps, and taking one.

use hostd_protocol::{
    NOTHING_NEW_TO_SNAPSHOT, Request, Response, SNAPSHOT_IN_PROGRESS, SNAPSHOT_PIECE_BYTES_MAX,
    SnapshotInfo, SnapshotRequest,
};

use super::{Asking, Node, Step, subcommand, unexpected, unknown_subcommand};
use crate::Service;
use crate::resp::encode::Value;

/// How long taking one may take.
const TAKE_TIMEOUT_MS: u32 = 60_000;

/// Bytes of one answer: who wants more asks for ranges.
const READ_BYTES_MAX: u64 = 64 << 20;

pub(super) fn snapshot<'a, S: Service>(
    asking: &Asking<'_, 'a, S>,
    arguments: &[Vec<u8>],
) -> Step<'a> {
    let Some(node) = asking.node() else {
        return super::auth::unproved();
    };
    let (wanted, rest) = subcommand(arguments);
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    match (wanted.as_str(), rest) {
        ("now", []) => Step::Later(Box::pin(async move { answered(now(&node).await) })),
        ("list", []) => Step::Later(Box::pin(async move { answered(list(&node).await) })),
        ("file", [id]) => {
            let id = text(id);
            Step::Later(Box::pin(async move { answered(file(&node, &id).await) }))
        }
        ("read", [id]) => {
            let id = text(id);
            Step::Later(Box::pin(
                async move { answered(read(&node, id, 0, None).await) },
            ))
        }
        ("read", [id, range, start, end]) if range.eq_ignore_ascii_case(b"range") => {
            let (Some(start), Some(end)) = (number(start), number(end)) else {
                let message = "invalid argument: start and end are numbers of bytes";
                return Step::Now(Value::error(message));
            };
            let id = text(id);
            Step::Later(Box::pin(async move {
                answered(read(&node, id, start, Some(end)).await)
            }))
        }
        (wanted, _) => Step::Now(unknown_subcommand("raft", wanted)),
    }
}

/// What could not be done is answered like what could.
fn answered(result: Result<Value, Value>) -> Value {
    result.unwrap_or_else(|error| error)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

async fn now<S: Service>(node: &Node<'_, S>) -> Result<Value, Value> {
    let request = SnapshotRequest::Now {
        timeout_ms: TAKE_TIMEOUT_MS,
    };
    let taken = kept(node, request).await.map_err(as_in_uhaha)?;
    let newest = taken.last().ok_or_else(unexpected)?;
    Ok(described(newest))
}

async fn list<S: Service>(node: &Node<'_, S>) -> Result<Value, Value> {
    let kept = kept(node, SnapshotRequest::List).await?;
    Ok(Value::Array(kept.iter().map(described).collect()))
}

async fn file<S: Service>(node: &Node<'_, S>, id: &str) -> Result<Value, Value> {
    let kept = kept(node, SnapshotRequest::List).await?;
    let found = kept.into_iter().find(|snapshot| snapshot.id == id);
    let found = found.ok_or_else(|| Value::error("no such snapshot; see RAFT SNAPSHOT LIST"))?;
    Ok(Value::from(found.file))
}

/// From `start` up to `end`, or to the end of the file.
async fn read<S: Service>(
    node: &Node<'_, S>,
    id: String,
    start: u64,
    end: Option<u64>,
) -> Result<Value, Value> {
    let end = end.unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut from = start;
    while from < end {
        let to = end.min(from.saturating_add(SNAPSHOT_PIECE_BYTES_MAX));
        let request = SnapshotRequest::Read {
            id: id.clone(),
            from,
            to,
        };
        let Response::SnapshotPiece(piece) = node.ask(Request::Snapshot(request)).await? else {
            return Err(unexpected());
        };
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > READ_BYTES_MAX {
            let message = "too_large one answer has 64 MiB at most: say RANGE start end";
            return Err(Value::error(message));
        }
        from += piece.len() as u64;
        if (piece.len() as u64) < SNAPSHOT_PIECE_BYTES_MAX {
            break;
        }
    }
    Ok(Value::Bulk(bytes))
}

async fn kept<S: Service>(
    node: &Node<'_, S>,
    request: SnapshotRequest,
) -> Result<Vec<SnapshotInfo>, Value> {
    match node.ask(Request::Snapshot(request)).await? {
        Response::Snapshots(snapshots) => Ok(snapshots),
        _ => Err(unexpected()),
    }
}

/// The two refusals that scripts look for have no other code in front.
fn as_in_uhaha(error: Value) -> Value {
    let Value::Error(line) = &error else {
        return error;
    };
    let known = [SNAPSHOT_IN_PROGRESS, NOTHING_NEW_TO_SNAPSHOT];
    match known.iter().find_map(|known| line.find(known)) {
        Some(begin) => Value::error(&line[begin..]),
        None => error,
    }
}

fn described(snapshot: &SnapshotInfo) -> Value {
    Value::sorted([
        ("id", snapshot.id.clone()),
        ("size", snapshot.size_bytes.to_string()),
        ("timestamp", snapshot.time.to_string()),
    ])
}
