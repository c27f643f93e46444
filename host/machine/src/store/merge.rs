//! One ordered iteration over several layers.

use std::iter::Peekable;

use super::{Key, Row};
use crate::Fault;

/// A key with one layer's word on it: a row, or `None` for a removed one.
type Word = (Key, Option<Row>);

/// The rows of one layer, in order; `None` is a removed row.
pub(crate) type Source<'a> = Box<dyn Iterator<Item = Result<Word, Fault>> + 'a>;

/// Merges layers given newest first. Where several have a key, the newest decides.
pub(crate) struct Merge<'a> {
    sources: Vec<Peekable<Source<'a>>>,
    /// The first so many layers are alike on every replica.
    alike: usize,
    reverse: bool,
}

/// One step of a merge.
pub(crate) enum Step {
    /// A row that is there.
    Row(Key, Row),
    /// A row that was removed, in a layer that is alike on every replica.
    Removed,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(sources: Vec<Source<'a>>, alike: usize, reverse: bool) -> Self {
        Self {
            sources: sources.into_iter().map(Iterator::peekable).collect(),
            alike,
            reverse,
        }
    }

    /// The next row, or one that was removed: every replica takes the same steps.
    pub(crate) fn step(&mut self) -> Option<Result<Step, Fault>> {
        loop {
            let (layer, word) = self.advance()?;
            match word {
                Ok((key, Some(row))) => return Some(Ok(Step::Row(key, row))),
                Ok((_, None)) if layer < self.alike => return Some(Ok(Step::Removed)),
                Ok((_, None)) => {}
                Err(fault) => return Some(Err(fault)),
            }
        }
    }

    /// The next key of any layer with the newest layer's word on it, and which layer that is.
    fn advance(&mut self) -> Option<(usize, Result<Word, Fault>)> {
        let mut first: Option<(usize, Key)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            match source.peek() {
                None => {}
                Some(Err(_)) => return source.next().map(|error| (index, error)),
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
        let item = self.sources[index].next()?;
        for source in &mut self.sources[index + 1..] {
            while source
                .next_if(|next| matches!(next, Ok((other, _)) if *other == key))
                .is_some()
            {}
        }
        Some((index, item))
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<(Key, Row), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok(Step::Row(key, row)) => return Some(Ok((key, row))),
                Ok(Step::Removed) => {}
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
        let rows: Vec<String> = Merge::new(sources, 1, reverse)
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
    #[test]
    fn removed_rows_of_layers_that_may_differ_are_no_steps() {
        let steps = |alike| {
            let sources = vec![
                layer(&[("a", None), ("b", Some("new"))], false),
                layer(&[("c", None), ("d", Some("old"))], false),
            ];
            let mut merge = Merge::new(sources, alike, false);
            std::iter::from_fn(|| merge.step()).count()
        };
        assert_eq!([steps(0), steps(1), steps(2)], [2, 3, 4]);
    }
}
