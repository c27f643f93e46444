//! Components on their way into the cluster: in pieces, found by the digest of the whole.

use hostd_protocol::{Outcome, Rejection, RejectionCode, Reply, TimeNs, UPLOAD_CHUNK_BYTES};
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::apply::Moment;
use crate::catalogue;
use crate::machine::Machine;
use crate::query::View;
use crate::store::{Key, Span, Table, Writes, prefix_end};
use crate::system::{decode, encode};

/// An upload that nobody went on with for this long makes room for another. Part of the rules.
const ABANDONED_NS: TimeNs = 60_000_000_000;

/// An upload's row in the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upload {
    total: u64,
    received: u64,
    /// The steady clock when the last piece came.
    touched: TimeNs,
}

fn row_key(digest: &[u8; 32]) -> Key {
    Table::Upload.key(&[digest])
}

impl View {
    /// Whether all places for uploads are taken and none of them by this one, so that its piece will be
    /// refused unless another was abandoned.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn lacks_place_for_upload(&self, digest: &[u8; 32]) -> Result<bool, Fault> {
        if catalogue::component(&self.layers, digest)?.is_some() {
            return Ok(false);
        }
        let none = Writes::new();
        let (start, end) = Table::Upload.bounds();
        let own = row_key(digest);
        let mut places = 0;
        for item in self.layers.scan(&none, Span::new(&start, &end))? {
            if item?.0 == own {
                return Ok(false);
            }
            places += 1;
        }
        Ok(places >= self.limits.uploads_max)
    }
}

