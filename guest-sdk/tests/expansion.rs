//! What `#[plugin]` makes of every shape of command, without a host: commands here use neither
//! state nor clock.

use hostd_sdk::bindings::Guest;
use hostd_sdk::bindings::hostd::plugin::types::{
    Access, ArgumentKind, ArgumentType, Command, Token,
};
use hostd_sdk::prelude::*;

struct Shapes;

/// Every shape
/// of command.
///
/// Not a part of the summary.
#[plugin(name = "shapes", version = "1.2.3", state_version = 3, reads = [1, 2], groups = [More])]
impl Shapes {
    /// Shows a call.
    ///
    /// With details.
    #[write(example = "call a 1", example = "call a 1 b EX 2 NX")]
    fn call(
        _ctx: &mut Context,
        key: Key,
        input: &[u8],
        word: Option<&str>,
        #[keyword("EX")] seconds: Option<i64>,
        #[flag("NX")] only_new: bool,
    ) -> String {
        let input = input.escape_ascii();
        format!(
            "{} {input} {word:?} {seconds:?} {only_new}",
            key.escape_ascii()
        )
    }

    /// Adds numbers.
    #[read]
    fn sum(_view: &View, numbers: Vec<i64>) -> i64 {
        numbers.iter().sum()
    }

    /// Counts pairs.
    #[read]
    fn count_pairs(#[names("key", "value")] pairs: &[(Key, Vec<u8>)]) -> usize {
        pairs.len()
    }

    /// Refuses.
    #[read]
    fn refuse(#[key] name: String) -> Result<()> {
        Err(Rejection::new("NO", name))
    }

