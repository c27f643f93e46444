//! One ordered iteration over several layers.

use std::iter::Peekable;

use super::{Key, Row};
use crate::Fault;

/// The rows of one layer, in order; `None` is a removed row.
pub(crate) type Source<'a> = Box<dyn Iterator<Item = Result<(Key, Option<Row>), Fault>> + 'a>;

/// Merges layers given newest first. Where several have a key, the newest decides.
pub(crate) struct Merge<'a> {
    sources: Vec<Peekable<Source<'a>>>,
    reverse: bool,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(sources: Vec<Source<'a>>, reverse: bool) -> Self {
        Self {
            sources: sources.into_iter().map(Iterator::peekable).collect(),
            reverse,
        }
    }

    /// The next key of any layer with the newest layer's word on it.
    fn advance(&mut self) -> Option<Result<(Key, Option<Row>), Fault>> {
        let mut first: Option<(usize, Key)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            match source.peek() {
                None => {}
                Some(Err(_)) => return source.next(),
                Some(Ok((key, _))) => {
                    let earlier = first.as_ref().is_none_or(|(_, best)| {
                        if self.reverse { key > best } else { key < best }
                    });
                    if earlier {
                        first = Some((index, Key::clone(key)));
                    }
                }
            }
        }
        let (index, key) = first?;
        let item = self.sources[index].next();
        for source in &mut self.sources[index + 1..] {
            while source
                .next_if(|next| matches!(next, Ok((other, _)) if *other == key))
                .is_some()
            {}
        }
        item
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<(Key, Row), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance()? {
                Ok((key, Some(row))) => return Some(Ok((key, row))),
                Ok((_, None)) => {}
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Revision;

    fn layer(rows: &[(&str, Option<&str>)], reverse: bool) -> Source<'static> {
        let mut rows: Vec<_> = rows
            .iter()
            .map(|(key, value)| {
                let row = value.map(|value| Row {
                    revision: Revision::default(),
                    value: value.as_bytes().into(),
                });
                Ok((Key::from(key.as_bytes()), row))
            })
            .collect();
        if reverse {
            rows.reverse();
        }
        Box::new(rows.into_iter())
    }

    fn merged(reverse: bool) -> String {
        let newest = [("b", None), ("c", Some("new"))];
        let middle = [("a", Some("mid")), ("b", Some("mid")), ("e", None)];
        let oldest = [
            ("a", Some("old")),
            ("b", Some("old")),
            ("d", Some("old")),
            ("e", Some("old")),
        ];
        let sources = vec![
            layer(&newest, reverse),
            layer(&middle, reverse),
            layer(&oldest, reverse),
        ];
        let rows: Vec<String> = Merge::new(sources, reverse)
            .map(|item| {
                let (key, row) = item.unwrap();
                let text = String::from_utf8_lossy;
                format!("{}={}", text(&key), text(&row.value))
            })
            .collect();
        rows.join(" ")
    }

    #[test]
    fn the_newest_layer_decides_and_removed_rows_are_skipped() {
        assert_eq!(merged(false), "a=mid c=new d=old");
        assert_eq!(merged(true), "d=old c=new a=mid");
    }
}
