//! Why a connection ended: the codes hostd closes with, and how to read whatever else happened.

use quinn::{Connection, ConnectionError, VarInt};

/// Application error codes of hostd's connections. The reason next to the code is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Done; nothing is wrong.
    Done = 0,
    /// The other side sent what cannot be a message.
    Malformed = 1,
    /// The certificate is valid but does not allow this.
    Refused = 2,
    /// As many connections as there may be; try another node.
    Overloaded = 3,
    /// The node is going away; try another.
    ShuttingDown = 4,
    /// A frame so large that it is not even skipped.
    TooLarge = 5,
    /// The other side did not read its answers for too long.
    Stalled = 6,
}

impl Close {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Malformed,
        Self::Refused,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::TooLarge,
        Self::Stalled,
    ];

    /// The code on the wire.
    pub fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// The meaning of a code from the wire.
    pub fn from_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|close| close.code() == code)
    }

    /// Closes a connection for this reason.
    pub fn close(self, connection: &Connection, reason: &str) {
        connection.close(self.code(), reason.as_bytes());
    }
}

/// Why a connection ended, or could not be made, as far as what to do next depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// One side does not accept the other's certificate. Trying again changes nothing.
    Credentials(String),
    /// The other side closed it and said why.
    Closed(Close, String),
    /// The network, or the other side's process, is gone; or this side gave up.
    Lost(String),
}

impl Ended {
    /// Reads quinn's error.
    pub fn new(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                match Close::from_code(close.error_code) {
                    Some(Close::Refused) => Self::Credentials(reason),
                    Some(code) => Self::Closed(code, reason),
                    None => Self::Lost(format!("closed with code {}: {reason}", close.error_code)),
                }
            }
            ConnectionError::ConnectionClosed(close) => match alert(close.error_code.into()) {
                Some(alert) => Self::Credentials(theirs(alert)),
                None => Self::Lost(error.to_string()),
            },
            ConnectionError::TransportError(own) => match alert(own.code.into()) {
                // The alert is this side's; the words are the verifier's.
                Some(_) => Self::Credentials(format!(
                    "the other side's certificate is not accepted: {}",
                    own.reason
                )),
                None => Self::Lost(error.to_string()),
            },
            other => Self::Lost(other.to_string()),
        }
    }

    /// One line for a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Credentials(message) | Self::Closed(_, message) | Self::Lost(message) => message,
        }
    }
}

/// The TLS alert in a QUIC error code (RFC 9001, section 4.8).
fn alert(code: u64) -> Option<u8> {
    (0x100..0x200)
        .contains(&code)
        .then(|| u8::try_from(code & 0xff).expect("masked to eight bits"))
}

/// What the other side means by an alert (RFC 8446, section 6.2).
fn theirs(alert: u8) -> String {
    let why = match alert {
        42 | 43 | 46 | 51 => "it does not accept this certificate",
        44 => "this certificate is revoked",
        45 => "this certificate is expired",
        48 => "this certificate is not of its authority",
        116 => "it demands a certificate",
        120 => "it does not speak this protocol; is it a hostd of this version?",
        other => return format!("the other side refused the handshake with TLS alert {other}"),
    };
    format!("the other side refused the handshake: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_back() {
        for close in Close::ALL {
            assert_eq!(Close::from_code(close.code()), Some(close));
        }
        assert_eq!(Close::from_code(VarInt::from_u32(99)), None);
    }
}
