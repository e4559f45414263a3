//! Tables that fit 80 columns, unless they are asked to be wide.
#![cfg_attr(not(feature = "cli"), allow(dead_code, reason = "each command uses some of these"))]

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Columns of a terminal that every table fits.
const WIDTH: u16 = 80;

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
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(columns.iter().map(|column| column.head.as_str()));
    if !wide {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    }
    for (column, laid) in columns.iter().zip(table.column_iter_mut()) {
        laid.set_cell_alignment(if column.left { CellAlignment::Left } else { CellAlignment::Right });
    }
    for row in rows {
        table.add_row(columns.iter().map(|column| (column.cell)(row)));
    }
    format!("{table}\n")
}
