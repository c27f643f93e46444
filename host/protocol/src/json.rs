//! Replies as JSON, alike in `hostctl -o json` and over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::Reply;

/// A reply as JSON. Bytes that are UTF-8 become a string, others `{"base64": …}`; a map becomes an
/// object where its keys are distinct texts, otherwise an array of pairs; numbers that JSON lacks
/// become strings.
pub fn to_json(reply: &Reply) -> Value {
    match reply {
        Reply::Nil => Value::Null,
        Reply::Ok => json!("OK"),
        Reply::Integer(value) => json!(value),
        Reply::Double(value) if value.is_finite() => json!(value),
        Reply::Double(value) => json!(value.to_string()),
        Reply::Text(text) => json!(text),
        Reply::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
        },
        Reply::Array(items) => Value::Array(items.iter().map(to_json).collect()),
        Reply::Map(pairs) => object(pairs).unwrap_or_else(|| {
            let pair = |(key, value): &(Reply, Reply)| json!([to_json(key), to_json(value)]);
            Value::Array(pairs.iter().map(pair).collect())
        }),
    }
}

fn object(pairs: &[(Reply, Reply)]) -> Option<Value> {
    let mut object = Map::new();
    for (key, value) in pairs {
        let key = match key {
            Reply::Text(text) => text.clone(),
            Reply::Bytes(bytes) => String::from_utf8(bytes.clone()).ok()?,
            _ => return None,
        };
        if object.insert(key, to_json(value)).is_some() {
            return None;
        }
    }
    Some(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_replies_stay_nested() {
        let reply = Reply::Array(vec![
            Reply::Integer(1),
            Reply::Nil,
            Reply::Array(vec![Reply::Text("a".into()), Reply::Text("b".into())]),
        ]);
        assert_eq!(to_json(&reply).to_string(), r#"[1,null,["a","b"]]"#);
        let reply = Reply::Map(vec![
            (Reply::Text("length".into()), Reply::Integer(2)),
            (Reply::Bytes(b"items".to_vec()), Reply::Array(vec![Reply::Ok])),
        ]);
        assert_eq!(to_json(&reply).to_string(), r#"{"items":["OK"],"length":2}"#);
    }

    #[test]
    fn json_keeps_what_it_cannot_say_directly() {
        let bytes = to_json(&Reply::Bytes(vec![0xff, 0]));
        assert_eq!(bytes.to_string(), r#"{"base64":"/wA="}"#);
        assert_eq!(to_json(&Reply::Double(f64::NAN)), json!("NaN"));
        assert_eq!(to_json(&Reply::Double(f64::INFINITY)), json!("inf"));
        let twice = Reply::Map(vec![
            (Reply::Text("k".into()), Reply::Integer(1)),
            (Reply::Text("k".into()), Reply::Integer(2)),
        ]);
        assert_eq!(to_json(&twice).to_string(), r#"[["k",1],["k",2]]"#);
        let numbers = Reply::Map(vec![(Reply::Integer(1), Reply::Nil)]);
        assert_eq!(to_json(&numbers).to_string(), "[[1,null]]");
    }
}
