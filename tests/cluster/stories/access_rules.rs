//! Who may do what, on every node, over restarts, and what is noted of it.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{Cluster, PATIENCE, wait_for};
use serde_json::Value;

use crate::support::{http, story};

/// A command of somebody's, at one node.
fn as_at(cluster: &Cluster, id: u64, who: &str, words: &[&str]) -> Result<cluster_tests::Answer> {
    let words: Vec<&str> = ["--identity", who].iter().chain(words).copied().collect();
    cluster.hostctl_directly_at(id)?.run(words)
}

fn issue(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.hostctl().ok(["pki", "issue", name])?;
    Ok(())
}

/// The audit log of a node, line by line.
fn audit(cluster: &Cluster, id: u64) -> Result<Vec<Value>> {
    let path = cluster.data().join(format!("node-{id}/audit.log"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

fn denied(cluster: &Cluster, id: u64, who: &str, words: &[&str]) -> Result<String> {
    as_at(cluster, id, who, words)?.refused(5, "permission_denied")
}

#[test]
fn rules_hold_on_every_node_and_over_restarts() {
    story(3, |cluster| {
        issue(cluster, "alice")?;
        let hostctl = cluster.hostctl();
        // As long as there is no rule, everybody may do everything.
        as_at(cluster, 2, "alice", &["call", "set", "/apple", "red"])?.ok()?;
        let added = hostctl.ok(["policy", "allow", "alice", "read", "/app"])?;
        ensure!(added == "alice read /app\nadmin admin", "{added}");
        hostctl.ok(["policy", "allow", "alice", "call", "kv.set", "/app/own"])?;
        hostctl.ok(["call", "set", "/app/x", "1"])?;
        let check = |cluster: &Cluster| -> Result<()> {
            for id in 1..=3 {
                let may = |words: &[&str]| as_at(cluster, id, "alice", words)?.ok();
                let may_not = |words: &[&str]| denied(cluster, id, "alice", words);
                ensure!(may(&["call", "get", "/app/x"])? == "1");
                may(&["call", "set", "/app/own/y", "2"])?;
                may(&["call", "mget", "/app/x", "/app/own/y"])?;
                may(&["member", "list"])?;
                may(&["commands"])?;
                // A rule for /app is none for /apple, for both at once, or for all keys.
                may_not(&["call", "get", "/apple"])?;
                may_not(&["call", "mget", "/app/x", "/apple"])?;
                may_not(&["call", "dbsize"])?;
                may_not(&["call", "set", "/app/x", "3"])?;
                may_not(&["call", "ticket"])?;
                may_not(&["status"])?;
                may_not(&["plugin", "list"])?;
                may_not(&["policy", "show"])?;
                may_not(&["policy", "allow", "alice", "admin"])?;
                may_not(&["member", "remove", "3"])?;
                may_not(&["log", "show"])?;
            }
            Ok(())
        };
        check(cluster)?;
        for id in 1..=3 {
            cluster.node(id)?.stop(PATIENCE)?;
            cluster.restart(id)?;
        }
        cluster.wait_voters(3)?;
        check(cluster)?;
        let told = denied(cluster, 1, "alice", &["call", "get", "/apple"])?;
        let way = "hostctl policy allow alice call kv.get /apple";
        ensure!(told.contains(way), "{told}");
        hostctl.ok(["policy", "revoke", "alice", "read", "/app"])?;
        for id in 1..=3 {
            denied(cluster, id, "alice", &["call", "get", "/app/x"])?;
        }
        // Somebody whom no rule names is nobody.
        issue(cluster, "bob")?;
        denied(cluster, 2, "bob", &["member", "list"])?;
        Ok(())
    });
}

#[test]
fn an_admin_is_not_locked_out_by_mistake() {
    story(1, |cluster| {
        issue(cluster, "boss")?;
        let hostctl = cluster.hostctl();
        hostctl.ok(["policy", "allow", "boss", "admin"])?;
        let told = hostctl
            .run(["policy", "revoke", "admin", "admin"])?
            .refused(4, "rejected")?;
        ensure!(told.contains("let another admin do it"), "{told}");
        as_at(cluster, 1, "boss", &["policy", "revoke", "admin", "admin"])?.ok()?;
        denied(cluster, 1, "admin", &["status"])?;
        as_at(cluster, 1, "boss", &["status"])?.ok()?;
        for bad in [
            &["policy", "allow", "x", "fly"][..],
            &["policy", "allow", "x", "read"],
            &["policy", "allow", "x", "call", "get"],
        ] {
            let told = as_at(cluster, 1, "boss", bad)?.refused(2, "usage")?;
            ensure!(told.contains("read PATH"), "{told}");
        }
        as_at(cluster, 1, "boss", &["policy", "revoke", "x", "observe"])?
            .refused(4, "not_found")?;
        Ok(())
    });
}

#[test]
fn admin_actions_and_refusals_are_noted_without_values() {
    story(1, |cluster| {
        issue(cluster, "mallory")?;
        let hostctl = cluster.hostctl();
        hostctl.ok(["policy", "allow", "alice", "read", "/app"])?;
        let secret = hostctl.ok(["user", "add", "carol"])?;
        denied(cluster, 1, "mallory", &["call", "set", "/app/k", "hush"])?;
        hostctl
            .run(["member", "demote", "1"])?
            .refused(3, "invalid_argument")?;
        wait_for("four lines", PATIENCE, || {
            audit(cluster, 1).is_ok_and(|lines| lines.len() >= 4)
        })?;
        let noted: Vec<[String; 3]> = audit(cluster, 1)?
            .iter()
            .map(|line| {
                let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                [word("identity"), word("what"), word("outcome")]
            })
            .collect();
        let expected = [
            ["admin", "policy allow alice read /app", "done"],
            ["admin", "user add carol", "done"],
            ["mallory", "kv.set", "refused"],
            ["admin", "member demote 1", "failed"],
        ];
        ensure!(noted == expected, "{noted:#?}");
        let lines = audit(cluster, 1)?;
        let refused = lines[2]["reason"].as_str().unwrap_or_default();
        ensure!(refused.contains("mallory"), "{refused}");
        let from = lines[2]["from"].as_str().unwrap_or_default();
        ensure!(from.starts_with("127.0.0.1:"), "{from}");
        // Whoever is refused does not fill the file.
        let long = "k".repeat(100_000);
        let told = denied(cluster, 1, "mallory", &["call", "get", &long])?;
        ensure!(told.len() < 1_000, "{} bytes", told.len());
        wait_for("five lines", PATIENCE, || {
            audit(cluster, 1).is_ok_and(|lines| lines.len() >= 5)
        })?;
        let lines = audit(cluster, 1)?;
        ensure!(lines[4].to_string().len() < 2_000, "{}", lines[4]);
        let everything = format!("{lines:?}{}", cluster.node(1)?.log_since_start());
        for value in ["hush", &secret] {
            ensure!(!everything.contains(value), "{value} is told: {everything}");
        }
        Ok(())
    });
}

#[test]
fn a_cluster_begins_with_the_rules_of_a_file() {
    story(0, |cluster| {
        let file = cluster.directory().join("rules");
        let start = |cluster: &mut Cluster, rules: &str| -> Result<cluster_tests::Launch> {
            std::fs::write(&file, rules)?;
            let mut launch = cluster.launch(1)?;
            launch.flags = vec!["--policy".into(), file.display().to_string()];
            Ok(launch)
        };
        // Nobody could change these.
        for (rules, why) in [
            ("alice /app read\n", "makes anybody admin"),
            ("admin admin\nalice fly\n", "line 2"),
        ] {
            let launch = start(cluster, rules)?;
            let node = cluster.spawn(launch)?;
            let code = node.wait_exit(PATIENCE)?;
            let log = node.log_since_start();
            ensure!(code == Some(2) && log.contains(why), "{code:?}: {log}");
            cluster.forget(1);
        }
        let launch = start(cluster, "# who may\n\nadmin admin\nalice /app read\n")?;
        cluster.start(launch)?;
        issue(cluster, "alice")?;
        let shown = cluster.hostctl().ok(["policy", "show"])?;
        ensure!(shown == "admin admin\nalice read /app", "{shown}");
        as_at(cluster, 1, "alice", &["call", "get", "/app/x"])?.ok()?;
        denied(cluster, 1, "alice", &["call", "get", "/x"])?;
        // It is for the beginning only.
        cluster
            .hostctl()
            .ok(["policy", "revoke", "alice", "read", "/app"])?;
        cluster.node(1)?.stop(PATIENCE)?;
        cluster.restart(1)?;
        let shown = cluster.hostctl().ok(["policy", "show"])?;
        ensure!(shown == "admin admin", "{shown}");
        Ok(())
    });
}

#[test]
fn a_node_needs_a_rule_once_there_are_rules_about_nodes() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        hostctl.ok(["policy", "allow", "node-2", "peer"])?;
        cluster.grow_to(2)?;
        let launch = cluster.launch_joining(3)?;
        let node = cluster.spawn(launch)?;
        let code = node.wait_exit(PATIENCE)?;
        let log = node.log_since_start();
        let way = "hostctl policy allow node-3 peer";
        ensure!(code == Some(1) && log.contains(way), "{code:?}: {log}");
        hostctl.ok(["policy", "allow", "node-3", "peer"])?;
        cluster.restart(3)?;
        cluster.wait_voters(3)?;
        Ok(())
    });
}

