//! How the program ends when something is wrong: `code: message` on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use hostd_pki::PkiError;
use hostd_protocol::{CallError, Failure, FailureCode, Rejection, RejectionCode};

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The call was answered with an error, or not answered.
    Call(CallError),
    /// The credentials that a call needs cannot be used.
    Credentials(PkiError),
    /// A command of `pki` failed.
    Pki(PkiError),
    /// What was asked for cannot be understood or found.
    Usage(String),
    /// A plugin's crate does not build.
    Build(String),
    /// A version fares otherwise than the one that runs.
    Differs(String),
    /// Tests failed.
    Failed(String),
    /// Writing the output failed, or a file or the system did not do.
    Io(io::Error),
}

impl Exit {
    /// A command that this version does not have.
    pub(crate) fn not_built(command: &str) -> Self {
        let message = format!("`hostctl {command}` is not built yet");
        Self::Call(Failure::new(FailureCode::Unsupported, message).into())
    }

    /// What was given is not what it should be.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Call(Failure::new(FailureCode::InvalidArgument, message).into())
    }

    /// Tells the user and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (code, message, exit) = match &self {
            Self::Call(error) => (error.code(), message(error), error.exit_code()),
            // Whoever asks a server has one that made its directory: another authority is of no use.
            Self::Credentials(PkiError::NoDirectory(directory)) => (
                "unauthenticated",
                format!(
                    "no pki directory at {}: name the one of the cluster's node, DATA/pki, with --pki or HOSTCTL_PKI",
                    directory.display()
                ),
                5,
            ),
            Self::Credentials(error) => ("unauthenticated", error.to_string(), 5),
            Self::Pki(error @ (PkiError::ClientName(_) | PkiError::NodeId)) => {
                ("usage", error.to_string(), 2)
            }
            Self::Pki(error) => ("pki", error.to_string(), 1),
            Self::Usage(message) => ("usage", message.clone(), 2),
            Self::Build(message) => ("build", message.clone(), 1),
            Self::Differs(message) => ("differs", message.clone(), 4),
            Self::Failed(message) => ("failed", message.clone(), 1),
            // Whoever read the output has enough of it.
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Io(error) => ("io", error.to_string(), 1),
        };
        // With standard error gone too, the exit code is all that is left to say.
        let _ = writeln!(io::stderr(), "{code}: {message}");
        ExitCode::from(exit)
    }
}

/// The message, with the plugin's own code where it has one and the message does not begin with it.
fn message(error: &CallError) -> String {
    let message = error.message();
    match error {
        CallError::Rejected(Rejection {
            code: RejectionCode::Rejected(own),
            ..
        }) if !own.is_empty() && !message.starts_with(own.as_str()) => {
            // Redis's way with its own codes, such as WRONGTYPE; others are words like ours.
            let colon = if own.contains(|of: char| of.is_lowercase()) {
                ":"
            } else {
                ""
            };
            format!("{own}{colon} {message}")
        }
        _ => message.to_owned(),
    }
}

impl From<CallError> for Exit {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
