//! `hostctl snapshot`: takes, lists and fetches snapshots of a node; checks and restores their files,
//! which needs no server.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hostd_client::Snapshots;
use hostd_machine::Engine;
use hostd_protocol::{
    NOTHING_NEW_TO_SNAPSHOT, NodeId, SNAPSHOT_PIECE_BYTES_MAX, SnapshotInfo, hex,
};
use hostd_replica::{Checked, Restoration, SnapshotError, SnapshotFile, create_private, restore};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::args::{Format, Global, address, node_id};
use crate::exit::Exit;
use crate::{connect, output};

/// How long taking one may take when nothing else is said: everything is read and written.
const PATIENCE: Duration = Duration::from_mins(2);

/// Digits of a digest that people compare.
const DIGEST_DIGITS: usize = 16;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl snapshot save backup.snapshot             take one and fetch it
  hostctl snapshot check backup.snapshot            read all of it
  hostctl snapshot restore backup.snapshot --data new-data
  hostd -d new-data                                 a new cluster of one node, which others then join

A snapshot has everything: the data of all plugins, the plugins, sessions, limits and rules. The cluster \
serves while it is taken. Each node keeps its own last three; `list` shows those of the node that \
answers. `check` and `restore` work on files only, without a server.")]
pub(crate) enum Command {
    /// Take a snapshot now; the node keeps it
    Now,
    /// List the snapshots that the node keeps, oldest first
    List,
    /// Take a snapshot, and fetch it into a file
    Save {
        /// The file to make
        file: PathBuf,
    },
    /// Read all of a file, and tell what it is a snapshot of
    Check {
        /// The file
        file: PathBuf,
    },
    /// Make the data directory of a new cluster of one node
    Restore {
        /// The file
        file: PathBuf,
        /// Data directory; nothing may be in DIR/node-N yet
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Number of the node
        #[arg(long, value_name = "ID", default_value = "1", value_parser = node_id)]
        node: NodeId,
        /// What others will dial; the node corrects it when it starts
        #[arg(long, value_name = "ADDR", default_value = hostd_protocol::DEFAULT_ADDRESS, value_parser = address)]
        advertise: String,
    },
}

pub(crate) async fn run(global: &Global, command: Command) -> Result<(), Exit> {
    match command {
        Command::Check { file } => return check(global, &file),
        Command::Restore {
            file,
            data,
            node,
            advertise,
        } => return restore_file(global, &file, &data, node, advertise),
        Command::Now | Command::List | Command::Save { .. } => {}
    }
    let client = connect::one_shot(global).await?;
    let node = client.snapshots().await?;
    let done = match command {
        Command::Now => now(global, &node).await,
        Command::List => list(global, &node).await,
        Command::Save { file } => save(global, &node, &file).await,
        Command::Check { .. } | Command::Restore { .. } => Ok(()),
    };
    client.close().await;
    done
}

async fn now(global: &Global, node: &Snapshots) -> Result<(), Exit> {
    let (taken, new) = take_or_newest(global, node).await?;
    match global.output {
        Format::Json => output::json(&object(&taken))?,
        Format::Text if new => output::line(&taken.id)?,
        Format::Text => output::line(&format!("nothing new since {}", taken.id))?,
    }
    Ok(())
}

/// A snapshot of what there is now, and whether it was taken for this: where nothing has changed since, it
/// is the last one.
async fn take_or_newest(global: &Global, node: &Snapshots) -> Result<(SnapshotInfo, bool), Exit> {
    match take(global, node).await {
        Err(Exit::Call(error)) if error.message().starts_with(NOTHING_NEW_TO_SNAPSHOT) => {
            let newest = node.list().await?.pop();
            Ok((newest.ok_or(Exit::Call(error))?, false))
        }
        taken => Ok((taken?, true)),
    }
}

async fn take(global: &Global, node: &Snapshots) -> Result<SnapshotInfo, Exit> {
    let spinner =
        ProgressBar::new_spinner().with_message(format!("{} takes a snapshot", node.address()));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let taken = node.take(global.timeout.max(PATIENCE)).await;
    spinner.finish_and_clear();
    Ok(taken?)
}

async fn list(global: &Global, node: &Snapshots) -> Result<(), Exit> {
    let kept = node.list().await?;
    if global.output == Format::Json {
        return Ok(output::json(&kept.iter().map(object).collect::<Vec<_>>())?);
    }
    let rows = kept
        .iter()
        .map(|info| {
            vec![
                info.id.clone(),
                info.index.to_string(),
                time(info.time),
                output::size(info.size_bytes),
                hex(&info.digest).chars().take(DIGEST_DIGITS).collect(),
            ]
        })
        .collect();
    Ok(output::table(
        &["ID", ">INDEX", "TAKEN", ">SIZE", "DIGEST"],
        rows,
    )?)
}

