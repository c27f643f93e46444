//! One table, for a terminal and for Markdown.

use comfy_table::{CellAlignment, ContentArrangement, presets};

/// A table. The first columns, which name things, stand to the left, the others to the right.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    names: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table whose first `names` columns are names.
    pub(crate) fn new(names: usize, header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            names,
            rows: Vec::new(),
        }
    }

    /// Adds a row with as many cells as the header.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(&self.header)
            .add_rows(&self.rows);
        for column in table.column_iter_mut().skip(self.names) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    /// For a Markdown file.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let header: Vec<String> = self.header.iter().map(ToString::to_string).collect();
        let rule: Vec<String> = (0..header.len())
            .map(|column| if column < self.names { "---" } else { "---:" })
            .map(str::to_owned)
            .collect();
        let rows = self.rows.iter().map(|row| line(row));
        [line(&header), line(&rule)]
            .into_iter()
            .chain(rows)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_aligns_numbers_to_the_right() {
        let mut table = Table::new(1, &["load", "per second"]);
        table.row(vec!["set".into(), "1 000".into()]);
        let expected = "| load | per second |\n| --- | ---: |\n| set | 1 000 |\n";
        assert_eq!(table.markdown(), expected);
    }
}
