//! `hostctl plugin limits`.

use hostd_protocol::{Limits as Values, PluginChange};
use serde_json::json;

use super::{find, patient};
use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl plugin limits                                    the cluster's
  hostctl plugin limits -p votes                           those of one plugin
  hostctl plugin limits -p votes data_bytes_max=2GiB       a quota for its state
  hostctl plugin limits -p votes data_bytes_max=default    as the cluster has it again
  hostctl plugin limits fuel_per_command=500M              for every plugin without its own")]
pub(crate) struct Limits {
    /// Of this plugin; of the cluster when not given
    #[arg(short, long, value_name = "NAME")]
    plugin: Option<String>,
    /// What to change: a number, with k, M, G or KiB, MiB, GiB behind it, or `default`
    #[arg(value_name = "LIMIT=VALUE", value_parser = assignment)]
    changes: Vec<(String, Option<u64>)>,
}

pub(super) async fn run(global: &Global, limits: Limits) -> Result<(), Exit> {
    let client = patient(global).await?;
    let shown = async {
        if !limits.changes.is_empty() {
            let change = PluginChange::Limit {
                plugin: limits.plugin.clone(),
                values: limits.changes,
            };
            client.change_plugins(change).await?;
        }
        let (_, cluster) = client.plugins().await?;
        let own = match &limits.plugin {
            Some(name) => Some(find(&client, name).await?.limits),
            None => None,
        };
        Ok::<_, Exit>((cluster, own))
    }
    .await;
    client.close().await;
    let (cluster, own) = shown?;
    print(global.output, &cluster, own.as_deref())
}

fn print(format: Format, cluster: &Values, own: Option<&[(String, u64)]>) -> Result<(), Exit> {
    let defaults = Values::default();
    let rows: Vec<_> = Values::ALL
        .iter()
        .filter(|info| own.is_none() || info.per_plugin)
        .map(|info| {
            let set = own.and_then(|own| own.iter().find(|(name, _)| name == info.name));
            let from = match set {
                Some(_) => "plugin",
                None if cluster.get(info.name) == defaults.get(info.name) => "default",
                None => "cluster",
            };
            let value = set.map(|(_, value)| *value).or(cluster.get(info.name));
            (info, value.unwrap_or_default(), from)
        })
        .collect();
    match format {
        Format::Json => {
            let rows: Vec<_> = rows
                .iter()
                .map(|(info, value, from)| {
                    json!({"name": info.name, "value": value, "from": from, "min": info.min, "max": info.max})
                })
                .collect();
            output::json(&rows)?;
        }
        Format::Text => output::table(
            &["LIMIT", ">VALUE", "FROM", "WHAT"],
            rows.into_iter()
                .map(|(info, value, from)| {
                    let what = info.summary.trim();
                    let first = what.split_inclusive(&['.', ';'][..]).next().unwrap_or(what);
                    vec![
                        info.name.to_owned(),
                        value.to_string(),
                        from.to_owned(),
                        first.trim_end_matches(&['.', ';'][..]).to_owned(),
                    ]
                })
                .collect(),
        )?,
    }
    Ok(())
}

/// Parses `name=value`.
fn assignment(text: &str) -> Result<(String, Option<u64>), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write LIMIT=VALUE, such as keys_max=1000".to_owned())?;
    if value == "default" {
        return Ok((name.to_owned(), None));
    }
    let digits = value
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(format!("'{unit}' is none of k, M, G, KiB, MiB, GiB, TiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .map(|value| (name.to_owned(), Some(value)))
        .ok_or_else(|| format!("'{value}' is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_units() {
        assert_eq!(assignment("a=12"), Ok(("a".into(), Some(12))));
        assert_eq!(assignment("a=2GiB"), Ok(("a".into(), Some(2 << 30))));
        assert_eq!(assignment("a=5M"), Ok(("a".into(), Some(5_000_000))));
        assert_eq!(assignment("a=default"), Ok(("a".into(), None)));
        for bad in [
            "a",
            "a=",
            "a=x",
            "a=1x",
            "a=99999999999999999999",
            "a=99999999999G",
        ] {
            assert!(assignment(bad).is_err(), "{bad}");
        }
    }
}
