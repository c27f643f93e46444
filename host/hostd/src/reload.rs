//! Certificates that change on disk are taken up by the running node, for the connections made from then
//! on. What cannot be used is left alone, and the log says why.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hostd_gateway::Doors;
use hostd_pki::{CurrentCredentials, PkiError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::{Config, PkiFiles};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at the files, and listens for SIGHUP, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reload(JoinHandle<()>);

impl Reload {
    pub(crate) fn start(config: &Config, current: CurrentCredentials, doors: Doors) -> Self {
        let files = config.pki.files(config.node_id);
        Self(tokio::spawn(watch(files, current, doors)))
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What tells a file from its successor.
type Print = Option<(u64, u64, Option<SystemTime>)>;

fn print_of(path: &Path) -> Print {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.modified().ok()))
}

impl PkiFiles {
    fn prints(&self) -> [Print; 3] {
        [&self.ca, &self.cert, &self.key].map(|path| print_of(path))
    }
}

async fn watch(files: PkiFiles, current: CurrentCredentials, doors: Doors) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be received; changed certificates are found all the same");
            None
        }
    };
    let mut taken = files.prints();
    let mut seen = taken;
    loop {
        let asked = tokio::select! {
            () = sleep(LOOK) => false,
            () = next(&mut hangup) => true,
        };
        let found = files.prints();
        // A certificate and its key are two files: one look later both are there.
        let settled = found == seen;
        seen = found;
        if asked || (settled && found != taken) {
            taken = found;
            report(take_up(&files, &current, &doors));
        }
    }
}

async fn next(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Puts what is on disk in force, wherever connections are made, or nowhere.
fn take_up(
    files: &PkiFiles,
    current: &CurrentCredentials,
    doors: &Doors,
) -> Result<Vec<String>, PkiError> {
    let next = files.load()?;
    current.get().fit_successor(&next)?;
    next.peer_config(None)?;
    doors.replace_credentials(&next)?;
    let warnings = next.warnings().to_vec();
    tracing::info!(until = %next.not_after(), "certificates read again: new connections use them");
    current.replace(next);
    Ok(warnings)
}

fn report(taken: Result<Vec<String>, PkiError>) {
    match taken {
        Ok(warnings) => warnings
            .iter()
            .for_each(|warning| tracing::warn!("{warning}")),
        Err(error) => {
            tracing::warn!(%error, "certificates changed and cannot be used; those in force are kept");
        }
    }
}
