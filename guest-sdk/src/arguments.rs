//! From a call's arguments to a command's parameters.
//!
//! A caller's arguments are bytes in a row; the parameters of a command say how to read them.
//! The expansion of `#[plugin]` takes them off the front of [`Arguments`] one by one, without
//! copying.

use core::ops::Deref;
use std::vec;

pub use crate::bindings::hostd::plugin::types::ArgumentType;
use crate::describe::CommandInfo;
use crate::{Rejection, Result};

/// A type that an argument can be read as.
pub trait Argument: Sized {
    /// What callers are told.
    const TYPE: ArgumentType;
    /// Whether it names a key of the plugin's state.
    const IS_KEY: bool = false;

    /// Reads an argument; `None` when it does not have this type or is out of its range.
    fn parse(bytes: Vec<u8>) -> Option<Self>;
}

/// An argument that names a key of the plugin's state, for access rules and watches. Any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<u8>);

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Key(bytes)
    }
}

impl Argument for Key {
    const TYPE: ArgumentType = ArgumentType::Bytes;
    const IS_KEY: bool = true;

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        Some(Key(bytes))
    }
}

impl Argument for Vec<u8> {
    const TYPE: ArgumentType = ArgumentType::Bytes;

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        Some(bytes)
    }
}

impl Argument for String {
    const TYPE: ArgumentType = ArgumentType::Text;

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        String::from_utf8(bytes).ok()
    }
}

impl Argument for i64 {
    const TYPE: ArgumentType = ArgumentType::Integer;

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        parse_integer(&bytes)
    }
}

macro_rules! smaller_integers {
    ($($type:ty)*) => {$(
        impl Argument for $type {
            const TYPE: ArgumentType = ArgumentType::Integer;

            fn parse(bytes: Vec<u8>) -> Option<Self> {
                Self::try_from(parse_integer(&bytes)?).ok()
            }
        }
    )*};
}

// `u64` up to the largest `i64`: callers know one kind of integer.
smaller_integers!(i32 u16 u32 u64 usize);

impl Argument for f64 {
    const TYPE: ArgumentType = ArgumentType::Double;

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let number: f64 = core::str::from_utf8(&bytes).ok()?.parse().ok()?;
        (!number.is_nan()).then_some(number)
    }
}

/// Reads a decimal number in its only form: no plus sign, no spaces, no leading zeros. Redis's
/// `string2ll` takes the same.
pub(crate) fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    // Counted downwards, where there is room for one more.
    let mut number = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_sub(i64::from(digit - b'0'))?;
    }
    if negative {
        Some(number)
    } else {
        number.checked_neg()
    }
}

/// How a plugin words its refusals of bad arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// As hostd does everywhere: the argument's name, and the usage line.
    Plain,
    /// As Redis does, for plugins that Redis clients talk to: `ERR syntax error`.
    Redis,
}

/// The arguments of a call, taken off the front one by one.
#[derive(Debug)]
pub struct Arguments {
    rest: vec::IntoIter<Vec<u8>>,
    errors: Errors,
    /// The command that takes them, once it is known.
    command: &'static CommandInfo,
}

// What takes arguments is never inlined: a plugin's commands call it dozens of times.
impl Arguments {
    pub(crate) fn new(arguments: Vec<Vec<u8>>, errors: Errors) -> Self {
        const UNKNOWN: CommandInfo = CommandInfo::unknown();
        Self {
            rest: arguments.into_iter(),
            errors,
            command: &UNKNOWN,
        }
    }

    /// Names the command that takes the arguments, for its error messages.
    pub fn begin(&mut self, command: &'static CommandInfo) {
        self.command = command;
    }

    /// Takes an argument that must be there.
    #[inline(never)]
    pub fn required<T: Argument>(&mut self, name: &'static str) -> Result<T> {
        match self.rest.next() {
            Some(bytes) => self.parse(bytes, name),
            None => Err(self.wrong_arity()),
        }
    }

