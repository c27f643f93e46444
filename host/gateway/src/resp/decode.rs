//! From bytes to commands: arrays of bulk strings, and lines as one types them.
//!
//! Takes bytes as they come and looks at each once. What it holds is in proportion to what has come,
//! never to what a length says is going to. It must not know what a command means, or where the bytes
//! come from.

use std::fmt::{self, Display, Formatter};

/// Bytes of a line that holds a length.
const LENGTH_LINE_MAX: usize = 32;

/// What an argument takes in memory by itself.
const ARGUMENT_BYTES: usize = 32;

/// A buffer that grew beyond this is given back once it is empty.
const KEEP_BYTES: usize = 4 << 10;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "units come last in names")]
pub(crate) struct Bounds {
    /// Words of one command, its name among them.
    pub(crate) words_max: usize,
    /// Bytes of one command. A longer one is read to its end and dropped.
    pub(crate) command_bytes_max: usize,
    /// A command that says it is longer than this is not waited for.
    pub(crate) skip_bytes_max: usize,
    /// Bytes of a command that is a line.
    pub(crate) line_bytes_max: usize,
}

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A command: one word at least.
    Command(Vec<Vec<u8>>),
    /// One that had more bytes than may be.
    TooLarge,
    /// Not all of a command yet.
    Partial,
}

/// What is no command. The connection has no use any more: where the next one begins is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The line that would be a command, or hold a length, is too long.
    Line(&'static str),
    /// A length is no number, or out of bounds.
    Length(&'static str),
    /// Another character than this one begins or ends a bulk string.
    Expected(char, u8),
    /// A quoted word of a line does not end.
    Quotes,
}

impl Display for Malformed {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(what) => write!(formatter, "too big {what}"),
            Self::Length(what) => write!(formatter, "invalid {what} length"),
            Self::Expected(expected, found) => {
                let found = char::from(*found).escape_default();
                let expected = expected.escape_default();
                write!(formatter, "expected '{expected}', got '{found}'")
            }
            Self::Quotes => formatter.write_str("unbalanced quotes in request"),
        }
    }
}

/// Finds commands in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    input: Vec<u8>,
    /// Bytes of `input` that are done with.
    passed: usize,
    /// Bytes behind them among which no line ends.
    searched: usize,
    /// The command that is coming in.
    coming: Option<Coming>,
}

#[derive(Debug)]
struct Coming {
    /// Words that have not begun yet.
    left: usize,
    words: Vec<Vec<u8>>,
    /// What it says that it takes.
    bytes: usize,
    /// What of it is kept.
    kept: usize,
    too_large: bool,
    word: Option<Word>,
}

/// A bulk string that is coming in.
#[derive(Debug)]
struct Word {
    left: usize,
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes what has come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.passed > 0 {
            self.input.drain(..self.passed);
            self.passed = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        let coming = self.coming.as_ref();
        self.input.len() - self.passed + coming.map_or(0, |coming| coming.kept)
    }

    /// The next command. To be called until it is [`Next::Partial`] before more is pushed.
    pub(crate) fn next(&mut self, bounds: &Bounds) -> Result<Next, Malformed> {
        loop {
            let found = match self.coming.take() {
                None => self.begin(bounds)?,
                Some(coming) => self.go_on(coming, bounds)?,
            };
            if let Some(found) = found {
                if found == Next::Partial && self.passed == self.input.len() {
                    self.passed = 0;
                    self.input.clear();
                    self.input.shrink_to(KEEP_BYTES);
                }
                return Ok(found);
            }
        }
    }

    /// The beginning of a command: `*` and how many words, or a whole line.
    fn begin(&mut self, bounds: &Bounds) -> Result<Option<Next>, Malformed> {
        let Some(first) = self.input.get(self.passed).copied() else {
            return Ok(Some(Next::Partial));
        };
        let (what, bytes_max) = match first {
            b'*' => ("mbulk count string", LENGTH_LINE_MAX),
            _ => ("inline request", bounds.line_bytes_max),
        };
        let Some(line) = self.line(what, bytes_max)? else {
            return Ok(Some(Next::Partial));
        };
        if first != b'*' {
            let words = split(line)?;
            return Ok((!words.is_empty()).then_some(Next::Command(words)));
        }
        let count = number(&line[1..]).ok_or(Malformed::Length("multibulk"))?;
        // As in Redis, there is nothing to do and nothing to say.
        if count <= 0 {
            return Ok(None);
        }
        let left = usize::try_from(count).unwrap_or(usize::MAX);
        if left > bounds.words_max {
            return Err(Malformed::Length("multibulk"));
        }
        self.coming = Some(Coming {
            left,
            words: Vec::with_capacity(left.min(8)),
            bytes: 0,
            kept: 0,
            too_large: false,
            word: None,
        });
        Ok(None)
    }

