//! Tables that fit 80 columns, unless they are asked to be wide.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

/// Columns of a terminal that every table fits.
const WIDTH: u16 = 80;
/// Columns that a cell takes beside its text.
const PADDING: u16 = 2;

/// A column: its head, whether only wide tables have it, and how a row fills it.
pub(crate) struct Column<'a, R> {
    head: String,
    wide: bool,
    left: bool,
    cell: Box<dyn Fn(&R) -> String + 'a>,
}

impl<'a, R> Column<'a, R> {
    /// A column that every table has, of figures.
    pub(crate) fn new(head: impl Into<String>, cell: impl Fn(&R) -> String + 'a) -> Self {
        Self { head: head.into(), wide: false, left: false, cell: Box::new(cell) }
    }

    /// A column that only wide tables have.
    pub(crate) fn wide(head: impl Into<String>, cell: impl Fn(&R) -> String + 'a) -> Self {
        Self { wide: true, ..Self::new(head, cell) }
    }

    /// A column of names.
    pub(crate) fn names(head: impl Into<String>, cell: impl Fn(&R) -> String + 'a) -> Self {
        Self { left: true, ..Self::new(head, cell) }
    }
}

/// Lays out a table: all columns, each as wide as its cells, or the more important ones within 80 columns.
pub(crate) fn table<'r, R: 'r>(
    columns: Vec<Column<'_, R>>,
    rows: impl IntoIterator<Item = &'r R>,
    wide: bool,
) -> String {
    let columns: Vec<Column<'_, R>> = columns.into_iter().filter(|column| wide || !column.wide).collect();
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| columns.iter().map(|column| (column.cell)(row)).collect()).collect();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(columns.iter().map(|column| column.head.as_str()));
    if !wide {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    }
    for (number, (column, laid)) in columns.iter().zip(table.column_iter_mut()).enumerate() {
        laid.set_cell_alignment(if column.left { CellAlignment::Left } else { CellAlignment::Right });
        // Heads fold between their words, and nothing else does.
        let texts = rows.iter().map(|row| row[number].as_str()).chain(column.head.split(' '));
        let least = texts.map(|text| text.chars().count()).max().unwrap_or(0) as u16 + PADDING;
        laid.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
    }
    table.add_rows(rows);
    format!("{table}\n")
}

/// Breaks a paragraph into lines that fit as tables do, unless a word does not.
#[cfg(feature = "sim")]
pub(crate) fn wrapped(paragraph: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH.into() => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_folds_its_heads_and_leaves_columns_out_unless_it_is_wide() {
        let columns = || {
            vec![
                Column::names("name", |name: &&str| (*name).to_owned()),
                Column::new("a head of many words that take some room", |name: &&str| name.len().to_string()),
                Column::new("another head of many words that take some room", |_: &&str| {
                    "at least 1,000,000".to_owned()
                }),
                Column::wide("only in wide tables", |_: &&str| "0".to_owned()),
            ]
        };
        let rows = ["concurrent-radix-tree", "null"];
        let narrow = table(columns(), &rows, false);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(narrow.contains("| concurrent-radix-tree ") && narrow.contains(" at least 1,000,000 |"), "{narrow}");
        assert!(!narrow.contains("only"), "{narrow}");
        let wide = table(columns(), &rows, true);
        assert!(wide.contains("| only in wide tables |") && wide.lines().count() == 4, "{wide}");
    }
}
