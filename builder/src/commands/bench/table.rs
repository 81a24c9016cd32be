//! Tables in Markdown that also read well in a terminal.

use std::fmt;

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

/// The first column to the left, all others to the right.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let width =
            |column| self.rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0).max(2);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            f.write_str("|")?;
            for (column, &width) in widths.iter().enumerate() {
                let cell = cell(row, column);
                if column == 0 { write!(f, " {cell:<width$} |")? } else { write!(f, " {cell:>width$} |")? }
            }
            f.write_str("\n")?;
            if number == 0 {
                f.write_str("|")?;
                for (column, &width) in widths.iter().enumerate() {
                    let line = "-".repeat(width - usize::from(column > 0));
                    write!(f, " {line}{} |", if column > 0 { ":" } else { "" })?;
                }
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_left_and_figures_right() {
        let mut table = Table::new(["step", "seconds"]);
        table.row(["root".into(), "25.0".into()]);
        table.row(["xen-hypervisor".into(), "120".into()]);
        let text = "| step           | seconds |\n\
                    | -------------- | ------: |\n\
                    | root           |    25.0 |\n\
                    | xen-hypervisor |     120 |\n";
        assert_eq!(table.to_string(), text);
    }
}
