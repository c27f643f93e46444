//! What `hostctl` says of a cluster, word for word: each story is a file in `replies/`. With
//! `HOSTD_BLESS=1` the files are written anew; then read what changed, as a user would.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{Cluster, target_directory};
use serde_json::Value;

use crate::live_plugins::{fixture, with_version};
use crate::support::{make_wrong, set, story};

/// Fields of JSON documents that differ from run to run.
const VOLATILE: [&str; 15] = [
    "applied",
    "available",
    "engine",
    "fuel",
    "here",
    "there",
    "honours",
    "kept",
    "checkpoint",
    "data_bytes",
    "digest",
    "first_log",
    "index",
    "last_log",
    "time",
];

/// Columns of the status table that do.
const VOLATILE_COLUMNS: [&str; 6] = ["TERM", "LAST", "APPLIED", "CHECKPOINT", "DIGEST", "DATA"];

/// Commands and what came of them, without what differs from run to run.
struct Terminal<'a> {
    cluster: &'a Cluster,
    text: String,
}

impl<'a> Terminal<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            text: String::new(),
        }
    }

    /// Runs commands, one a line.
    fn run(&mut self, lines: &str) -> Result<()> {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.run_one(line)?;
        }
        Ok(())
    }

    /// Runs commands that change nothing, each for people and for programs.
    fn look(&mut self, lines: &str) -> Result<()> {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.run_one(line)?;
            self.run_one(&format!("{line} -o json"))?;
        }
        Ok(())
    }

    fn run_one(&mut self, line: &str) -> Result<()> {
        let words = line.split(' ').map(|word| self.meant(word));
        let answer = self.cluster.hostctl().timeout("40s").run(words)?;
        let told = if line.ends_with("-o json") && !answer.stdout.is_empty() {
            let mut value = serde_json::from_str(&answer.stdout)
                .with_context(|| format!("{line}: not JSON: {}", answer.stdout))?;
            settle(&mut value);
            serde_json::to_string_pretty(&value)?
        } else if line == "status" {
            settled_status(&answer.stdout)
        } else {
            figures_settled(line, &answer.stdout)
        };
        let told_on_stderr = figures_settled(line, &answer.stderr);
        writeln!(self.text, "$ hostctl {line}")?;
        for (mark, text) in [("", told), ("! ", told_on_stderr)] {
            for line in self.settled(&text)?.lines() {
                writeln!(self.text, "{mark}{}", line.trim_end())?;
            }
        }
        if answer.code != Some(0) {
            writeln!(self.text, "? {}", answer.code.context("it was killed")?)?;
        }
        writeln!(self.text)?;
        Ok(())
    }

    /// What a word in a story stands for: a file of a fixture, or itself.
    fn meant(&self, word: &str) -> String {
        let Some(name) = word.strip_suffix(".wasm") else {
            return word.to_owned();
        };
        let file = self.cluster.directory().join(word);
        let file = if file.exists() {
            file
        } else {
            fixture(name).unwrap_or(file)
        };
        file.to_string_lossy().into_owned()
    }

    /// Without the addresses, directories, digests and times of this run; as long as before, so that
    /// tables stay tables.
    fn settled(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        for id in self.cluster.ids() {
            let address = self.cluster.address(id)?;
            let name = format!("{:<width$}", format!("<node {id}>"), width = address.len());
            text = text.replace(&format!("\"{address}\""), &format!("\"<node {id}>\""));
            text = text.replace(&address, &name);
        }
        for directory in [
            self.cluster.directory(),
            &target_directory().join("plugins"),
        ] {
            text = text.replace(&format!("{}/", directory.display()), "");
        }
        for digest in self.digests()? {
            for digits in [64, 12, 8] {
                let shown = &digest[..digits];
                text = text.replace(shown, &"x".repeat(digits));
            }
        }
        Ok(times_settled(&text))
    }

    /// All digests of components that the cluster has.
    fn digests(&self) -> Result<Vec<String>> {
        let plugins = self.cluster.hostctl().json(&["plugin", "list"])?;
        let mut digests = Vec::new();
        for plugin in plugins.as_array().context("an array")? {
            for kept in plugin["versions"].as_array().context("versions")? {
                digests.extend(kept["digest"].as_str().map(str::to_owned));
            }
        }
        Ok(digests)
    }

    /// Compares with the story's file.
    fn compare(self, name: &str) -> Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("stories/replies")
            .join(format!("{name}.txt"));
        if std::env::var_os("HOSTD_BLESS").is_some() {
            return Ok(std::fs::write(&file, self.text)?);
        }
        let expected = std::fs::read_to_string(&file)?;
        let differs = expected
            .lines()
            .chain(std::iter::repeat("(nothing)"))
            .zip(self.text.lines())
            .enumerate()
            .find(|(_, (expected, found))| expected != found);
        if let Some((number, (expected, found))) = differs {
            bail!(
                "{name}, line {}: expected\n{expected}\nand found\n{found}\nin\n{}",
                number + 1,
                self.text
            );
        }
        ensure!(expected.len() == self.text.len(), "{name} ends early");
        Ok(())
    }
}

