//! Whether this node can serve, told to whoever can connect: words, and nothing of what it holds.

use hostd_gateway::Check;
use hostd_protocol::Health;
use hostd_replica::Replica;

/// What must be well, each with what is wrong with it. Looks at this node alone and never waits.
pub(crate) fn checks(replica: &Replica) -> Vec<Check> {
    let health = replica.health();
    let unless = |bad: Health, problem: &str| (health == bad).then(|| problem.to_owned());
    let check = |name, problem| Check { name, problem };
    let founded = replica.cluster().is_some();
    vec![
        check(
            "member",
            (!founded).then(|| "this node belongs to no cluster yet".to_owned()),
        ),
        check("raft", replica.indecision().map(|failure| failure.message)),
        check(
            "applied",
            unless(
                Health::Lagging,
                "this node is behind the leader and catches up",
            ),
        ),
        check(
            "state",
            unless(
                Health::Quarantined,
                "this node's state differs from the majority's; start it again with --recover",
            ),
        ),
        check(
            "disk",
            unless(Health::NoSpace, "the disk is almost full; make room"),
        ),
    ]
}
