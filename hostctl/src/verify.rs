//! `hostctl verify`.

use std::fmt::Write as _;
use std::time::Duration;

use hostd_protocol::{
    DifferenceKind, Failure, FailureCode, KeyDifference, Verdict, Verified, VerifiedNode,
};
use serde_json::{Value, json};

use crate::args::{Format, Global};
use crate::exit::Exit;
use crate::log::bytes_words;
use crate::{connect, output};

/// How long it may take when nothing else is said: everything is read.
const PATIENCE: Duration = Duration::from_mins(2);

/// Digits of a digest that people compare.
const DIGEST_DIGITS: usize = 16;

pub(crate) async fn run(global: &Global) -> Result<(), Exit> {
    let client = connect::one_shot(global).await?;
    // Whether anybody is there is known long before everything is read.
    client.members().await?;
    let spinner = indicatif::ProgressBar::new_spinner()
        .with_message("every node reads all of its state at one checkpoint");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let verified = client.verify(global.timeout.max(PATIENCE)).await;
    spinner.finish_and_clear();
    client.close().await;
    let verified = verified?;
    match global.output {
        Format::Json => output::json(&object(&verified))?,
        Format::Text => print(&verified)?,
    }
    conclude(&verified)
}

fn print(verified: &Verified) -> Result<(), Exit> {
    let header = [
        ">ID",
        "ADDRESS",
        ">CHECKPOINT",
        ">ROWS",
        "DIGEST",
        "VERDICT",
    ];
    let checkpoint = verified.checkpoint.to_string();
    let row = |node: &VerifiedNode| {
        let known = !node.digest.is_empty();
        let or_dash = |text: String| if known { text } else { "-".to_owned() };
        vec![
            node.id.to_string(),
            node.address.clone(),
            or_dash(checkpoint.clone()),
            or_dash(node.rows.to_string()),
            or_dash(node.digest.chars().take(DIGEST_DIGITS).collect()),
            verdict(node.verdict).to_owned(),
        ]
    };
    output::table(&header, verified.nodes.iter().map(row).collect())?;
    let details = details(verified);
    if !details.is_empty() {
        output::line(details.trim_end())?;
    }
    Ok(())
}

/// What the table has no room for.
fn details(verified: &Verified) -> String {
    let mut text = String::new();
    for node in &verified.nodes {
        let id = node.id;
        if !node.reason.is_empty() {
            let _ = writeln!(text, "\nnode {id}: {}", node.reason);
        }
        let Some(against) = node.against else {
            continue;
        };
        let _ = writeln!(
            text,
            "\nnode {id}, compared with node {against}; the first differing key of each table:"
        );
        for difference in &node.differences {
            let _ = writeln!(
                text,
                "  {}: {}",
                subject(difference),
                what(difference, against)
            );
        }
    }
    let differ = verified
        .nodes
        .iter()
        .any(|node| node.verdict == Verdict::Differs);
    if differ && !verified.majority {
        text.push_str(
            "\nno state is that of more than half of the members, so nobody can say who is right\n",
        );
    }
    text
}

fn subject(difference: &KeyDifference) -> String {
    let key = bytes_words(&difference.key);
    match &difference.plugin {
        Some(plugin) if difference.table == "data" => format!("{plugin} {key}"),
        Some(plugin) => format!("[{}] {plugin} {key}", difference.table),
        None => format!("[{}] {key}", difference.table),
    }
}

fn what(difference: &KeyDifference, against: u64) -> String {
    let entry =
        |index: Option<u64>| index.map_or_else(|| "-".to_owned(), |index| index.to_string());
    let (here, there) = (entry(difference.here), entry(difference.there));
    match difference.kind {
        DifferenceKind::Missing => {
            format!("missing here; written by entry {there} on node {against}")
        }
        DifferenceKind::Extra => format!("extra here, written by entry {here}"),
        DifferenceKind::Value => {
            format!("other value; written by entry {here} here, by {there} on node {against}")
        }
        DifferenceKind::Revision => {
            format!("same value; written by entry {here} here, by {there} on node {against}")
        }
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Agrees => "agrees",
        Verdict::Differs => "differs",
        Verdict::Damaged => "damaged",
        Verdict::Silent => "silent",
        Verdict::Unreachable => "unreachable",
    }
}

/// What differs is worse than what is not known.
fn conclude(verified: &Verified) -> Result<(), Exit> {
    let of = |wanted: &[Verdict]| -> Vec<String> {
        let nodes = verified.nodes.iter();
        nodes
            .filter(|node| wanted.contains(&node.verdict))
            .map(|node| node.id.to_string())
            .collect()
    };
    let wrong = of(&[Verdict::Differs, Verdict::Damaged]);
    let unknown = of(&[Verdict::Silent, Verdict::Unreachable]);
    let checkpoint = verified.checkpoint;
    if !wrong.is_empty() {
        let nodes = nodes(&wrong);
        return Err(Exit::Differs(if verified.majority {
            format!("{nodes}, from most members, at checkpoint {checkpoint}")
        } else {
            format!("{nodes} at checkpoint {checkpoint}, and no state has a majority")
        }));
    }
    if !unknown.is_empty() {
        let message = format!(
            "{} did not answer; the others agree at checkpoint {checkpoint}",
            nodes(&unknown)
        );
        return Err(Exit::Call(
            Failure::new(FailureCode::Timeout, message).into(),
        ));
    }
    Ok(())
}

fn nodes(ids: &[String]) -> String {
    let word = if ids.len() == 1 { "node" } else { "nodes" };
    format!("{word} {}", ids.join(", "))
}

fn object(verified: &Verified) -> Value {
    json!({
        "checkpoint": verified.checkpoint,
        "majority": verified.majority,
        "nodes": verified.nodes.iter().map(node_json).collect::<Vec<_>>(),
    })
}

fn node_json(node: &VerifiedNode) -> Value {
    json!({
        "id": node.id,
        "address": node.address,
        "verdict": node.verdict,
        "reason": node.reason,
        "rows": node.rows,
        "digest": node.digest,
        "kept": node.kept,
        "against": node.against,
        "differences": node.differences.iter().map(|difference| json!({
            "table": difference.table,
            "plugin": difference.plugin,
            "key": bytes_words(&difference.key),
            "kind": difference.kind,
            "here": difference.here,
            "there": difference.there,
        })).collect::<Vec<_>>(),
    })
}