    /// Takes an argument that may be missing. One of the `keywords` is not it.
    #[inline(never)]
    pub fn optional<T: Argument>(
        &mut self,
        name: &'static str,
        keywords: &[&str],
    ) -> Result<Option<T>> {
        match self.rest.as_slice().first() {
            Some(next) if !keywords.iter().any(|keyword| is_keyword(next, keyword)) => {
                self.required(name).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Takes all arguments that are left, at least one.
    #[inline(never)]
    pub fn repeated<T: Argument>(&mut self, name: &'static str) -> Result<Vec<T>> {
        if self.rest.len() == 0 {
            return Err(self.wrong_arity());
        }
        let mut items = Vec::with_capacity(self.rest.len());
        while let Some(bytes) = self.rest.next() {
            items.push(self.parse(bytes, name)?);
        }
        Ok(items)
    }

    /// Takes all arguments that are left as groups, at least one.
    #[inline(never)]
    pub fn groups<T: ArgumentGroup>(&mut self, names: T::Names) -> Result<Vec<T>> {
        let count = self.rest.len();
        if count == 0 || !count.is_multiple_of(T::LENGTH) {
            return Err(self.wrong_arity());
        }
        let mut groups = Vec::with_capacity(count / T::LENGTH);
        while self.rest.len() > 0 {
            groups.push(T::take(self, names)?);
        }
        Ok(groups)
    }

    /// Takes what should be a keyword.
    pub fn word(&mut self) -> Option<Vec<u8>> {
        self.rest.next()
    }

    /// Takes the value of a keyword.
    #[inline(never)]
    pub fn keyword<T: Argument>(
        &mut self,
        value: &mut Option<T>,
        name: &'static str,
    ) -> Result<()> {
        match self.rest.next() {
            Some(bytes) if value.is_none() => *value = Some(self.parse(bytes, name)?),
            _ => return Err(self.bad_syntax()),
        }
        Ok(())
    }

    /// Notes a flag.
    #[inline(never)]
    pub fn flag(&mut self, given: &mut bool) -> Result<()> {
        if core::mem::replace(given, true) {
            return Err(self.bad_syntax());
        }
        Ok(())
    }

    /// Fails when arguments are left.
    pub fn finish(&mut self) -> Result<()> {
        if self.rest.len() > 0 {
            return Err(self.wrong_arity());
        }
        Ok(())
    }

    fn parse<T: Argument>(&self, bytes: Vec<u8>, name: &'static str) -> Result<T> {
        T::parse(bytes).ok_or_else(|| self.invalid(name, T::TYPE))
    }

    /// Too few or too many arguments.
    #[cold]
    fn wrong_arity(&self) -> Rejection {
        let message = match self.errors {
            Errors::Plain => {
                format!("wrong number of arguments; usage: {}", self.command.usage)
            }
            Errors::Redis => {
                format!(
                    "wrong number of arguments for '{}' command",
                    self.command.name
                )
            }
        };
        Rejection::wrong_arity(message)
    }

    /// Something that is no keyword of the command, a keyword twice, or one without its value.
    #[cold]
    pub fn bad_syntax(&self) -> Rejection {
        match self.errors {
            Errors::Plain => Rejection::invalid_argument(format!(
                "keywords are unknown, repeated or without a value; usage: {}",
                self.command.usage
            )),
            Errors::Redis => Rejection::new("ERR", "syntax error"),
        }
    }

    /// An argument that does not have its type. It is not quoted: it may be a secret.
    #[cold]
    fn invalid(&self, name: &str, kind: ArgumentType) -> Rejection {
        if self.errors == Errors::Redis {
            let message = match kind {
                ArgumentType::Integer => "value is not an integer or out of range",
                ArgumentType::Double => "value is not a valid float",
                ArgumentType::Text | ArgumentType::Bytes => "invalid UTF-8",
            };
            return Rejection::new("ERR", message);
        }
        let wanted = match kind {
            ArgumentType::Integer => "an integer in range",
            ArgumentType::Double => "a number",
            ArgumentType::Text => "text in UTF-8",
            ArgumentType::Bytes => "valid",
        };
        Rejection::invalid_argument(format!(
            "`{name}` must be {wanted}; usage: {}",
            self.command.usage
        ))
    }
}

/// Whether a word is a keyword, in any case.
pub fn is_keyword(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// Arguments that alternate: `key value [key value ...]`.
pub trait ArgumentGroup: Sized {
    /// How many arguments are a group.
    const LENGTH: usize;
    /// Their names.
    type Names: Copy;

    /// Takes a group, whose arguments are there.
    fn take(arguments: &mut Arguments, names: Self::Names) -> Result<Self>;
}

impl<A: Argument, B: Argument> ArgumentGroup for (A, B) {
    const LENGTH: usize = 2;
    type Names = [&'static str; 2];

    fn take(arguments: &mut Arguments, [a, b]: Self::Names) -> Result<Self> {
        Ok((arguments.required(a)?, arguments.required(b)?))
    }
}

impl<A: Argument, B: Argument, C: Argument> ArgumentGroup for (A, B, C) {
    const LENGTH: usize = 3;
    type Names = [&'static str; 3];

    fn take(arguments: &mut Arguments, [a, b, c]: Self::Names) -> Result<Self> {
        Ok((
            arguments.required(a)?,
            arguments.required(b)?,
            arguments.required(c)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SET: CommandInfo = CommandInfo {
        name: "set",
        usage: "set key value [EX seconds] [NX]",
        ..CommandInfo::unknown()
    };

    fn arguments(words: &[&str], errors: Errors) -> Arguments {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut arguments = Arguments::new(words, errors);
        arguments.begin(&SET);
        arguments
    }

    fn plain(words: &[&str]) -> Arguments {
        arguments(words, Errors::Plain)
    }

    #[test]
    fn integers_have_one_form() {
        for (text, number) in [
            ("0", 0),
            ("7", 7),
            ("-12", -12),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(i64::parse(text.into()), Some(number), "{text}");
        }
        for text in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-0",
            "1.0",
            "0x1",
            "abc",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(i64::parse(text.into()), None, "{text}");
        }
        assert_eq!(u32::parse("4294967296".into()), None);
        assert_eq!(u64::parse("-1".into()), None);
        assert_eq!(u64::parse("5".into()), Some(5));
    }

    #[test]
    fn doubles_are_numbers() {
        assert_eq!(f64::parse("1e3".into()), Some(1000.0));
        assert_eq!(f64::parse("-inf".into()), Some(f64::NEG_INFINITY));
        assert_eq!(f64::parse("nan".into()), None);
        assert_eq!(f64::parse("one".into()), None);
    }

    #[test]
    fn a_missing_argument_gets_the_usage_line() {
        let mut arguments = plain(&["k"]);
        let _: Key = arguments.required("key").unwrap();
        let Err(Rejection::WrongArity(message)) = arguments.required::<Key>("value") else {
            panic!("it is missing");
        };
        assert_eq!(
            message,
            "wrong number of arguments; usage: set key value [EX seconds] [NX]"
        );
    }

    #[test]
    fn an_optional_argument_is_not_a_keyword() {
        assert_eq!(plain(&[]).optional::<Key>("from", &["EX"]).unwrap(), None);
        assert_eq!(
            plain(&["ex"]).optional::<Key>("from", &["EX"]).unwrap(),
            None
        );
        assert_eq!(
            plain(&["x"]).optional::<Key>("from", &["EX"]).unwrap(),
            Some(Key(b"x".to_vec()))
        );
    }

    #[test]
    fn groups_must_be_whole() {
        let pairs = plain(&["a", "1", "b", "2"]).groups::<(String, i64)>(["key", "value"]);
        assert_eq!(pairs.unwrap(), [("a".into(), 1), ("b".into(), 2)]);
        for words in [&[][..], &["a"], &["a", "1", "b"]] {
            let pairs = plain(words).groups::<(String, i64)>(["key", "value"]);
            assert!(matches!(pairs, Err(Rejection::WrongArity(_))), "{words:?}");
        }
    }

    #[test]
    fn a_keyword_is_given_once_and_with_its_value() {
        let mut seconds = None;
        let mut input = plain(&["5", "6"]);
        input.keyword::<i64>(&mut seconds, "seconds").unwrap();
        assert_eq!(seconds, Some(5));
        assert!(input.keyword(&mut seconds, "seconds").is_err());
        assert!(plain(&[]).keyword::<i64>(&mut None, "seconds").is_err());
        let mut flag = false;
        plain(&[]).flag(&mut flag).unwrap();
        assert!(plain(&[]).flag(&mut flag).is_err());
    }

    #[test]
    fn an_invalid_argument_is_named_but_not_quoted() {
        let Err(Rejection::InvalidArgument(message)) = plain(&["secret"]).required::<i64>("amount")
        else {
            panic!("it is no number");
        };
        assert!(
            message.starts_with("`amount` must be an integer"),
            "{message}"
        );
        assert!(!message.contains("secret"));
    }

    #[test]
    fn redis_wording() {
        let redis = |words: &[&str]| arguments(words, Errors::Redis);
        let Err(Rejection::WrongArity(arity)) = redis(&[]).required::<Key>("key") else {
            panic!("it is missing");
        };
        assert_eq!(arity, "wrong number of arguments for 'set' command");
        let refused = |rejection| match rejection {
            Rejection::Rejected(refusal) => (refusal.code, refusal.message),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(redis(&["x"]).required::<i64>("n").unwrap_err()),
            (
                "ERR".into(),
                "value is not an integer or out of range".into()
            )
        );
        assert_eq!(
            refused(redis(&[]).bad_syntax()),
            ("ERR".into(), "syntax error".into())
        );
    }
}