/// Fetches a snapshot into a file that is there in full, and found to be sound, or not at all.
async fn save(global: &Global, node: &Snapshots, file: &Path) -> Result<(), Exit> {
    if file.exists() {
        return Err(Exit::invalid(format!(
            "{} is there already; choose another name",
            file.display()
        )));
    }
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Before the cluster has the work.
    let mut unfinished = tempfile::NamedTempFile::new_in(directory).map_err(|error| {
        // The name that it would have for now is nobody's business.
        let reason = error.kind();
        Exit::Usage(format!(
            "{} cannot be made: {}: {reason}; name a file in a directory that is there and that you may write to",
            file.display(),
            directory.display()
        ))
    })?;
    let (info, _) = take_or_newest(global, node).await?;
    let bar = bar(info.size_bytes);
    let mut from = 0;
    while from < info.size_bytes {
        let to = info.size_bytes.min(from + SNAPSHOT_PIECE_BYTES_MAX);
        let piece = node.read(&info.id, from, to).await?;
        if piece.is_empty() {
            return Err(Exit::Failed(format!(
                "{} ended early; it was changed on {}",
                info.id,
                node.address()
            )));
        }
        unfinished.write_all(&piece)?;
        from += piece.len() as u64;
        bar.set_position(from);
    }
    bar.finish_and_clear();
    unfinished.as_file().sync_all()?;
    let checked = read_all(unfinished.path())?;
    unfinished
        .persist_noclobber(file)
        .map_err(|error| Exit::Io(error.error))?;
    std::fs::File::open(directory)?.sync_all()?;
    tell(global, file, &checked)
}

fn check(global: &Global, file: &Path) -> Result<(), Exit> {
    tell(global, file, &read_all(file)?)
}

fn read_all(file: &Path) -> Result<Checked, Exit> {
    let opened = SnapshotFile::open(file).map_err(|error| refusal(&error))?;
    opened.check().map_err(|error| refusal(&error))
}

fn tell(global: &Global, file: &Path, checked: &Checked) -> Result<(), Exit> {
    let Checked {
        header,
        rows,
        contents,
        size_bytes,
    } = checked;
    let digest = hex(&header.digest);
    if global.output == Format::Json {
        return Ok(output::json(&json!({
            "file": file.display().to_string(),
            "cluster": header.cluster,
            "term": header.term,
            "index": header.index,
            "taken": time(header.time),
            "version": header.version,
            "size_bytes": size_bytes,
            "rows": rows,
            "digest": digest,
            "contents": hex(contents),
        }))?);
    }
    let digest: String = digest.chars().take(DIGEST_DIGITS).collect();
    Ok(output::table(
        &[
            "FILE", "CLUSTER", ">INDEX", "TAKEN", ">SIZE", ">ROWS", "DIGEST",
        ],
        vec![vec![
            file.display().to_string(),
            header.cluster.clone(),
            header.index.to_string(),
            time(header.time),
            output::size(*size_bytes),
            rows.to_string(),
            digest,
        ]],
    )?)
}

fn restore_file(
    global: &Global,
    file: &Path,
    data: &Path,
    node: NodeId,
    address: String,
) -> Result<(), Exit> {
    // All of it, before anything is made.
    read_all(file)?;
    let snapshot = SnapshotFile::open(file).map_err(|error| refusal(&error))?;
    let directory = data.join(format!("node-{node}"));
    let (made, made_data) = (!directory.exists(), !data.exists());
    create_private(&directory)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))?;
    if lock.try_lock().is_err() {
        return Err(Exit::invalid(format!(
            "{} is in use by hostd; restore to another --data",
            directory.display()
        )));
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let (cluster, incarnation) = random.split_at(8);
    let restoration = Restoration {
        node,
        address,
        cluster: hex(cluster),
        incarnation: u64::from_le_bytes(incarnation.try_into().unwrap_or_default()),
    };
    let engine = Engine::new().map_err(|fault| Exit::Failed(fault.to_string()))?;
    let spinner =
        ProgressBar::new_spinner().with_message("writing the state, and compiling plugins");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let restored = restore(snapshot, &directory, Arc::new(engine), &restoration);
    spinner.finish_and_clear();
    let header = match restored {
        Ok(header) => header,
        Err(error) => {
            if made {
                // Only what was made here; anything else stays.
                let _ = std::fs::remove_file(directory.join("lock"));
                let _ = std::fs::remove_dir(&directory);
                if made_data {
                    let _ = std::fs::remove_dir(data);
                }
            }
            return Err(refusal(&error));
        }
    };
    if global.output == Format::Json {
        return Ok(output::json(&json!({
            "data": data.display().to_string(),
            "node": node,
            "cluster": restoration.cluster,
            "index": header.index,
        }))?);
    }
    output::line(&format!(
        "cluster {} at entry {}; start it with: hostd -n {node} -d {}",
        restoration.cluster,
        header.index,
        data.display()
    ))?;
    Ok(())
}

fn refusal(error: &SnapshotError) -> Exit {
    match error {
        error if error.is_missing() => Exit::Usage(format!(
            "{error}; name a file that `hostctl snapshot save` made"
        )),
        SnapshotError::Io { .. } => Exit::Failed(error.to_string()),
        _ => Exit::invalid(error.to_string()),
    }
}

fn object(info: &SnapshotInfo) -> Value {
    json!({
        "id": info.id,
        "file": info.file,
        "size_bytes": info.size_bytes,
        "taken": time(info.time),
        "cluster": info.cluster,
        "term": info.term,
        "index": info.index,
        "digest": hex(&info.digest),
    })
}

fn time(ns: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn bar(bytes: u64) -> ProgressBar {
    ProgressBar::new(bytes).with_style(
        ProgressStyle::with_template("fetching {bar:30} {bytes} of {total_bytes}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}