    /// Has a name that is a word of Rust, and says so.
    #[read(name = "type")]
    fn of_type(r#match: f64) -> f64 {
        Self::twice(r#match)
    }

    fn twice(number: f64) -> f64 {
        number * 2.0
    }

    #[wake]
    fn wake(_ctx: &Context, id: &str) -> Result<()> {
        if id == "bad" {
            return Err(Rejection::not_found("bad timer"));
        }
        Ok(())
    }

    #[migrate]
    fn migrate(_ctx: &Context, from_version: u32, cursor: &[u8]) -> Option<Vec<u8>> {
        (cursor.len() < from_version as usize).then(|| [cursor, b"x"].concat())
    }
}

pub(crate) struct More;

#[commands]
impl More {
    /// Says hello.
    #[read]
    fn hello() -> &'static str {
        "hello"
    }
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// The reply of a command that answers with one value.
fn value(result: Result<Vec<Token>>) -> Token {
    let mut tokens = result.expect("the command succeeds");
    assert_eq!(tokens.len(), 1);
    tokens.remove(0)
}

fn text(result: Result<Vec<Token>>) -> String {
    match value(result) {
        Token::Text(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

fn call(arguments: &[&str]) -> Result<Vec<Token>> {
    <Shapes as Guest>::apply("call".into(), words(arguments))
}

fn query(command: &str, arguments: &[&str]) -> Result<Vec<Token>> {
    <Shapes as Guest>::query(command.into(), words(arguments))
}

fn described(name: &str) -> Command {
    let commands = <Shapes as Guest>::describe().commands;
    let found = commands.into_iter().find(|command| command.name == name);
    found.expect("the command is described")
}

#[test]
fn arguments_reach_the_method() {
    assert_eq!(text(call(&["k", "v"])), "k v None None false");
    assert_eq!(text(call(&["k", "v", "w"])), "k v Some(\"w\") None false");
    assert_eq!(
        text(call(&["k", "v", "nx", "ex", "5"])),
        "k v None Some(5) true"
    );
    assert_eq!(
        text(call(&["k", "v", "w", "EX", "5", "NX"])),
        "k v Some(\"w\") Some(5) true"
    );
    assert!(matches!(
        value(query("sum", &["1", "-2", "4"])),
        Token::Integer(3)
    ));
    assert!(matches!(
        value(query("count-pairs", &["a", "1", "b", "2"])),
        Token::Integer(2)
    ));
    assert!(matches!(value(query("type", &["1.5"])), Token::Double(3.0)));
    assert_eq!(text(query("hello", &[])), "hello");
}

#[test]
fn bad_calls_are_refused() {
    for arguments in [&[][..], &["k"]] {
        assert!(matches!(call(arguments), Err(Rejection::WrongArity(_))));
    }
    for arguments in [
        &["k", "v", "w", "x"][..],
        &["k", "v", "EX"],
        &["k", "v", "EX", "1", "EX", "2"],
        &["k", "v", "NX", "NX"],
        &["k", "v", "EX", "soon"],
    ] {
        assert!(
            matches!(call(arguments), Err(Rejection::InvalidArgument(_))),
            "{arguments:?}"
        );
    }
    assert!(matches!(
        query("hello", &["x"]),
        Err(Rejection::WrongArity(_))
    ));
    assert!(matches!(query("sum", &[]), Err(Rejection::WrongArity(_))));
    assert!(matches!(
        query("sum", &["1", "x"]),
        Err(Rejection::InvalidArgument(_))
    ));
    assert!(matches!(
        query("count-pairs", &["a"]),
        Err(Rejection::WrongArity(_))
    ));
    assert!(
        matches!(query("refuse", &["x"]), Err(Rejection::Rejected(refusal)) if refusal.code == "NO")
    );
}

#[test]
fn a_write_is_no_query_and_a_read_no_write() {
    assert!(query("call", &["k", "v"]).is_err());
    assert!(<Shapes as Guest>::apply("sum".into(), words(&["1"])).is_err());
}

#[test]
fn the_plugin_describes_itself() {
    let description = <Shapes as Guest>::describe();
    assert_eq!(description.name, "shapes");
    assert_eq!(description.version, "1.2.3");
    assert_eq!(description.summary, "Every shape of command.");
    assert_eq!(description.state_version, 3);
    assert_eq!(description.reads_state_versions, [1, 2]);
    let names: Vec<_> = description
        .commands
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["call", "sum", "count-pairs", "refuse", "type", "hello"]
    );
}

#[test]
fn commands_describe_their_arguments() {
    let call = described("call");
    assert!(matches!(call.access, Access::Write));
    assert_eq!(call.summary, "Shows a call.");
    assert_eq!(call.details, "With details.");
    assert_eq!(call.examples, ["call a 1", "call a 1 b EX 2 NX"]);
    let [key, input, word, seconds, only_new] = call.arguments.try_into().expect("five arguments");
    assert!(key.is_key && matches!(key.kind, ArgumentKind::Required));
    assert!(!input.is_key && matches!(input.value, ArgumentType::Bytes));
    assert!(matches!(word.kind, ArgumentKind::Optional) && word.name == "word");
    assert!(matches!(word.value, ArgumentType::Text));
    assert!(matches!(seconds.kind, ArgumentKind::Keyword(keyword) if keyword == "EX"));
    assert!(matches!(seconds.value, ArgumentType::Integer));
    assert!(matches!(only_new.kind, ArgumentKind::Flag(keyword) if keyword == "NX"));

    let [key, value] = described("count-pairs")
        .arguments
        .try_into()
        .expect("two arguments");
    assert!(matches!(key.kind, ArgumentKind::Repeated) && key.is_key && key.name == "key");
    assert!(matches!(value.kind, ArgumentKind::Repeated) && !value.is_key);

    assert!(described("refuse").arguments[0].is_key);
    assert_eq!(described("type").arguments[0].name, "match");
}

#[test]
fn handlers_are_called() {
    assert!(<Shapes as Guest>::wake(b"good".to_vec()).is_ok());
    assert!(<Shapes as Guest>::wake(b"bad".to_vec()).is_err());
    let migrate = |cursor: &[u8]| <Shapes as Guest>::migrate(2, cursor.to_vec()).unwrap();
    assert_eq!(migrate(b"").as_deref(), Some(b"x".as_slice()));
    assert_eq!(migrate(b"xx"), None);
}

#[derive(Debug, PartialEq, hostd_sdk::StateValue)]
enum Shape {
    Point,
    Circle(u32),
    Named { name: String, sides: Vec<i64> },
}

#[derive(Debug, PartialEq, hostd_sdk::StateValue)]
struct Drawing {
    title: String,
    shapes: Vec<Shape>,
}

#[test]
fn derived_values_come_back() {
    use hostd_sdk::state::{EncodeValue as _, StateValue as _};

    let drawing = Drawing {
        title: "all".into(),
        shapes: vec![
            Shape::Point,
            Shape::Circle(7),
            Shape::Named {
                name: "triangle".into(),
                sides: vec![3, 4, 5],
            },
        ],
    };
    let stored = drawing.to_stored().into_owned();
    assert_eq!(Drawing::from_stored(stored), Some(drawing));
    assert_eq!(Shape::from_stored(vec![3]), None);
    assert_eq!(Shape::from_stored(vec![]), None);
}
