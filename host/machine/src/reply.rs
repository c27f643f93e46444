//! From the flat form that plugins return to the tree that callers get.

use hostd_protocol::{Outcome, REPLY_DEPTH_MAX, Rejection, RejectionCode, Reply};

use crate::wasm::types::Token;

/// Builds the reply of a token list in prefix order.
///
/// # Errors
/// A list that is not exactly one value, too deep or too large is the plugin's fault and
/// rejected, alike on every replica.
pub(crate) fn assemble(tokens: Vec<Token>, bytes_max: usize) -> Outcome {
    let mut tokens = tokens.into_iter();
    let reply = value(&mut tokens, 0)?;
    if tokens.next().is_some() {
        return Err(malformed());
    }
    if reply.size_bytes() > bytes_max {
        return Err(Rejection::new(
            RejectionCode::TooLarge,
            format!("the reply is larger than {bytes_max} bytes; ask for less at a time"),
        ));
    }
    Ok(reply)
}

fn value(tokens: &mut std::vec::IntoIter<Token>, depth: usize) -> Outcome {
    if depth > REPLY_DEPTH_MAX {
        return Err(malformed());
    }
    Ok(match tokens.next().ok_or_else(malformed)? {
        Token::Nil => Reply::Nil,
        Token::Ok => Reply::Ok,
        Token::Integer(value) => Reply::Integer(value),
        Token::Double(value) if value.is_nan() => Reply::Double(f64::NAN),
        Token::Double(value) => Reply::Double(value),
        Token::Text(text) => Reply::Text(text),
        Token::Bytes(bytes) => Reply::Bytes(bytes),
        // A count is not trusted with an allocation: each item costs the plugin a token.
        Token::Array(count) => {
            let items = (0..count).map(|_| value(tokens, depth + 1));
            Reply::Array(items.collect::<Result<_, _>>()?)
        }
        Token::Map(count) => {
            let pairs =
                (0..count).map(|_| Ok((value(tokens, depth + 1)?, value(tokens, depth + 1)?)));
            Reply::Map(pairs.collect::<Result<_, Rejection>>()?)
        }
    })
}

fn malformed() -> Rejection {
    Rejection::new(RejectionCode::Trapped, "the plugin's reply is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_replies_are_rebuilt() {
        let tokens = vec![
            Token::Array(2),
            Token::Map(1),
            Token::Text("a".into()),
            Token::Integer(1),
            Token::Nil,
        ];
        let expected = Reply::Array(vec![
            Reply::Map(vec![(Reply::Text("a".into()), Reply::Integer(1))]),
            Reply::Nil,
        ]);
        assert_eq!(assemble(tokens, 1000), Ok(expected));
    }

    #[test]
    fn too_few_too_many_too_deep_and_too_large_are_rejected() {
        for tokens in [
            vec![],
            vec![Token::Array(2), Token::Nil],
            vec![Token::Array(u32::MAX)],
            vec![Token::Nil, Token::Nil],
            (0..100)
                .map(|_| Token::Array(1))
                .chain([Token::Nil])
                .collect(),
        ] {
            assert_eq!(
                assemble(tokens, 1000).unwrap_err().code,
                RejectionCode::Trapped
            );
        }
        let large = assemble(vec![Token::Bytes(vec![0; 100])], 50);
        assert_eq!(large.unwrap_err().code, RejectionCode::TooLarge);
    }
}
