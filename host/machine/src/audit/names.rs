//! What people call a row.

use std::collections::BTreeMap;

use super::{Rows, RowsQuestion};
use crate::Fault;
use crate::catalogue::Record;
use crate::migration::Migration;
use crate::store::{Row, Table};
use crate::system::decode;

/// The plugins of a state, by the numbers that keys have.
#[derive(Clone, Debug, Default)]
pub struct Names {
    plugins: BTreeMap<u32, String>,
    spaces: BTreeMap<u32, String>,
}

/// Where a row belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table: String,
    /// The plugin, for what belongs to one.
    pub plugin: Option<String>,
    /// The key as the plugin has it, or in words.
    pub key: Vec<u8>,
}

impl Rows {
    /// The plugins of this state.
    pub fn names(&self) -> Result<Names, Fault> {
        let mut names = Names::default();
        self.each(Table::Catalogue, |key, value| {
            let record: Record = decode(value)?;
            let name = String::from_utf8_lossy(key).into_owned();
            names.plugins.insert(record.id, name.clone());
            names.spaces.insert(record.space, name);
            Ok(())
        })?;
        self.each(Table::Migration, |key, value| {
            let migration: Migration = decode(value)?;
            let id = number(key).map(|(id, _)| id);
            if let Some(name) = id.and_then(|id| names.plugins.get(&id)) {
                names.spaces.insert(migration.space, name.clone());
            }
            Ok(())
        })?;
        Ok(names)
    }

    fn each(
        &self,
        table: Table,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (start, end) = table.bounds();
        for item in self.between(&start, &end)? {
            let (key, bytes) = item?;
            let row = Row::decode(key.value(), bytes.value())?.0;
            visit(&key.value()[1..], &row.value)?;
        }
        Ok(())
    }
}

impl RowsQuestion {
    /// The order in which tables are told: what plugins keep comes first. The machine's own running
    /// values differ whenever anything does.
    pub fn tables_in_order(mut tables: Vec<u8>) -> Vec<u8> {
        let rank = |table: u8| match table {
            table if table == Table::Data as u8 => 0,
            table if table == Table::System as u8 => 2,
            _ => 1,
        };
        tables.sort_by_key(|table| (rank(*table), *table));
        tables.dedup();
        tables
    }
}

impl Names {
    /// Where the row with this key belongs.
    pub fn place(&self, key: &[u8]) -> Place {
        let Some((&table, own)) = key.split_first() else {
            return place("unknown", None, key);
        };
        match table {
            table if table == Table::System as u8 => place("system", None, own),
            table if table == Table::Catalogue as u8 => place("catalogue", None, own),
            table if table == Table::Component as u8 => place("component", None, &hex(own)),
            table if table == Table::Session as u8 => place("session", None, &session(own)),
            table if table == Table::OnceKey as u8 => place("idempotency key", None, &hex(own)),
            table if table == Table::TimerByTime as u8 => {
                let (due, rest) = own.split_at_checked(8).unwrap_or((&[], own));
                let (plugin, id) = owner(&self.plugins, rest);
                let words = [id, b" due ".as_slice(), &long(due)].concat();
                place("timer by time", plugin, &words)
            }
            table if table == Table::TimerById as u8 => {
                let (plugin, id) = owner(&self.plugins, own);
                place("timer", plugin, id)
            }
            table if table == Table::Data as u8 => {
                let (plugin, key) = owner(&self.spaces, own);
                place("data", plugin, key)
            }
            table if table == Table::Migration as u8 => {
                place("migration", owner(&self.plugins, own).0, b"")
            }
            table if table == Table::Upload as u8 => place("upload", None, &hex(own)),
            table if table == Table::UploadPiece as u8 => place("upload piece", None, &hex(own)),
            _ => place("unknown", None, key),
        }
    }

    #[cfg(test)]
    pub(super) fn plugins_for_tests(&mut self, number: u32, name: &str) {
        self.plugins.insert(number, name.into());
        self.spaces.insert(number, name.into());
    }
}

/// Whose number a key begins with, and the rest of the key.
fn owner<'a>(names: &BTreeMap<u32, String>, key: &'a [u8]) -> (Option<String>, &'a [u8]) {
    let Some((number, rest)) = number(key) else {
        return (None, key);
    };
    let unknown = || format!("number {number}");
    (
        Some(names.get(&number).cloned().unwrap_or_else(unknown)),
        rest,
    )
}

fn place(table: &str, plugin: Option<String>, key: &[u8]) -> Place {
    Place {
        table: table.into(),
        plugin,
        key: key.to_vec(),
    }
}

fn number(key: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = key.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// A session's number, and the sequence of a command of it.
fn session(key: &[u8]) -> Vec<u8> {
    match key.split_at_checked(8) {
        Some((session, [])) => long(session),
        Some((session, sequence)) => {
            [long(session), b" command ".to_vec(), long(sequence)].concat()
        }
        None => hex(key),
    }
}

fn long(bytes: &[u8]) -> Vec<u8> {
    match bytes.try_into() {
        Ok(bytes) => u64::from_be_bytes(bytes).to_string().into_bytes(),
        Err(_) => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    hostd_protocol::hex(bytes).into_bytes()
}
