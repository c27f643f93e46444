//! What a call is answered that has no reply: the code first, as Redis's clients expect it.

use hostd_protocol::{CallError, Failure, FailureCode, Rejection, RejectionCode};

/// What is known of a call that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The command, as the client wrote it, where a plugin may not have it.
    pub(crate) command: Option<&'a str>,
    /// It may have had an effect.
    pub(crate) writes: bool,
}

/// Code and message.
pub(crate) fn line(error: &CallError, asked: Asked<'_>) -> String {
    match error {
        CallError::Rejected(rejection) => rejected(rejection, asked),
        CallError::Failed(failure) => failed(failure, asked),
    }
}

/// The first word of an error is its code when it is all capitals; else the code is `ERR`.
pub(crate) fn with_code(message: &str) -> String {
    let first = message.split(' ').next().unwrap_or_default();
    let is_code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let capital = first
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_uppercase());
    if capital && first.bytes().all(is_code) {
        message.to_owned()
    } else {
        format!("ERR {message}")
    }
}

fn rejected(rejection: &Rejection, asked: Asked<'_>) -> String {
    let Rejection { code, message } = rejection;
    match code {
        RejectionCode::UnknownCommand => match asked.command {
            Some(command) if !message.starts_with("several ") => unknown(command),
            _ => format!("ERR {message}"),
        },
        RejectionCode::WrongArity => beginning("wrong number of arguments", message),
        RejectionCode::InvalidArgument => beginning("invalid", message),
        RejectionCode::Rejected(own) => with_code(&format!("{own} {message}")),
        RejectionCode::SessionFull | RejectionCode::Migrating => format!("BUSY {message}"),
        RejectionCode::PermissionDenied => format!("NOPERM {message}"),
        code => format!("ERR {} {message}", code.as_str()),
    }
}

fn failed(failure: &Failure, asked: Asked<'_>) -> String {
    let Failure { code, message, .. } = failure;
    match code {
        FailureCode::Unauthenticated => no_authentication().into(),
        FailureCode::PermissionDenied => format!("NOPERM {message}"),
        FailureCode::InvalidArgument => beginning("invalid", message),
        FailureCode::NoLeader | FailureCode::NoQuorum => format!("CLUSTERDOWN {message}"),
        // Clients send again what was answered CLUSTERDOWN. That is not for what may have happened.
        FailureCode::Timeout if !asked.writes => format!("CLUSTERDOWN {message}"),
        FailureCode::Overloaded => format!("BUSY {message}"),
        code => format!("ERR {} {message}", code.as_str()),
    }
}

/// No plugin, and nothing built in, has the command.
pub(crate) fn unknown(command: &str) -> String {
    let shown: String = command.chars().take(128).collect();
    format!("ERR unknown command '{shown}'")
}

/// What a client is told that has not proved who it is.
pub(crate) fn no_authentication() -> &'static str {
    "NOAUTH Authentication required."
}

fn beginning(with: &str, message: &str) -> String {
    if message.starts_with(with) {
        format!("ERR {message}")
    } else {
        format!("ERR {with}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_code_that_clients_know() {
        let told = |error: CallError, writes| {
            let command = Some("Foo");
            line(&error, Asked { command, writes })
        };
        let rejected = |code, message: &str| told(Rejection::new(code, message).into(), true);
        use RejectionCode as R;
        assert_eq!(
            rejected(R::UnknownCommand, "x"),
            "ERR unknown command 'Foo'"
        );
        assert_eq!(
            rejected(R::Rejected("ERR".into()), "syntax error"),
            "ERR syntax error"
        );
        assert_eq!(
            rejected(R::Rejected("WRONGTYPE".into()), "no"),
            "WRONGTYPE no"
        );
        assert_eq!(
            rejected(R::Rejected("sold-out".into()), "no"),
            "ERR sold-out no"
        );
        assert_eq!(
            rejected(R::FuelExhausted, "too long"),
            "ERR fuel_exhausted too long"
        );
        assert_eq!(rejected(R::TooLarge, "no"), "ERR too_large no");
        assert_eq!(rejected(R::PermissionDenied, "no"), "NOPERM no");
        assert_eq!(
            rejected(R::InvalidArgument, "x is no number"),
            "ERR invalid: x is no number"
        );
        let failed = |code, writes| told(Failure::new(code, "why").into(), writes);
        assert_eq!(failed(FailureCode::NoLeader, true), "CLUSTERDOWN why");
        assert_eq!(failed(FailureCode::Timeout, false), "CLUSTERDOWN why");
        assert_eq!(failed(FailureCode::Timeout, true), "ERR timeout why");
        assert_eq!(failed(FailureCode::Overloaded, true), "BUSY why");
        assert_eq!(failed(FailureCode::NoSpace, true), "ERR no_space why");
        assert_eq!(failed(FailureCode::PermissionDenied, true), "NOPERM why");
    }
}
