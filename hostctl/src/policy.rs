//! `hostctl policy`.

use std::path::PathBuf;

use hostd_protocol::{PolicyChange, Rule};
use serde_json::json;

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::{connect, output};

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl policy allow alice read /app             keys /app and /app/..., and not /apple
  hostctl policy allow alice write /app/alice      write includes read
  hostctl policy allow worker call queue.take      one command; queue.* is all of the plugin's
  hostctl policy allow bob call kv.get /public     one command, on these keys
  hostctl policy allow ops observe                 hostctl status, metrics
  hostctl policy allow boss admin                  everything
  hostctl policy allow '*' read /public            everybody who has an identity
  hostctl policy allow node-4 peer                 from then on nodes need such a rule to join
  hostctl policy revoke alice read /app

An identity is the common name of a client's certificate, a user of `hostctl user`, or `default`, who \
has the password of --auth or, on loopback, none. As long as there is no rule, everybody may do everything; \
once there is one, nobody may do what no rule allows. Whoever makes the first rule becomes admin with it.")]
pub(crate) enum Command {
    /// List the rules
    Show,
    /// Add a rule, or those of a file
    #[command(override_usage = "\
hostctl policy allow [OPTIONS] IDENTITY ACCESS [SCOPE]
       hostctl policy allow [OPTIONS] --file FILE")]
    Allow(Lines),
    /// Take a rule away, or those of a file
    #[command(override_usage = "\
hostctl policy revoke [OPTIONS] IDENTITY ACCESS [SCOPE]
       hostctl policy revoke [OPTIONS] --file FILE")]
    Revoke(Lines),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lines {
    /// Who may do what: `alice read /app`, `worker call queue.take`, `boss admin`
    #[arg(value_name = "RULE", num_args = 2..=4, required_unless_present = "file", conflicts_with = "file")]
    words: Vec<String>,
    /// A file with a rule a line, taken as a whole
    #[arg(short, long)]
    file: Option<PathBuf>,
}

impl Lines {
    fn rules(self) -> Result<Vec<Rule>, Exit> {
        let Some(path) = self.file else {
            let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
            let rule = Rule::from_words(&words).map_err(|error| Exit::Usage(error.to_string()))?;
            return Ok(vec![rule]);
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Exit::Usage(format!("{}: {error}", path.display())))?;
        text.lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
            .map(|(number, line)| {
                line.parse::<Rule>().map_err(|error| {
                    Exit::Usage(format!("{} line {}: {error}", path.display(), number + 1))
                })
            })
            .collect()
    }
}

pub(crate) async fn run(global: &Global, command: Command) -> Result<(), Exit> {
    let change = match command {
        Command::Show => return show(global).await,
        Command::Allow(lines) => PolicyChange::Allow(lines.rules()?),
        Command::Revoke(lines) => PolicyChange::Revoke(lines.rules()?),
    };
    let client = connect::one_shot(global).await?;
    let changed = client.change_policy(change).await;
    client.close().await;
    let changed = changed?;
    match global.output {
        Format::Json => output::json(&changed)?,
        Format::Text if changed.is_empty() => output::line("nothing to change: it was so already")?,
        Format::Text => output::line(&changed.join("\n"))?,
    }
    Ok(())
}

async fn show(global: &Global) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    let policy = client.policy().await;
    client.close().await;
    let policy = policy?;
    match global.output {
        Format::Json => {
            let rule = |rule: Rule| {
                json!({
                    "identity": rule.identity,
                    "rule": rule.to_string(),
                    "grant": rule.grant.to_string(),
                })
            };
            output::json(&policy.lines().map(rule).collect::<Vec<_>>())?;
        }
        Format::Text if policy.rules.is_empty() => {
            output::line("no rules: every identity may do everything")?;
        }
        Format::Text => {
            let lines: Vec<String> = policy.lines().map(|rule| rule.to_string()).collect();
            output::line(&lines.join("\n"))?;
        }
    }
    Ok(())
}
