//! What a connection speaks, told by its first bytes.

/// A protocol that a TCP connection can begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// A TLS handshake record (RFC 8446, section 5.1).
    Tls,
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// The Redis protocol, or one of its inline commands.
    Resp,
}

/// A handshake's content type.
const TLS_HANDSHAKE: u8 = 0x16;

/// What these bytes are the beginning of; `None` until that can be told. An inline command such as
/// `GET key` looks like HTTP up to the end of its line, and a method may be any word (RFC 9110, section
/// 9.1), so a line that begins with a letter is waited for. One of more than `line_bytes_max` is taken
/// for HTTP, which refuses it.
pub(crate) fn sniff(begun: &[u8], line_bytes_max: usize) -> Option<Spoken> {
    let first = *begun.first()?;
    if first == TLS_HANDSHAKE {
        return Some(Spoken::Tls);
    }
    if !first.is_ascii_alphabetic() {
        return Some(Spoken::Resp);
    }
    match begun.iter().position(|byte| *byte == b'\n') {
        Some(end) if is_request_line(&begun[..end]) => Some(Spoken::Http),
        Some(_) => Some(Spoken::Resp),
        None if begun.len() > line_bytes_max => Some(Spoken::Http),
        None => None,
    }
}

/// Whether a line ends in a version of HTTP, as every request line does (RFC 9112, section 3).
fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.rsplit(|byte| *byte == b' ').next();
    version.is_some_and(|version| version.starts_with(b"HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_told_apart_by_their_first_line() {
        let told = |bytes: &str| sniff(bytes.as_bytes(), 64);
        assert_eq!(told(""), None);
        assert_eq!(sniff(&[0x16, 3, 1], 64), Some(Spoken::Tls));
        assert_eq!(told("*1\r\n$4\r\nPING\r\n"), Some(Spoken::Resp));
        assert_eq!(told("PING\r\n"), Some(Spoken::Resp));
        assert_eq!(told("P"), None);
        assert_eq!(told("PIN"), None);
        assert_eq!(told("GET"), None);
        assert_eq!(told("GET\r\n"), Some(Spoken::Resp));
        assert_eq!(told("GET key"), None);
        assert_eq!(told("GET key\r\n"), Some(Spoken::Resp));
        assert_eq!(told("GET / HTTP/1.1\r\n"), Some(Spoken::Http));
        assert_eq!(told("GET / HTTP/1.1\n"), Some(Spoken::Http));
        assert_eq!(told("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(Spoken::Http));
        assert_eq!(told("QUERY / HTTP/1.1\r\n"), Some(Spoken::Http));
        assert_eq!(told("set k HTTP\r\n"), Some(Spoken::Resp));
        let long = format!("GET /{}", "x".repeat(64));
        assert_eq!(told(&long), Some(Spoken::Http));
    }
}