    /// What follows of a command.
    fn go_on(&mut self, mut coming: Coming, bounds: &Bounds) -> Result<Option<Next>, Malformed> {
        let Some(word) = &mut coming.word else {
            if coming.left == 0 {
                return Ok(Some(if coming.too_large {
                    Next::TooLarge
                } else {
                    Next::Command(coming.words)
                }));
            }
            let length = self.bulk_length(bounds)?;
            if let Some(length) = length {
                coming.expect(length, bounds)?;
            }
            self.coming = Some(coming);
            return Ok(length.is_none().then_some(Next::Partial));
        };
        let come = &self.input[self.passed..];
        let count = come.len().min(word.left);
        if !coming.too_large {
            word.bytes.extend_from_slice(&come[..count]);
            coming.kept += count;
        }
        word.left -= count;
        self.passed += count;
        let ended = match come.get(count..count + 2) {
            Some(b"\r\n") if word.left == 0 => true,
            Some(&[found, _]) if word.left == 0 => return Err(Malformed::Expected('\n', found)),
            _ => false,
        };
        if ended {
            self.passed += 2;
            let bytes = std::mem::take(&mut word.bytes);
            coming.word = None;
            if !coming.too_large {
                coming.words.push(bytes);
            }
        }
        self.coming = Some(coming);
        Ok((!ended).then_some(Next::Partial))
    }

    /// The length of the bulk string that begins here.
    fn bulk_length(&mut self, bounds: &Bounds) -> Result<Option<usize>, Malformed> {
        match self.input.get(self.passed) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(Malformed::Expected('$', *other)),
        }
        let Some(line) = self.line("bulk count string", LENGTH_LINE_MAX)? else {
            return Ok(None);
        };
        let length = number(&line[1..]).and_then(|length| usize::try_from(length).ok());
        length
            .filter(|length| *length <= bounds.skip_bytes_max)
            .map(Some)
            .ok_or(Malformed::Length("bulk"))
    }

    /// A whole line, without its end.
    fn line(&mut self, what: &'static str, bytes_max: usize) -> Result<Option<&[u8]>, Malformed> {
        let rest = &self.input[self.passed..];
        let end = rest[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| end + self.searched) else {
            self.searched = rest.len();
            return if rest.len() > bytes_max {
                Err(Malformed::Line(what))
            } else {
                Ok(None)
            };
        };
        if end > bytes_max {
            return Err(Malformed::Line(what));
        }
        self.searched = 0;
        self.passed += end + 1;
        let line = &rest[..end];
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

impl Coming {
    /// A bulk string of this length comes next.
    fn expect(&mut self, length: usize, bounds: &Bounds) -> Result<(), Malformed> {
        self.left -= 1;
        self.bytes += length + ARGUMENT_BYTES;
        self.kept += ARGUMENT_BYTES;
        if self.bytes > bounds.skip_bytes_max {
            return Err(Malformed::Length("bulk"));
        }
        if self.bytes > bounds.command_bytes_max {
            self.too_large = true;
            self.words = Vec::new();
            self.kept = 0;
        }
        self.word = Some(Word {
            left: length,
            bytes: Vec::with_capacity(if self.too_large {
                0
            } else {
                length.min(1 << 10)
            }),
        });
        Ok(())
    }
}

/// A decimal number, as lengths are written.
fn number(digits: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = text.strip_prefix('-').unwrap_or(text);
    plain
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The words of a line. Quoted as Redis has it: `"\x00\n"` with escapes, `'…'` with `\'` alone.
fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(words);
        }
        let mut word = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            if byte.is_ascii_whitespace() {
                break;
            }
            rest = match byte {
                b'"' | b'\'' => quoted(byte, after, &mut word)?,
                _ => {
                    word.push(byte);
                    after
                }
            };
        }
        words.push(word);
    }
}

