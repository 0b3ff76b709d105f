//! Tables for terminals: columns as wide as their widest cell.

/// A table in the making.
pub(super) struct Columns {
    rows: Vec<Vec<String>>,
}

/// Columns from this one on hold figures and stand right.
pub(super) struct FiguresFrom(pub(super) usize);

impl Columns {
    pub(super) fn new(headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned());
        Self {
            rows: vec![headings.collect()],
        }
    }

    /// Adds a row. What would move the cursor is shown as `?`: names may come
    /// from whoever sent requests.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        let clean = |cell: String| cell.replace(char::is_control, "?");
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table, a line each row, no blanks at the ends.
    pub(super) fn text(&self, FiguresFrom(figures_from): FiguresFrom) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                if column < figures_from {
                    line.push_str(&format!("{cell:<width$}"));
                } else {
                    line.push_str(&format!("{cell:>width$}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_right_and_names_left() {
        let mut columns = Columns::new(&["route", "hits"]);
        columns.row(vec!["a".to_owned(), "12345".to_owned()]);
        columns.row(vec!["naïve\u{1b}[2J".to_owned(), "7".to_owned()]);
        assert_eq!(
            columns.text(FiguresFrom(1)),
            "route       hits\na          12345\nnaïve?[2J      7\n"
        );
    }
}
