//! What happens meanwhile, for a person: on standard error, apart from the results.

/// Prints a line.
pub(crate) fn say(line: &str) {
    eprintln!("bench: {line}");
}
