//! `cargo xtask fuzz`: libFuzzer over the targets of `tests/fuzz`, guided by coverage.
//!
//! hostd's own crates are built once more, with counters; everything they depend on is the normal
//! build's. Stable Rust has the flags for that; they are added by this program, which stands in for
//! rustc where cargo builds crates of the workspace (`RUSTC_WORKSPACE_WRAPPER`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{target_directory, workspace_root};

use crate::{plugins, run};

/// Set for rustc: this program is called in its place, and this is libFuzzer's archive.
const AS_RUSTC: &str = "HOSTD_FUZZ_LIBFUZZER";

/// Counters at every edge, and the operands of comparisons.
const COUNTING: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// `cargo xtask fuzz`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which targets; all when none is named
    targets: Vec<String>,
    /// Lists the targets and what must hold for each
    #[arg(long)]
    list: bool,
    /// How long for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Draws the same inputs again, as far as the machine is as fast; another each time if not given
    #[arg(long)]
    seed: Option<u32>,
    /// Runs one input, in place of fuzzing
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Makes a failing input smaller, in place of fuzzing
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    minimise: Option<PathBuf>,
    /// Afterwards adds the inputs that reach further than those of `tests/fuzz/corpus` to them
    #[arg(long)]
    keep: bool,
}

/// Fuzzes.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = build()?;
    let known = targets(&program)?;
    if options.list {
        for Known { name, what, .. } in &known {
            println!("{name:<14} {what}");
        }
        return Ok(());
    }
    let chosen = chosen(&options.targets, &known)?;
    if let Some(file) = &options.replay {
        return one_file(&program, &chosen, file, &["-runs=1"]);
    }
    if let Some(file) = &options.minimise {
        let seconds = format!("-max_total_time={}", options.seconds);
        let smaller = file.with_extension("smaller");
        let to = format!("-exact_artifact_path={}", smaller.display());
        return one_file(
            &program,
            &chosen,
            file,
            &["-minimize_crash=1", &seconds, &to],
        );
    }
    let mut failed = Vec::new();
    for target in &chosen {
        let mut fuzzed = fuzz(&program, target, options);
        if options.keep {
            fuzzed = fuzzed.and_then(|()| keep(&program, target));
        }
        if let Err(error) = fuzzed {
            eprintln!("error: {error:#}");
            failed.push(target.name.as_str());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// A target, as the driver tells it.
#[derive(Clone)]
struct Known {
    name: String,
    bytes_max: String,
    what: String,
}

fn chosen(names: &[String], known: &[Known]) -> Result<Vec<Known>> {
    if names.is_empty() {
        return Ok(known.to_vec());
    }
    let find = |name: &String| {
        let found = known.iter().find(|target| target.name == *name);
        found.cloned().with_context(|| {
            let known: Vec<_> = known.iter().map(|target| target.name.as_str()).collect();
            format!(
                "there is no target `{name}`; there are: {}",
                known.join(", ")
            )
        })
    };
    names.iter().map(find).collect()
}

/// The driver, and what it needs while it runs.
fn build() -> Result<PathBuf> {
    // Targets build the fixtures themselves where they are missing, silently and for minutes.
    plugins::build_all()?;
    let libfuzzer = libfuzzer()?;
    // With one test, for the same dependencies as everywhere; see `build::binaries`.
    let choice = [
        "--workspace",
        "--exclude",
        "xtask",
        "--bin",
        "hostd-fuzz",
        "--features",
        "hostd-fuzz/driver",
        "--test",
        "stories",
    ];
    let mut command = run::cargo(&["build", "--release"]);
    command
        .args(choice)
        .env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?)
        .env(AS_RUSTC, libfuzzer);
    run::run(&mut command)?;
    Ok(target_directory().join("release/hostd-fuzz"))
}

/// Builds libFuzzer's archive, and says where it is.
fn libfuzzer() -> Result<PathBuf> {
    let mut command = run::cargo(&["build", "--release", "--message-format", "json"]);
    command
        .arg("--manifest-path")
        .arg(workspace_root().join("tests/fuzz/libfuzzer/Cargo.toml"))
        .arg("--target-dir")
        .arg(target_directory().join("libfuzzer"));
    eprintln!("$ {}", run::as_typed(&command));
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    ensure!(
        output.status.success(),
        "libFuzzer does not build; it needs a C++ compiler (`apt-get install g++`)"
    );
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let is_built = message["reason"] == "build-script-executed"
            && message["package_id"]
                .as_str()
                .is_some_and(|id| id.contains("libfuzzer-sys"));
        if let Some(directory) = message["out_dir"].as_str().filter(|_| is_built) {
            return Ok(Path::new(directory).join("libfuzzer.a"));
        }
    }
    bail!("cargo did not say where libFuzzer was built")
}

fn targets(program: &Path) -> Result<Vec<Known>> {
    let output = Command::new(program)
        .env("HOSTD_FUZZ_TARGET", "list")
        .output()
        .with_context(|| format!("{} does not start", program.display()))?;
    let text = String::from_utf8(output.stdout)?;
    let known = |line: &str| {
        let mut parts = line.splitn(3, '\t').map(str::to_owned);
        Some(Known {
            name: parts.next()?,
            bytes_max: parts.next()?,
            what: parts.next()?,
        })
    };
    Ok(text.lines().filter_map(known).collect())
}