/// Takes out of a document what differs from run to run.
fn settle(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(settle),
        Value::Object(fields) => {
            for (name, value) in fields {
                if VOLATILE.contains(&name.as_str()) && !value.is_null() {
                    *value = Value::String("…".into());
                } else if name == "term" {
                    *value = Value::Number(1.into());
                } else if name == "commands" {
                    // Their names do: `commands` has the rest.
                    for command in value.as_array_mut().into_iter().flatten() {
                        *command = command["name"].take();
                    }
                } else {
                    settle(value);
                }
            }
        }
        _ => {}
    }
}

/// The status table with a sign in place of what differs from run to run.
fn settled_status(table: &str) -> String {
    let cells = |line: &str| -> Vec<String> {
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut lines = table.lines();
    let head = cells(lines.next().unwrap_or_default());
    let mut settled = head.join(" | ");
    for line in lines {
        let row = head.iter().zip(cells(line)).map(|(column, cell)| {
            if VOLATILE_COLUMNS.contains(&column.as_str()) {
                "…".to_owned()
            } else {
                cell
            }
        });
        settled += "\n";
        settled += &row.collect::<Vec<_>>().join(" | ");
    }
    settled
}

/// Without figures, where a command tells of fuel, digests and places in the log. Small ones stay where
/// they are numbers of calls.
fn figures_settled(line: &str, text: &str) -> String {
    if line.starts_with("log ") || line.starts_with("verify") {
        settled_figures(text, 1)
    } else if line.contains("--dry-run") {
        settled_figures(text, 3)
    } else {
        text.to_owned()
    }
}

/// Without figures of so many digits, digests and times to the microsecond, which differ from run to
/// run, and without the width of columns, which follows from them.
fn settled_figures(text: &str, digits: usize) -> String {
    let figure = |word: &str| {
        word.starts_with(['(', '+', '-'])
            && word.contains('.')
            && word.bytes().any(|byte| byte.is_ascii_digit())
            || word.len() >= digits && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let digest = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = |word: &str| word.len() == 27 && word.ends_with('Z') && word.contains('T');
    let settled = |word: &str| -> String {
        let bare = word.trim_end_matches([',', ':', ')']);
        let sign = match bare {
            bare if figure(bare) => "#",
            bare if digest(bare) => "xxxx",
            bare if time(bare) => "YYYY-MM-DDThh:mm:ss.ssssssZ",
            _ => return word.to_owned(),
        };
        format!("{sign}{}", &word[bare.len()..])
    };
    let line = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<String> = line.split_whitespace().map(settled).collect();
        format!("{}{}", " ".repeat(indent.min(2)), words.join(" "))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// `2026-01-31T12:00:00Z` is a time, whatever its digits.
fn times_settled(text: &str) -> String {
    const TIME: &str = "0000-00-00T00:00:00Z";
    let mut settled = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_time = rest.get(..TIME.len()).is_some_and(|found| {
            let shape = found.chars().zip(TIME.chars());
            shape.into_iter().all(|(found, kind)| {
                if kind == '0' {
                    found.is_ascii_digit()
                } else {
                    found == kind
                }
            })
        });
        let taken = if is_time { TIME.len() } else { next.len_utf8() };
        settled += if is_time {
            "YYYY-MM-DDThh:mm:ssZ"
        } else {
            &rest[..taken]
        };
        rest = &rest[taken..];
    }
    settled
}

#[test]
fn of_plugins() {
    story(1, |cluster| {
        with_version(cluster, "tally", "1.0.0", "1.1.0")?;
        std::fs::write(cluster.directory().join("garbage.wasm"), b"no plugin")?;
        let mut terminal = Terminal::new(cluster);
        terminal.look("plugin list")?;
        terminal.run(
            "plugin install tally.wasm
             plugin install tally.wasm
             plugin install tally.wasm -o json
             call count apples 3
             plugin install tally-1.1.0.wasm
             plugin upgrade tally-1.1.0.wasm
             plugin rollback tally -o json
             plugin rollback tally --to 1.1.0
             plugin rollback tally --to 9.9.9",
        )?;
        terminal.look(
            "plugin list
             plugin show tally
             plugin show nothing",
        )?;
        terminal.run(
            "plugin limits -p tally keys_max=2
             call fill a 0 2
             plugin show tally
             plugin limits -p tally keys_max=default -o json
             plugin limits -p tally keys=1
             plugin limits -p tally plugins_max=1
             plugin limits -p nothing keys_max=1
             plugin limits keys_max
             plugin limits",
        )?;
        terminal.run(
            "call count trap 1
             plugin upgrade tally-keys.wasm
             plugin show tally
             call drop-name trap
             plugin upgrade tally-keys.wasm
             plugin rollback tally
             plugin forget tally 2.0.0
             plugin forget tally 1.0.0
             plugin forget tally 1.0.0
             plugin upgrade garbage.wasm
             plugin upgrade nowhere.wasm",
        )?;
        terminal.run(
            "plugin remove nothing
             plugin remove tally
             plugin list
             plugin show tally
             call count apples 1
             plugin remove tally --purge -o json
             plugin show tally",
        )?;
        terminal.compare("plugins")
    });
}

#[test]
fn of_commands() {
    story(1, |cluster| {
        let mut terminal = Terminal::new(cluster);
        terminal.run("plugin install tally.wasm")?;
        terminal.look(
            "commands count
             commands tally.count
             commands nothing",
        )?;
        terminal.run(
            "commands
             call nothing
             call count
             call count a b
             call total nobody",
        )?;
        terminal.compare("commands")
    });
}

#[test]
fn of_the_past() {
    story(1, |cluster| {
        with_version(cluster, "tally", "1.0.0", "1.1.0")?;
        let mut terminal = Terminal::new(cluster);
        terminal.run(
            "plugin install tally.wasm
             call count apples 3
             call count apples x
             call drop-name apples",
        )?;
        terminal.look("log show --plugin tally")?;
        terminal.look("log show --count 0")?;
        terminal.look("plugin upgrade tally-1.1.0.wasm --dry-run --last 2")?;
        terminal.look("plugin upgrade tally-keys.wasm --dry-run")?;
        terminal.run(
            "plugin upgrade tally-1.1.0.wasm --dry-run --last 0
             plugin upgrade kv.wasm --dry-run
             plugin upgrade nowhere.wasm --dry-run",
        )?;
        terminal.look("verify")?;
        terminal.compare("past")
    });
}

#[test]
fn of_a_wrong_node() {
    story(3, |cluster| {
        cluster.hostctl().call(&["set", "greeting", "hello"])?;
        cluster.compare_digests()?;
        // Not the founder, which leads.
        make_wrong(cluster, 3, set("greeting", "goodbye"))?;
        let mut terminal = Terminal::new(cluster);
        terminal.look("verify")?;
        terminal.compare("differs")
    });
}

#[test]
fn of_members() {
    story(3, |cluster| {
        let mut terminal = Terminal::new(cluster);
        terminal.look("status")?;
        terminal.look("member list")?;
        terminal.run(
            "member add 9 127.0.0.1:9 --learner
             member promote 9
             member remove 9
             member demote 3
             member list
             member promote 3 -o json
             member promote 8
             member demote 8
             member transfer 8
             member add 0 127.0.0.1:9
             member transfer 2",
        )?;
        cluster.wait_status("node 2 leads", |rows| {
            rows.iter().any(|row| row.leader && row.id == 2)
        })?;
        terminal.look("member list")?;
        terminal.compare("members")
    });
}
