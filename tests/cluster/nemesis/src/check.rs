//! Judges what the clients recorded.

use anyhow::Result;

use crate::fault::Kind;
use crate::workload::Records;

/// Checks every history. Returns what was checked, in words.
pub(crate) fn check(_records: &Records, _kinds: &[Kind]) -> Result<String> {
    Ok("nothing checked yet".into())
}