fn driver(program: &Path, target: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(workspace_root())
        .env("HOSTD_FUZZ_TARGET", target)
        // What plugins and machines log would be most of the work.
        .env("RUST_LOG", "off");
    command
}

fn one_file(program: &Path, targets: &[Known], file: &Path, arguments: &[&str]) -> Result<()> {
    let [Known { name, .. }] = targets else {
        bail!("name the one target that the file is for");
    };
    let file = std::env::current_dir()?.join(file);
    let mut command = driver(program, name);
    run::run(command.args(arguments).arg(file))
}

fn fuzz(program: &Path, known: &Known, options: &Options) -> Result<()> {
    let target = known.name.as_str();
    let directory = target_directory().join("fuzz");
    let corpus = directory.join("corpus").join(target);
    let failures = directory.join("failures").join(target);
    let seeds = directory.join("seeds").join(target);
    for path in [&corpus, &failures, &seeds] {
        std::fs::create_dir_all(path)?;
    }
    let mut command = driver(program, target);
    command
        .env("HOSTD_FUZZ_SEEDS", &seeds)
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-max_len={}", known.bytes_max))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        // A target's own bounds are lower; these end what it does not notice.
        .args(["-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1"])
        .args(options.seed.map(|seed| format!("-seed={seed}")))
        .arg(&corpus)
        .arg(&seeds);
    for kept in ["regressions", "corpus"] {
        let kept = workspace_root().join("tests/fuzz").join(kept).join(target);
        if kept.is_dir() {
            command.arg(&kept);
        }
    }
    let begin = SystemTime::now() - Duration::from_secs(1);
    let result = run::run(&mut command);
    if result.is_err() {
        for file in failures.read_dir()?.flatten() {
            if file.metadata()?.modified()? >= begin {
                eprintln!(
                    "to see it again: cargo xtask fuzz {target} --replay {}",
                    file.path().display()
                );
            }
        }
    }
    result
}

/// Inputs that are kept are small: many would say the same at greater length.
const KEPT_BYTES_MAX: u32 = 1024;

/// Adds what this machine has found to the committed corpus, as far as that reaches less.
fn keep(program: &Path, known: &Known) -> Result<()> {
    let found = target_directory().join("fuzz/corpus").join(&known.name);
    let kept = workspace_root().join("tests/fuzz/corpus").join(&known.name);
    std::fs::create_dir_all(&kept)?;
    let mut command = driver(program, &known.name);
    let bytes_max = format!("-max_len={KEPT_BYTES_MAX}");
    run::run(
        command
            .args(["-merge=1", &bytes_max])
            .arg(&kept)
            .arg(&found),
    )
}

/// Stands in for rustc when cargo asks for that. `None` when this is an ordinary run.
pub(crate) fn as_rustc() -> Option<ExitCode> {
    let libfuzzer = std::env::var_os(AS_RUSTC)?;
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next()?;
    let mut arguments: Vec<OsString> = arguments.collect();
    arguments.extend(extra_flags(&arguments, &libfuzzer));
    let status = Command::new(rustc).args(arguments).status();
    let code = status.ok().and_then(|status| status.code()).unwrap_or(1);
    Some(ExitCode::from(code as u8))
}

/// Counters for libraries; libFuzzer, which has the functions that these call, for programs.
fn extra_flags(arguments: &[OsString], libfuzzer: &OsString) -> Vec<OsString> {
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.to_str()
    };
    let name = after("--crate-name").unwrap_or_default();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    match after("--crate-type") {
        Some("lib") => COUNTING.iter().map(OsString::from).collect(),
        Some("bin") if !name.starts_with("build_script") => linked(libfuzzer),
        None if is_test => linked(libfuzzer),
        // Build scripts and macros run within cargo and rustc, without libFuzzer.
        _ => Vec::new(),
    }
}

/// What a program needs to link.
fn linked(libfuzzer: &OsString) -> Vec<OsString> {
    let mut archive = OsString::from("-Clink-arg=");
    archive.push(libfuzzer);
    vec![archive, "-Clink-arg=-lstdc++".into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &str) -> usize {
        let arguments: Vec<OsString> = arguments.split(' ').map(OsString::from).collect();
        extra_flags(&arguments, &"libfuzzer.a".into()).len()
    }

    #[test]
    fn libraries_count_and_programs_link_and_what_cargo_runs_does_neither() {
        assert_eq!(
            flags("--crate-name kv lib.rs --crate-type lib"),
            COUNTING.len()
        );
        assert_eq!(flags("--crate-name hostd_fuzz main.rs --crate-type bin"), 2);
        assert_eq!(flags("--crate-name stories main.rs --test"), 2);
        assert_eq!(
            flags("--crate-name macros lib.rs --crate-type proc-macro"),
            0
        );
        assert_eq!(
            flags("--crate-name build_script_build build.rs --crate-type bin"),
            0
        );
        assert_eq!(flags("-vV"), 0);
    }
}
