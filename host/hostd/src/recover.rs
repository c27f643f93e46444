//! `--recover`: a node that cannot go on with its data sets it aside and learns everything anew.
//!
//! The old directory is renamed, never deleted. The new one begins with a file that says that this
//! node is on its way back, and through whom, so that one that is interrupted goes on without any
//! flag. Beside its databases a node keeps a list of the members as text: it is what is left to find
//! the others by when a database is damaged.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hostd_protocol::NodeId;
use hostd_replica::{Replica, types::StoredMembership};

use crate::config::{Config, ConfigError, Formation};
use crate::data_dir::DataDir;
use crate::node::StartError;

/// The members, a line each: number, address, and whether it votes.
const MEMBERS_FILE: &str = "members";
/// There as long as a node is on its way back: addresses to join through, one a line.
pub(crate) const RECOVERING_FILE: &str = "recovering";

/// A member as the list of members has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    id: NodeId,
    address: String,
    voter: bool,
}

/// What a node begins with, in view of what its directory says.
pub(crate) fn resume(config: Config, data: &DataDir) -> Result<Config, StartError> {
    let path = data.file(RECOVERING_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            tracing::info!("going on with the recovery that had begun");
            Ok(rejoining(config, text.lines().map(str::to_owned)))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, &error)),
        Err(_) if config.recover && data.is_empty() => match &config.formation {
            // Beginning a second cluster is the last thing that somebody wants who has lost a disk.
            Formation::Found => Err(flag(format!(
                "{} holds no data, and --join names nobody to get it from; say --join, or begin a \
                 new cluster without --recover",
                data.path().display()
            ))),
            Formation::Join(_) | Formation::Expect { .. } => Ok(config),
        },
        Err(_) => Ok(config),
    }
}

/// The same node, coming back through these members and those that it is told of.
fn rejoining(config: Config, others: impl Iterator<Item = String>) -> Config {
    let mut through = told(&config.formation);
    for other in others {
        if !other.is_empty() && !through.contains(&other) {
            through.push(other);
        }
    }
    Config {
        formation: Formation::Join(through),
        recover: true,
        ..config
    }
}

fn told(formation: &Formation) -> Vec<String> {
    match formation {
        Formation::Found => Vec::new(),
        Formation::Join(members) | Formation::Expect { members, .. } => members.clone(),
    }
}

/// Moves a node's directory aside and makes an empty one in its place. Refuses where that would
/// lose what nobody else has.
pub(crate) fn set_aside(
    config: Config,
    data: DataDir,
    reason: &StartError,
) -> Result<(Config, DataDir), StartError> {
    let members = read_members(&data.file(MEMBERS_FILE));
    let others: Vec<&Known> = members
        .iter()
        .filter(|member| member.id != config.node_id)
        .collect();
    let refuse = |why: &str| {
        Err(StartError::CannotRecover {
            reason: reason.to_string(),
            why: why.to_owned(),
        })
    };
    if !members.is_empty() && !others.iter().any(|member| member.voter) {
        return refuse(
            "this node is the only voter of its cluster, so there is nobody to learn from",
        );
    }
    let others = others.into_iter().map(|member| member.address.clone());
    let config = rejoining(config, others);
    let through = told(&config.formation);
    if through.is_empty() {
        return refuse("the other members are not known; name one or more with --join");
    }
    let aside = move_aside(&data, &through).map_err(|error| failed(data.path(), &error))?;
    tracing::warn!(%reason, "this node cannot go on with its data");
    tracing::warn!(
        aside = %aside.display(),
        "its data was set aside and it learns everything anew; the old data may be deleted once \
         `hostctl status` shows this node as a voter in good health"
    );
    drop(data);
    let data = DataDir::open(&config.data, config.node_id)?;
    Ok((config, data))
}

/// The new directory is made first and the old one moved last but one: whenever this is interrupted,
/// either the old one is in its place, or [`DataDir::open`] finds the new one and moves it there.
fn move_aside(data: &DataDir, through: &[String]) -> io::Result<PathBuf> {
    let next = data.successor();
    match fs::remove_dir_all(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => hostd_replica::create_private(&next)?,
    }
    write_whole(&next.join(RECOVERING_FILE), &lines(through))?;
    let mut number = 1;
    while data.set_aside(number).try_exists()? {
        number += 1;
    }
    let aside = data.set_aside(number);
    fs::rename(data.path(), &aside)?;
    fs::rename(&next, data.path())?;
    if let Some(parent) = data.path().parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(aside)
}

