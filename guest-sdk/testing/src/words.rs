//! A call as one types it, taken apart into words.

/// Splits a line at spaces. A word in double quotes may hold spaces and the escapes `\n`, `\r`,
/// `\t`, `\"`, `\\` and `\xHH`; one in single quotes is taken as it is.
pub(crate) fn split(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.bytes().next() {
        let (word, after) = match first {
            b'"' => double_quoted(&rest[1..])?,
            b'\'' => {
                let (word, after) = rest[1..].split_once('\'').ok_or("a quote is not closed")?;
                (word.as_bytes().to_vec(), after)
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest.as_bytes()[..end].to_vec(), &rest[end..])
            }
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err("a space must follow a closing quote".into());
        }
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// A word behind its opening quote, and what follows the closing one.
fn double_quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut word = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok((word, &text[index + 1..])),
            b'\\' => {
                let escaped = bytes.next().map(|(_, byte)| byte);
                word.push(match escaped {
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(byte @ (b'"' | b'\\')) => byte,
                    Some(b'x') => {
                        let digits = text.get(index + 2..index + 4).unwrap_or("");
                        bytes.nth(1);
                        u8::from_str_radix(digits, 16)
                            .map_err(|_| format!("\\x{digits} is no byte"))?
                    }
                    _ => return Err("unknown escape".into()),
                });
            }
            byte => word.push(byte),
        }
    }
    Err("a quote is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        let words = split(r#" set  "a b\x00\n\"" 'c "d' "" x:* "#).unwrap();
        let expected: [&[u8]; 5] = [b"set", b"a b\0\n\"", b"c \"d", b"", b"x:*"];
        assert_eq!(words, expected);
        assert!(split("").unwrap().is_empty());
        for line in ["\"a", "'a", "\"a\"b", "\"\\q\"", "\"\\xg0\"", "\"\\x"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
