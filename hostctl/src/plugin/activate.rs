//! `hostctl plugin install` and `hostctl plugin upgrade`: a component goes into the cluster, is made
//! ready by every node, and takes over at one entry of the log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hostd_client::Client;
use hostd_protocol::{Activated, PluginChange, PluginInfo, RejectionCode, hex};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::{dry_run, find, patient, refusal};
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Install {
    /// The component, as `hostctl plugin build` makes it
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is dropped or answered twice. Where the new version cannot read the state, but says that it \
can migrate it, that is done in steps while the old version answers; if it fails, the old version \
stays. See `hostctl plugin show`.

  hostctl plugin upgrade new.wasm --dry-run --last 500

plays the last 500 calls on both versions on one node, without any effect, and shows outcomes and \
changes that differ, and the fuel. Exit code 0: no differences; 4: there are some.")]
pub(crate) struct Upgrade {
    /// The component, as `hostctl plugin build` makes it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not wait for the end of a migration
    #[arg(long)]
    no_wait: bool,
    /// Change nothing: play the last logged calls on both versions, and show what differs
    #[arg(long)]
    dry_run: bool,
    /// How many calls a dry run plays, of those that the node can play again
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "dry_run", value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
}

pub(super) async fn install(global: &Global, install: Install) -> Result<(), Exit> {
    file(global, install.file, false, false).await
}

pub(super) async fn upgrade(global: &Global, upgrade: Upgrade) -> Result<(), Exit> {
    if upgrade.dry_run {
        let component = read(&upgrade.file)?;
        return dry_run::run(global, &upgrade.file, component, upgrade.last).await;
    }
    file(global, upgrade.file, true, upgrade.no_wait).await
}

async fn file(global: &Global, file: PathBuf, replace: bool, no_wait: bool) -> Result<(), Exit> {
    let component = read(&file)?;
    let client = patient(global).await?;
    if replace {
        refuse_newcomer(&client, &component, &file).await?;
    }
    let bar = bar(component.len() as u64);
    let uploaded = client
        .upload(&component, |bytes| bar.set_position(bytes))
        .await;
    bar.finish_and_clear();
    let done = match uploaded {
        Ok(digest) => activate(global, &client, digest, replace, no_wait).await,
        Err(error) => Err(error.into()),
    };
    client.close().await;
    done
}

fn read(file: &Path) -> Result<Vec<u8>, Exit> {
    let component = super::read(file)?;
    if component.is_empty() {
        return Err(refusal(
            RejectionCode::InvalidArgument,
            format!("{}: the file is empty", file.display()),
        ));
    }
    Ok(component)
}

/// An upgrade is of something: whoever mistakes the cluster or the file must not install a plugin.
async fn refuse_newcomer(client: &Client, component: &[u8], file: &Path) -> Result<(), Exit> {
    // What is no plugin here may be one for a newer cluster, which says what is wrong if it is not.
    let Some(name) = super::check::name_of(component) else {
        return Ok(());
    };
    let (plugins, _) = client.plugins().await?;
    let runs = |plugin: &PluginInfo| plugin.name == name && plugin.digest.is_some();
    if plugins.iter().any(runs) {
        return Ok(());
    }
    Err(refusal(
        RejectionCode::InvalidArgument,
        format!(
            "the cluster has no plugin {name} to upgrade; to add it: hostctl plugin install {}",
            file.display()
        ),
    ))
}

/// Makes a version that the cluster has the one that runs, and says what came of it.
pub(super) async fn activate(
    global: &Global,
    client: &Client,
    digest: [u8; 32],
    replace: bool,
    no_wait: bool,
) -> Result<(), Exit> {
    let spinner = ProgressBar::new_spinner().with_message("every node makes it ready");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let activated = client
        .change_plugins(PluginChange::Activate { digest, replace })
        .await;
    spinner.finish_and_clear();
    let mut told = Activated::from(&activated?);
    if told.result == "migrating" && !no_wait {
        follow(client, &told, digest).await?;
        told.result = "migrated".into();
    }
    print(&told, global.output, digest)
}

/// Waits for the end of a migration.
async fn follow(client: &Client, told: &Activated, digest: [u8; 32]) -> Result<(), Exit> {
    let spinner = ProgressBar::new_spinner();
    let to = hex(&digest);
    loop {
        let plugin = find(client, &told.plugin).await?;
        if let Some(migration) = &plugin.migration {
            spinner.set_message(format!(
                "migrating: {} of about {} keys",
                migration.keys, plugin.keys
            ));
            spinner.tick();
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        }
        spinner.finish_and_clear();
        if plugin.digest.as_ref() == Some(&to) {
            return Ok(());
        }
        let why = plugin.failed.map_or_else(
            || "somebody changed the plugin meanwhile".to_owned(),
            |failed| failed.reason,
        );
        return Err(refusal(
            RejectionCode::Rejected("migration_failed".into()),
            format!(
                "the state could not be migrated, and the version before goes on with it as it was: {why}"
            ),
        ));
    }
}

/// Says what became of an activation.
fn print(activated: &Activated, format: Format, digest: [u8; 32]) -> Result<(), Exit> {
    let Activated {
        result,
        plugin,
        version,
        shared,
    } = activated;
    if let Format::Json = format {
        let mut object = Map::new();
        for (name, value) in [("result", result), ("plugin", plugin), ("version", version)] {
            object.insert(name.into(), Value::String(value.clone()));
        }
        object.insert("digest".into(), json!(hex(&digest)));
        object.insert("shared".into(), json!(shared));
        return Ok(output::json(&object)?);
    }
    let text = match result.as_str() {
        "unchanged" => format!("{plugin} {version} runs already"),
        "migrating" => format!(
            "{plugin} is being migrated to {version}; `hostctl plugin show {plugin}` tells how far it is"
        ),
        result => format!("{result}: {plugin} {version}"),
    };
    output::line(&text)?;
    if !shared.is_empty() {
        output::line(&format!(
            "another plugin has {} too: say {plugin}.{} to call this one",
            shared.join(", "),
            shared[0]
        ))?;
    }
    Ok(())
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("uploading {bar:30} {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar
}