/// The node is a member again.
pub(crate) fn done(data: &DataDir) {
    let path = data.file(RECOVERING_FILE);
    match fs::remove_file(&path) {
        Ok(()) => tracing::info!("this node is a member again; it votes once it is in sync"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // It would ask to come back once more, and be told that it is here.
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot be removed"),
    }
}

/// Keeps the list of members as it is, as long as the replica runs.
pub(crate) fn remember_members(replica: &Replica, data: &DataDir) {
    let mut membership = replica.membership();
    let path = data.file(MEMBERS_FILE);
    tokio::spawn(async move {
        loop {
            let members = known(&membership.borrow_and_update());
            if !members.is_empty()
                && let Err(error) = write_whole(&path, &lines(&members))
            {
                tracing::warn!(path = %path.display(), %error, "cannot be written");
            }
            if membership.changed().await.is_err() {
                return;
            }
        }
    });
}

fn known(membership: &StoredMembership) -> Vec<Known> {
    let membership = membership.membership();
    let nodes = membership.nodes().map(|(id, node)| Known {
        id: *id,
        address: node.address.clone(),
        voter: membership.voter_ids().any(|voter| voter == *id),
    });
    nodes.collect()
}

impl std::fmt::Display for Known {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let role = if self.voter { "voter" } else { "learner" };
        write!(formatter, "{} {} {role}", self.id, self.address)
    }
}

fn lines(items: &[impl std::fmt::Display]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        writeln!(text, "{item}").expect("a string takes everything");
        text
    })
}

/// What can be read of the list of members; it is a help, and nothing relies on it.
fn read_members(path: &Path) -> Vec<Known> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(read_member).collect()
}

fn read_member(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let (id, address, role) = (words.next()?, words.next()?, words.next()?);
    Some(Known {
        id: id.parse().ok()?,
        address: address.to_owned(),
        voter: role == "voter",
    })
}

/// Writes a file so that it has its old content or the new one, whatever happens.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn failed(path: &Path, error: &io::Error) -> StartError {
    StartError::DataDir {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

fn flag(detail: String) -> StartError {
    StartError::Config(ConfigError::Flag {
        flag: "--recover",
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason() -> StartError {
        StartError::Outdated("it was removed".into())
    }

    fn directory(root: &Path) -> (Config, DataDir) {
        let config = Config {
            recover: true,
            ..Config::new(root)
        };
        let data = DataDir::open(root, 1).unwrap();
        fs::write(data.file("log.redb"), "old").unwrap();
        (config, data)
    }

    #[test]
    fn the_old_directory_is_kept_and_the_new_one_knows_whom_to_ask() {
        let root = tempfile::tempdir().unwrap();
        for number in 1..3 {
            let (config, data) = directory(root.path());
            let members = "1 a:1 voter\n2 b:2 voter\nnonsense\n3 c:3 learner\n";
            fs::write(data.file(MEMBERS_FILE), members).unwrap();
            let (config, data) = set_aside(config, data, &reason()).unwrap();
            let through = vec!["b:2".to_owned(), "c:3".to_owned()];
            assert_eq!(config.formation, Formation::Join(through.clone()));
            assert!(data.is_empty());
            let aside = root.path().join(format!("node-1.set-aside-{number}"));
            assert_eq!(fs::read(aside.join("log.redb")).unwrap(), b"old");

            // Interrupted, and started without any flag.
            let again = resume(Config::new(root.path()), &data).unwrap();
            assert_eq!(again.formation, Formation::Join(through));
            assert!(again.recover);
            done(&data);
            let well = resume(Config::new(root.path()), &data).unwrap();
            assert_eq!(well.formation, Formation::Found);
        }
    }

    #[test]
    fn a_move_that_was_interrupted_is_finished() {
        let root = tempfile::tempdir().unwrap();
        let (_, data) = directory(root.path());
        fs::create_dir(data.successor()).unwrap();
        fs::write(data.successor().join(RECOVERING_FILE), "b:2\n").unwrap();
        fs::rename(data.path(), data.set_aside(1)).unwrap();
        drop(data);
        let data = DataDir::open(root.path(), 1).unwrap();
        let config = resume(Config::new(root.path()), &data).unwrap();
        assert_eq!(config.formation, Formation::Join(vec!["b:2".to_owned()]));
    }

    #[test]
    fn where_nobody_else_has_the_data_nothing_is_touched() {
        let root = tempfile::tempdir().unwrap();
        for (members, word) in [
            ("", "--join"),
            ("1 a:1 voter\n", "only voter"),
            ("1 a:1 voter\n2 b:2 learner\n", "only voter"),
        ] {
            let (config, data) = directory(root.path());
            fs::write(data.file(MEMBERS_FILE), members).unwrap();
            let refused = set_aside(config, data, &reason()).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
            assert!(refused.contains("it was removed"), "{refused}");
            assert!(root.path().join("node-1/log.redb").exists());
            assert!(!root.path().join("node-1.set-aside-1").exists());
        }
    }

    #[test]
    fn nothing_at_all_and_nobody_to_ask_is_no_new_cluster() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path(), 1).unwrap();
        let config = Config {
            recover: true,
            ..Config::new(root.path())
        };
        let refused = resume(config.clone(), &data).unwrap_err();
        assert!(refused.to_string().contains("--join"), "{refused}");
        let told = Config {
            formation: Formation::Join(vec!["b:2".into()]),
            ..config
        };
        assert!(resume(told, &data).is_ok());
    }
}
