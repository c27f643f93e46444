//! Whether each test that `docs/features.md` names exists.

use std::path::PathBuf;

use cluster_tests::workspace_root;

const TABLES: &str = "docs/features.md";

/// The file that a test's name tells, and its function.
fn place(name: &str) -> (PathBuf, &str) {
    let (module, function) = name.rsplit_once("::").expect("a module and a function");
    let file = if module.contains('/') {
        workspace_root().join(module)
    } else {
        let module = module.replace("::", "/");
        workspace_root().join(format!("tests/cluster/stories/{module}.rs"))
    };
    (file, function)
}

#[test]
fn every_feature_has_its_test() {
    let text = std::fs::read_to_string(workspace_root().join(TABLES)).expect("it is there");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
        let [feature, _from, tests] = cells[..] else {
            return None;
        };
        tests.contains("::").then_some((feature.trim(), tests))
    });
    let mut named = 0;
    for (feature, tests) in rows {
        for name in tests.split('`').filter(|part| part.contains("::")) {
            let (file, function) = place(name);
            let source = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                source.contains(&format!("fn {function}()")),
                "{TABLES} names {name} for {feature:?}, which is not in {}",
                file.display()
            );
            named += 1;
        }
    }
    assert!(named > 30, "{named} tests are named");
}
