//! Log lines, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::options::{LogFormat, LogLevel};

/// Starts logging. Libraries speak at `warn` and above, hostd and plugins at `level`.
pub fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let own = [
        "hostd",
        "hostd_gateway",
        "hostd_machine",
        "hostd_pki",
        "hostd_replica",
        "plugin",
        "audit",
    ];
    let library_level = if matches!(level, "debug" | "trace") {
        "info"
    } else {
        "error"
    };
    let filter = own
        .iter()
        .fold(EnvFilter::new(library_level), |filter, target| {
            filter.add_directive(
                format!("{target}={level}")
                    .parse()
                    .expect("targets and levels are valid"),
            )
        });
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => subscriber.with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