/// Over HTTP, a user is who has its secret; an admin changes rules there too.
#[test]
fn users_prove_who_they_are_over_http() {
    story(1, |cluster| {
        let hostctl = cluster.hostctl();
        let address = cluster.address(1)?;
        let secret = |name: &str| -> Result<String> {
            Ok(format!("Bearer {}", hostctl.ok(["user", "add", name])?))
        };
        let (alice, boss) = (secret("alice")?, secret("boss")?);
        let ask = |who: &str, method: &str, path: &str, body: &str| {
            let headers = [("Authorization", who), ("Content-Type", "application/json")];
            http::ask(&address, method, path, &headers, body.as_bytes())
        };
        hostctl.ok(["policy", "allow", "boss", "admin"])?;
        let allow = r#"{"allow": ["alice write /app"]}"#;
        let changed = ask(&boss, "POST", "/v1/policy", allow)?;
        ensure!(changed.status == 200, "{changed:?}");
        ensure!(changed.json()?["changed"][0] == "alice write /app");
        let denied = ask(&alice, "POST", "/v1/policy", allow)?;
        ensure!(denied.status == 403, "{denied:?}");

        let set = |who: &str, key: &str| {
            let body = format!(r#"["{key}", "1"]"#);
            Ok::<_, anyhow::Error>(ask(who, "POST", "/v1/call/kv/set", &body)?.status)
        };
        ensure!(set(&alice, "/app/x")? == 200);
        ensure!(set(&alice, "/apple")? == 403);
        ensure!(set("Bearer nobody's", "/app/x")? == 401);
        // There are rules, and none is about who proves nothing.
        let nobody = http::call(&address, "kv/set", r#"["/app/x", "1"]"#)?;
        ensure!(nobody.status == 401, "{nobody:?}");
        hostctl.ok(["user", "remove", "alice"])?;
        ensure!(set(&alice, "/app/x")? == 401);
        let odd = ask(&boss, "POST", "/v1/policy", r#"{"allow": ["alice fly"]}"#)?;
        ensure!(
            odd.status == 400 && odd.text().contains("read PATH"),
            "{odd:?}"
        );
        Ok(())
    });
}
