//! Replies, changes, commands and plugins as JSON, alike in `hostctl -o json` and over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::{
    Access, Argument, ArgumentKind, ArgumentType, Change, ChangeEvent, CommandDescription,
    PluginInfo, PresentKey, Reply, Revision,
};

/// A reply as JSON. Bytes that are UTF-8 become a string, others `{"base64": …}`; a map becomes an
/// object where its keys are distinct texts, otherwise an array of pairs; numbers that JSON lacks
/// become strings.
pub fn of_reply(reply: &Reply) -> Value {
    match reply {
        Reply::Nil => Value::Null,
        Reply::Ok => json!("OK"),
        Reply::Integer(value) => json!(value),
        Reply::Double(value) if value.is_finite() => json!(value),
        Reply::Double(value) => json!(value.to_string()),
        Reply::Text(text) => json!(text),
        Reply::Bytes(bytes) => of_bytes(bytes),
        Reply::Array(items) => Value::Array(items.iter().map(of_reply).collect()),
        Reply::Map(pairs) => object(pairs).unwrap_or_else(|| {
            let pair = |(key, value): &(Reply, Reply)| json!([of_reply(key), of_reply(value)]);
            Value::Array(pairs.iter().map(pair).collect())
        }),
    }
}

/// Bytes as JSON: a string where they are UTF-8, else `{"base64": …}`.
pub fn of_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// A change as JSON: `revision`, `plugin`, `type`, and by type `key` and `value`, or `topic` and
/// `payload`.
pub fn of_change(revision: Revision, change: &Change) -> Value {
    let (kind, words): (_, Vec<(&str, &[u8])>) = match &change.event {
        ChangeEvent::Put { key, value } => ("put", vec![("key", key), ("value", value)]),
        ChangeEvent::Delete {
            key,
            expired: false,
        } => ("delete", vec![("key", key)]),
        ChangeEvent::Delete { key, expired: true } => ("expired", vec![("key", key)]),
        ChangeEvent::Published { topic, payload } => (
            "publish",
            vec![("topic", topic.as_bytes()), ("payload", payload)],
        ),
        ChangeEvent::Renewed => ("renewed", vec![]),
    };
    line(revision, &change.plugin, kind, &words)
}

/// A key as it is, as JSON of the type `present`.
pub fn of_present(key: &PresentKey) -> Value {
    let words: [(&str, &[u8]); 2] = [("key", &key.key), ("value", &key.value)];
    line(key.revision, &key.plugin, "present", &words)
}

fn line(revision: Revision, plugin: &str, kind: &str, words: &[(&str, &[u8])]) -> Value {
    let mut line = json!({
        "revision": revision.to_string(),
        "plugin": plugin,
        "type": kind,
    });
    for (name, bytes) in words {
        line[name] = of_bytes(bytes);
    }
    line
}

fn object(pairs: &[(Reply, Reply)]) -> Option<Value> {
    let mut object = Map::new();
    for (key, value) in pairs {
        let key = match key {
            Reply::Text(text) => text.clone(),
            Reply::Bytes(bytes) => String::from_utf8(bytes.clone()).ok()?,
            _ => return None,
        };
        if object.insert(key, of_reply(value)).is_some() {
            return None;
        }
    }
    Some(Value::Object(object))
}

/// Everything that a plugin says about a command.
pub fn of_command(command: &CommandDescription) -> Value {
    let access = match command.access {
        Access::Read => "read",
        Access::Write => "write",
    };
    json!({
        "name": command.name,
        "usage": command.usage(),
        "access": access,
        "summary": command.summary,
        "details": command.details,
        "examples": command.examples,
        "arguments": command.arguments.iter().map(of_argument).collect::<Vec<_>>(),
    })
}

fn of_argument(argument: &Argument) -> Value {
    let (kind, keyword) = match &argument.kind {
        ArgumentKind::Required => ("required", None),
        ArgumentKind::Optional => ("optional", None),
        ArgumentKind::Repeated => ("repeated", None),
        ArgumentKind::Keyword(keyword) => ("keyword", Some(keyword)),
        ArgumentKind::Flag(keyword) => ("flag", Some(keyword)),
    };
    let value = match argument.value {
        ArgumentType::Integer => "integer",
        ArgumentType::Double => "double",
        ArgumentType::Text => "text",
        ArgumentType::Bytes => "bytes",
    };
    json!({
        "name": argument.name,
        "kind": kind,
        "keyword": keyword,
        "value": value,
        "is_key": argument.is_key,
        "secret": argument.secret,
    })
}

/// A plugin with its versions, and its commands as [`of_command`] has them.
pub fn of_plugin(plugin: &PluginInfo) -> Value {
    let mut value = json!(plugin);
    if let Some(description) = &plugin.description {
        let commands = description.commands.iter();
        value["description"]["commands"] = commands.map(of_command).collect();
    }
    value
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
        assert_eq!(of_reply(&reply).to_string(), r#"[1,null,["a","b"]]"#);
        let reply = Reply::Map(vec![
            (Reply::Text("length".into()), Reply::Integer(2)),
            (
                Reply::Bytes(b"items".to_vec()),
                Reply::Array(vec![Reply::Ok]),
            ),
        ]);
        assert_eq!(
            of_reply(&reply).to_string(),
            r#"{"items":["OK"],"length":2}"#
        );
    }

    #[test]
    fn a_change_names_what_it_is_and_of_what() {
        let change = Change {
            plugin: "kv".into(),
            event: ChangeEvent::Put {
                key: b"a"[..].into(),
                value: vec![0xff, 0].into(),
            },
        };
        assert_eq!(
            of_change(Revision::start_of(7), &change).to_string(),
            r#"{"key":"a","plugin":"kv","revision":"7-0","type":"put","value":{"base64":"/wA="}}"#
        );
    }

    #[test]
    fn json_keeps_what_it_cannot_say_directly() {
        let bytes = of_reply(&Reply::Bytes(vec![0xff, 0]));
        assert_eq!(bytes.to_string(), r#"{"base64":"/wA="}"#);
        assert_eq!(of_reply(&Reply::Double(f64::NAN)), json!("NaN"));
        assert_eq!(of_reply(&Reply::Double(f64::INFINITY)), json!("inf"));
        let twice = Reply::Map(vec![
            (Reply::Text("k".into()), Reply::Integer(1)),
            (Reply::Text("k".into()), Reply::Integer(2)),
        ]);
        assert_eq!(of_reply(&twice).to_string(), r#"[["k",1],["k",2]]"#);
        let numbers = Reply::Map(vec![(Reply::Integer(1), Reply::Nil)]);
        assert_eq!(of_reply(&numbers).to_string(), "[[1,null]]");
    }
}
