//! A member whose data is gone comes back under its number, with an empty directory.

mod support;

use std::time::Duration;

use hostd_protocol::{MemberChange, NodeId};
use hostd_replica::Replica;
use support::{
    cluster::{Cluster, address, join},
    directory_of, equal_states, soon, ticket, ticket_by, until, until_voters,
};
use tokio::time::Instant;

/// A node with this number whose directory is empty.
async fn start_anew(cluster: &Cluster, id: NodeId) -> Replica {
    let directory = directory_of(cluster.root.path(), id);
    std::fs::rename(&directory, directory.with_extension("aside")).unwrap();
    let directory = directory_of(cluster.root.path(), id);
    cluster.start_in(id, &directory, true).await
}

async fn stop(replica: Replica) {
    replica.shutdown().await;
    drop(replica);
}

async fn lead(replica: &Replica, by: &Replica) {
    until("the wanted node leads", async || {
        let change = MemberChange::Transfer(Some(replica.id()));
        drop(by.change_membership(change, soon()).await);
        replica.leadership().borrow().here
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_data_comes_back_under_its_number() {
    let cluster = Cluster::new();
    let [first, second, third] = cluster.three().await;
    let before = ticket(&first).await.unwrap();
    // Whether it led or not.
    lead(&third, &first).await;
    stop(third).await;
    let third = start_anew(&cluster, 3).await;
    third.form(join(&[1, 2], false)).await.unwrap();
    until_voters(&third, 3).await;
    assert!(ticket(&third).await.unwrap() > before);
    equal_states(&[&first, &second, &third]).await;

    // It is the member now: it needs no flag any more, and the others agree on that.
    stop(third).await;
    let third = cluster.start(3).await;
    third.form(join(&[1, 2], false)).await.unwrap();
    equal_states(&[&first, &second, &third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_lost_its_data_stays_a_learner() {
    let cluster = Cluster::new();
    let [first, second, third] = cluster.three().await;
    first
        .change_membership(MemberChange::Demote(3), soon())
        .await
        .unwrap();
    stop(third).await;
    let third = start_anew(&cluster, 3).await;
    third.form(join(&[1, 2], false)).await.unwrap();
    equal_states(&[&first, &second, &third]).await;
    // Learners that are to vote become voters in the order of their numbers.
    let fourth = cluster.start(4).await;
    fourth.form(join(&[1], false)).await.unwrap();
    let votes = |id| {
        let members = first.members();
        members.iter().any(|node| node.id == id && node.voter)
    };
    until("a new node votes", async || votes(4)).await;
    assert!(!votes(3), "{:?}", first.members());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_of_the_others_it_waits_and_votes_for_nothing() {
    let cluster = Cluster::new();
    let [first, second, third] = cluster.three().await;
    ticket(&first).await.unwrap();
    stop(second).await;
    stop(third).await;
    let third = start_anew(&cluster, 3).await;
    let forming = tokio::spawn({
        let third = third.clone();
        async move { third.form(join(&[1, 2], false)).await }
    });
    // With the vote that is gone, node 1 would have a majority.
    let within = Instant::now() + Duration::from_secs(3);
    ticket_by(&first, within).await.unwrap_err();
    assert!(!third.is_initialized(), "nobody can have taken it in");
    assert!(!forming.is_finished());

    let second = cluster.start(2).await;
    forming.await.unwrap().unwrap();
    until_voters(&third, 3).await;
    equal_states(&[&first, &second, &third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_learns_from_a_leader_that_was_replaced_meanwhile() {
    let cluster = Cluster::new();
    let [first, second, third] = cluster.three().await;
    let fourth = cluster.start(4).await;
    fourth.form(join(&[1], false)).await.unwrap();
    until_voters(&fourth, 4).await;
    // A learner, so that the others are a majority while both are away.
    first
        .change_membership(MemberChange::Demote(4), soon())
        .await
        .unwrap();
    stop(fourth).await;
    stop(third).await;
    let third = start_anew(&cluster, 3).await;
    third.form(join(&[1, 2], false)).await.unwrap();
    until("the one that came back votes", async || {
        let members = first.members();
        members.iter().filter(|member| member.voter).count() == 3
    })
    .await;
    // It is a member like any other by now.
    stop(third).await;
    let third = cluster.start(3).await;
    lead(&third, &first).await;
    ticket(&third).await.unwrap();
    let fourth = cluster.start(4).await;
    equal_states(&[&first, &second, &third, &fourth]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_member_was_removed_is_asked_of_the_others() {
    let cluster = Cluster::new();
    let [first, second, third] = cluster.three().await;
    assert!(!third.is_removed(vec![address(1), address(2)]).await);
    stop(third).await;
    first
        .change_membership(MemberChange::Remove(3), soon())
        .await
        .unwrap();
    let third = cluster.start(3).await;
    until("the others say that it was removed", async || {
        third.is_removed(Vec::new()).await
    })
    .await;
    assert!(!first.is_removed(vec![address(3)]).await);
    stop(third).await;
    let third = start_anew(&cluster, 3).await;
    third.form(join(&[1, 2], false)).await.unwrap();
    until_voters(&third, 3).await;
    equal_states(&[&first, &second, &third]).await;
}
