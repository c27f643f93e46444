//! Every target with the inputs that once failed, those that fuzzing found to reach furthest, its
//! seeds, and some made from a fixed seed.

use std::path::Path;

use hostd_fuzz::mutate::{self, Random};
use hostd_fuzz::{TARGETS, Target, find};

/// Says which input failed, and keeps it.
fn run(target: &Target, input: &[u8], origin: &str) {
    let failed = std::panic::catch_unwind(|| (target.run)(input)).is_err();
    if failed {
        let path = std::env::temp_dir().join(format!("hostd-fuzz-{}", target.name));
        std::fs::write(&path, input).expect("the directory for temporary files is written");
        panic!(
            "{} fails with {origin}; to see it again: cargo xtask fuzz {} --replay {}",
            target.name,
            target.name,
            path.display()
        );
    }
}

fn bounded(name: &str) {
    let target = find(name).expect("there is such a target");
    for kept in ["regressions", "corpus"] {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(kept);
        let Ok(files) = kept.join(name).read_dir() else {
            continue;
        };
        for file in files {
            let path = file.expect("it is listed").path();
            let input = std::fs::read(&path).expect("it is read");
            run(target, &input, &path.display().to_string());
        }
    }
    let seeds = (target.seeds)();
    for (number, seed) in seeds.iter().enumerate() {
        run(target, seed, &format!("seed {number}"));
    }
    let mut random = Random::new(1);
    for number in 0..target.inputs {
        let input = mutate::next(&mut random, &seeds, target.bytes_max);
        run(target, &input, &format!("input {number}"));
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            bounded(stringify!($name));
        })*

        #[test]
        fn every_target_is_here() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

tests! {
    protocol
    entries
    peers
    frames
    resp
    sniff
    log_record
    certificate
    arguments
    values
    http
    glob
    snapshot
    guest_memory
    upload
    calls
    script
}
