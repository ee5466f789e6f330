//! A table whose columns line up. As Markdown it has bars, and lines up all the same.

/// Rows of text under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    note: &'static str,
}

impl Table {
    pub(crate) fn new<const N: usize>(heading: [&'static str; N]) -> Self {
        Self {
            heading: heading.into(),
            rows: Vec::new(),
            note: "",
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// A sentence below the table.
    pub(crate) fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Names to the left, numbers to the right. An empty cell is shown as a dash.
    pub(crate) fn render(&self, markdown: bool) -> String {
        let widths: Vec<usize> = (0..self.heading.len()).map(|column| self.width(column)).collect();
        let mut lines = Vec::with_capacity(self.rows.len() + 2);
        lines.push(line(&self.heading, &widths, markdown));
        if markdown {
            let rules: Vec<String> = widths
                .iter()
                .enumerate()
                .map(|(column, width)| {
                    if column < NAMES {
                        "-".repeat(*width)
                    } else {
                        format!("{}:", "-".repeat(width - 1))
                    }
                })
                .collect();
            lines.push(line(&rules, &widths, markdown));
        }
        let mut group = None;
        for row in &self.rows {
            if !markdown && group.is_some_and(|before| before != &row[0]) {
                lines.push(String::new());
            }
            group = Some(&row[0]);
            lines.push(line(row, &widths, markdown));
        }
        let mut text = lines
            .iter()
            .map(|line| line.trim_end())
            .collect::<Vec<_>>()
            .join("\n");
        text.push('\n');
        if !self.note.is_empty() {
            text.push('\n');
            text.push_str(self.note);
            text.push('\n');
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([self.heading[column].chars().count(), NARROWEST])
            .max()
            .unwrap_or(NARROWEST)
    }
}

fn line(cells: &[impl AsRef<str>], widths: &[usize], markdown: bool) -> String {
    let cells: Vec<String> = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(column, (cell, width))| {
            let cell = if cell.as_ref().is_empty() {
                "–"
            } else {
                cell.as_ref()
            };
            if column < NAMES {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        })
        .collect();
    if markdown {
        format!("| {} |", cells.join(" | "))
    } else {
        cells.join("  ")
    }
}

/// The first columns are names.
const NAMES: usize = 2;
/// Room for Markdown's rule.
const NARROWEST: usize = 3;

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up_in_both_forms() {
        let mut table = Table::new(["name", "of", "value µ"]);
        table.row(["a".into(), "bb".into(), "1".into()]);
        table.row(["a".into(), "bb".into(), String::new()]);
        assert_eq!(
            table.render(false),
            "name  of   value µ\na     bb         1\na     bb         –\n"
        );
        let expected = "| name | of  | value µ |\n| ---- | --- | ------: |\n\
                        | a    | bb  |       1 |\n| a    | bb  |       – |\n";
        assert_eq!(table.render(true), expected);
    }
}