impl Machine {
    /// Takes in a piece of a component. The reply is how many bytes there are by now.
    pub(crate) fn upload(
        &mut self,
        moment: &Moment<'_>,
        digest: [u8; 32],
        total: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Outcome, Fault> {
        let refuse = |code, message: String| Ok(Err(Rejection::new(code, message)));
        let limit = self.limits.component_bytes_max;
        if total > limit {
            let message = format!("the component is larger than {limit} bytes");
            return refuse(RejectionCode::TooLarge, message);
        }
        if bytes.len() > UPLOAD_CHUNK_BYTES {
            let message = format!("a piece of an upload is larger than {UPLOAD_CHUNK_BYTES} bytes");
            return refuse(RejectionCode::TooLarge, message);
        }
        let received = |bytes: u64| Ok(Ok(Reply::Integer(bytes as i64)));
        if catalogue::component(self.layers(), &digest)?.is_some() {
            return received(total);
        }
        let none = Writes::new();
        let row = self.layers().get_with(&none, &row_key(&digest))?;
        let upload: Option<Upload> = row.map(|row| decode(&row)).transpose()?;
        let mut writes = Writes::new();
        let mut upload = match upload {
            Some(upload) => upload,
            None if offset > 0 => return received(0),
            None => {
                if let Err(rejection) = self.make_room(&mut writes)? {
                    return Ok(Err(rejection));
                }
                Upload {
                    total,
                    received: 0,
                    touched: 0,
                }
            }
        };
        if upload.total != total {
            let message = format!(
                "an upload with this digest has {} bytes, not {total}",
                upload.total
            );
            return refuse(RejectionCode::InvalidArgument, message);
        }
        if offset != upload.received {
            return received(upload.received);
        }
        if bytes.is_empty() || upload.received + bytes.len() as u64 > total {
            let message = "a piece of an upload is empty or goes beyond its end".into();
            return refuse(RejectionCode::InvalidArgument, message);
        }
        if self.overlay_bytes() > self.limits.overlay_bytes_max {
            let message =
                "too much was changed since the last checkpoint; go on after the next one";
            return refuse(RejectionCode::NoSpace, message.into());
        }
        upload.received += bytes.len() as u64;
        upload.touched = self.system.running.steady;
        let mut outcome = received(upload.received);
        if upload.received == total {
            let mut whole = self.pieces(&digest, &mut writes)?;
            whole.extend_from_slice(bytes);
            if *blake3::hash(&whole).as_bytes() == digest {
                writes.insert(Table::Component.key(&[&digest]), Some(whole.into()));
                writes.insert(row_key(&digest), Some(encode(&upload).into()));
            } else {
                writes.insert(row_key(&digest), None);
                outcome = refuse(
                    RejectionCode::InvalidArgument,
                    "what was uploaded does not have the digest that it came under; upload it again"
                        .into(),
                );
            }
        } else {
            let piece = Table::UploadPiece.key(&[&digest, &offset.to_be_bytes()]);
            writes.insert(piece, Some(bytes.into()));
            writes.insert(row_key(&digest), Some(encode(&upload).into()));
        }
        let layers = self.layers.as_mut().expect("no command is running");
        layers.merge(writes, moment.revision)?;
        outcome
    }

    /// The pieces that are there, in order; `writes` removes them.
    fn pieces(&self, digest: &[u8; 32], writes: &mut Writes) -> Result<Vec<u8>, Fault> {
        let start = Table::UploadPiece.key(&[digest]);
        let end = prefix_end(&start);
        let none = Writes::new();
        let mut whole = Vec::new();
        for item in self.layers().scan(&none, Span::new(&start, &end))? {
            let (key, row) = item?;
            whole.extend_from_slice(&row.value);
            writes.insert(key, None);
        }
        Ok(whole)
    }

    /// Sees to it that one more upload may begin: the one that was left alone for longest goes.
    fn make_room(&self, writes: &mut Writes) -> Result<Result<(), Rejection>, Fault> {
        let (start, end) = Table::Upload.bounds();
        let none = Writes::new();
        let mut uploads: Vec<(TimeNs, [u8; 32])> = Vec::new();
        for item in self.layers().scan(&none, Span::new(&start, &end))? {
            let (key, row) = item?;
            let upload: Upload = decode(&row.value)?;
            let digest = key[1..]
                .try_into()
                .map_err(|_| Fault::Corrupt("upload row".into()))?;
            uploads.push((upload.touched, digest));
        }
        if (uploads.len() as u64) < self.limits.uploads_max {
            return Ok(Ok(()));
        }
        let steady = self.system.running.steady;
        let oldest = uploads
            .into_iter()
            .min()
            .filter(|(touched, _)| steady.saturating_sub(*touched) >= ABANDONED_NS);
        let Some((_, digest)) = oldest else {
            return Ok(Err(Rejection::new(
                RejectionCode::NoSpace,
                format!(
                    "{} uploads are under way, as many as may be; try again in a minute",
                    self.limits.uploads_max
                ),
            )));
        };
        self.pieces(&digest, writes)?;
        writes.insert(row_key(&digest), None);
        writes.insert(Table::Component.key(&[&digest]), None);
        Ok(Ok(()))
    }

    /// Lets go of an upload, whole or not, so that its place is free. What belongs to a plugin is no
    /// upload any more.
    pub(crate) fn discard(
        &mut self,
        moment: &Moment<'_>,
        digest: &[u8; 32],
    ) -> Result<Outcome, Fault> {
        let mut writes = Writes::new();
        let row = self.layers().get_with(&writes, &row_key(digest))?;
        if row.is_some() {
            self.pieces(digest, &mut writes)?;
            writes.insert(row_key(digest), None);
            writes.insert(Table::Component.key(&[digest]), None);
            let layers = self.layers.as_mut().expect("no command is running");
            layers.merge(writes, moment.revision)?;
        }
        Ok(Ok(Reply::Ok))
    }

    /// Forgets that a component was uploaded: it belongs to a plugin now. With `component`, it goes
    /// too.
    pub(crate) fn end_upload(
        &mut self,
        moment: &Moment<'_>,
        digest: &[u8; 32],
        component: bool,
    ) -> Result<(), Fault> {
        let mut writes = Writes::from([(row_key(digest), None)]);
        if component {
            writes.insert(Table::Component.key(&[digest]), None);
        }
        let layers = self.layers.as_mut().expect("no command is running");
        layers.merge(writes, moment.revision)
    }
}
