//! What takes too long to compile is no plugin, on every node alike; and nobody compiles twice.
#![allow(missing_docs)]

mod common;

#[path = "../../../tests/fixtures/costly.rs"]
mod costly;

use std::sync::Arc;

use common::{component, engine};
use hostd_machine::{CompileError, PluginError};

#[test]
fn what_would_take_long_is_refused_before_it_is_compiled() {
    let mut costly = 0;
    for (name, component) in costly::bombs() {
        match engine().compile(&component) {
            Err(CompileError::Plugin(PluginError::Resources(why))) => {
                costly += usize::from(why.starts_with("compiling it would hold up the nodes"));
            }
            // Its data is out of bounds, which shows when an instance is made.
            Err(CompileError::Plugin(PluginError::MissingExport(_)))
                if name == "data-out-of-bounds" => {}
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("{name} is a plugin"),
        }
        let found = engine().inspect(&component).unwrap();
        assert!(!found.problems.is_empty(), "{name}");
    }
    assert_eq!(costly, 6);
}

/// A version may be activated while this node still makes it ready.
#[test]
fn whoever_asks_while_a_component_is_compiled_waits_for_that() {
    let tally = component("tests/fixtures/tally");
    let slow = costly::beside(&tally, &costly::slow());
    let threads = [0, 1, 2].map(|_| {
        let slow = slow.clone();
        std::thread::spawn(move || engine().compile(&slow).unwrap())
    });
    let [first, others @ ..] = threads.map(|thread| thread.join().unwrap());
    for other in others {
        assert!(Arc::ptr_eq(&first, &other));
    }
}
