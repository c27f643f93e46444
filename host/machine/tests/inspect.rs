//! A look at a component finds all that is wrong with it, and something exactly when a node would
//! refuse it.
#![allow(missing_docs)]

mod common;

use common::{engine, hostile, hostile_named};
use hostd_machine::PluginError;

#[test]
fn nothing_is_wrong_with_a_plugin() {
    let found = engine().inspect(&hostile()).unwrap();
    assert_eq!(found.problems, []);
    assert_eq!(found.description.unwrap().name, "hostile");
}

#[test]
fn a_description_that_cannot_be_used_is_told_and_shown() {
    let found = engine().inspect(&hostile_named("Hostile")).unwrap();
    let [PluginError::Description(what)] = found.problems.as_slice() else {
        panic!("{:?}", found.problems);
    };
    assert!(what.contains("Hostile"), "{what}");
    assert_eq!(found.description.unwrap().name, "Hostile");
}

#[test]
fn every_export_that_is_missing_is_named() {
    let found = engine().inspect(b"\0asm\x0d\0\x01\0").unwrap();
    let missing = [
        "describe",
        "apply",
        "query",
        "wake",
        "migrate",
        "migrate-key",
    ]
    .map(PluginError::MissingExport);
    assert_eq!(found.problems, missing);
    assert!(found.description.is_none());
}

#[test]
fn a_look_is_of_one_mind_with_a_node() {
    let whole = hostile();
    let step = whole.len() / 50;
    for length in (0..whole.len()).step_by(step) {
        let cut = &whole[..length];
        let found = engine().inspect(cut).unwrap();
        assert_eq!(
            found.problems.is_empty(),
            engine().compile(cut).is_ok(),
            "{length} bytes"
        );
    }
}