/// Reads up to the closing quote, behind which a word must end. Returns what follows.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    loop {
        let (byte, length) = match (rest, quote) {
            ([], _) => return Err(Malformed::Quotes),
            ([end, after @ ..], _) if *end == quote => {
                let ends = after.first().is_none_or(u8::is_ascii_whitespace);
                return if ends {
                    Ok(after)
                } else {
                    Err(Malformed::Quotes)
                };
            }
            ([b'\\', b'\'', ..], b'\'') => (b'\'', 2),
            ([b'\\', b'x', high, low, ..], b'"')
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), 4)
            }
            ([b'\\', escaped, ..], b'"') => (unescaped(*escaped), 2),
            ([byte, ..], _) => (*byte, 1),
        };
        word.push(byte);
        rest = &rest[length..];
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        words_max: 10,
        command_bytes_max: 200,
        skip_bytes_max: 1_000,
        line_bytes_max: 64,
    };

    /// Everything in these bytes, which come so many at a time.
    fn decoded(bytes: &[u8], step: usize) -> Result<Vec<Next>, Malformed> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            loop {
                match decoder.next(&BOUNDS)? {
                    Next::Partial => break,
                    next => found.push(next),
                }
            }
        }
        Ok(found)
    }

    /// The same, however the bytes are cut.
    fn all(bytes: &[u8]) -> Result<Vec<Next>, Malformed> {
        let whole = decoded(bytes, bytes.len());
        for step in 1..bytes.len() {
            let cut = decoded(bytes, step);
            assert_eq!(cut, whole, "{step} at a time");
        }
        whole
    }

    fn command(words: &[&str]) -> Next {
        Next::Command(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[test]
    fn commands_come_out_however_they_are_cut() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*0\r\n\r\n*-1\r\n*1\r\n$0\r\n\r\nset k \"a\\x41\\n\"\n";
        let expected = vec![
            command(&["GET", "k"]),
            command(&["PING"]),
            command(&[""]),
            command(&["set", "k", "aA\n"]),
        ];
        assert_eq!(all(bytes), Ok(expected));
    }

    #[test]
    fn one_that_is_too_large_is_passed_over() {
        let mut bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300\r\n".to_vec();
        bytes.extend([b'x'; 300]);
        bytes.extend(b"\r\nPING\r\n");
        assert_eq!(all(&bytes), Ok(vec![Next::TooLarge, command(&["PING"])]));
    }

    #[test]
    fn what_is_no_command_is_found_at_once() {
        let refused = |bytes: &[u8]| all(bytes).unwrap_err().to_string();
        assert_eq!(refused(b"*1\r\n$1073741824\r\n"), "invalid bulk length");
        assert_eq!(refused(b"*1\r\n$-1\r\n"), "invalid bulk length");
        assert_eq!(refused(b"*1\r\n*1\r\n"), "expected '$', got '*'");
        assert_eq!(refused(b"*11\r\n"), "invalid multibulk length");
        assert_eq!(refused(b"*+1\r\n"), "invalid multibulk length");
        assert_eq!(refused(b"*1\r\n$1\r\nabc\r\n"), "expected '\\n', got 'b'");
        assert_eq!(refused(b"set \"a\r\n"), "unbalanced quotes in request");
        assert_eq!(refused(b"set 'a'b\r\n"), "unbalanced quotes in request");
        assert_eq!(refused(&[b'x'; 100]), "too big inline request");
        assert_eq!(refused(&[b'*'; 100]), "too big mbulk count string");
    }

    #[test]
    fn what_is_held_is_what_has_come() {
        let mut decoder = Decoder::default();
        decoder.push(b"*2\r\n$150\r\n");
        assert_eq!(decoder.next(&BOUNDS), Ok(Next::Partial));
        assert!(decoder.held() < 64);
        decoder.push(&[b'x'; 100]);
        assert_eq!(decoder.next(&BOUNDS), Ok(Next::Partial));
        assert!((100..200).contains(&decoder.held()));
    }
}
