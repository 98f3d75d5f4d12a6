//! The text table: padding, alignment, and what happens when a value is longer than its column.
//!
//! In: cells in the order of the columns, each written by a closure. Out: one line. A value that is too long moves only
//! the cells of its own row, and only until a later column has blanks to give back; there is always one blank
//! between two cells, and none at the end of a line.

use crate::format::width::columns;

/// Where a value sits in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text, ids.
    Left,
    /// Amounts and return values.
    Right,
}

/// A line under construction.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Terminal columns used so far.
    at: usize,
    /// Where the next column should start, in terminal columns.
    target: usize,
    first: bool,
}

impl<'a> Line<'a> {
    /// Starts a line at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, at: 0, target: 0, first: true }
    }

    /// A cell of `width` terminal columns (0: as long as it is, for the last one); `write` appends its text. Gives the
    /// terminal columns that this takes.
    pub fn cell(&mut self, width: usize, align: Align, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let gap = usize::from(!self.first);
        self.first = false;
        let from = self.out.len();
        let end = self.target.saturating_add(width);
        // To the left, the place of the text is known before the text is.
        if align == Align::Left {
            self.blanks(self.target.saturating_sub(self.at).max(gap));
        }
        let text = self.out.len();
        write(self.out);
        let used = columns(self.out.get(text..).unwrap_or_default());
        if align == Align::Right {
            let room = end.saturating_sub(self.at).saturating_sub(used).max(gap);
            self.blanks(room);
            if let Some(cell) = self.out.get_mut(from..) {
                cell.rotate_right(room);
            }
        }
        self.at += used;
        self.target = end.saturating_add(1);
        used
    }

    fn blanks(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, b' ');
        self.at += count;
    }

    /// Ends the line, without blanks at its end.
    pub fn end(self) {
        while self.out.len() > self.start && self.out.last() == Some(&b' ') {
            self.out.pop();
        }
        self.out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: &[(usize, Align, &str)]) -> String {
        let mut out = b"before\n".to_vec();
        let mut line = Line::begin(&mut out);
        for (width, align, text) in cells {
            line.cell(*width, *align, |out| out.extend_from_slice(text.as_bytes()));
        }
        line.end();
        String::from_utf8(out).unwrap().strip_prefix("before\n").unwrap().to_owned()
    }

    use Align::{Left, Right};

    #[test]
    fn cells_start_where_their_columns_do() {
        assert_eq!(
            line(&[(5, Left, "ab"), (3, Right, "7"), (0, Left, "rest of it")]),
            "ab      7 rest of it\n"
        );
    }

    #[test]
    fn a_long_value_takes_blanks_from_later_columns_before_it_moves_them() {
        assert_eq!(line(&[(3, Left, "abcde"), (5, Left, "x"), (0, Left, "end")]), "abcde x   end\n");
        assert_eq!(line(&[(3, Left, "abcde"), (5, Right, "7"), (0, Left, "end")]), "abcde   7 end\n");
    }

    #[test]
    fn an_amount_that_is_too_long_takes_blanks_from_the_column_before_it() {
        assert_eq!(line(&[(5, Left, "ab"), (3, Right, "12345"), (0, Left, "x")]), "ab  12345 x\n");
        assert_eq!(line(&[(5, Left, "abcde"), (3, Right, "12345"), (0, Left, "x")]), "abcde 12345 x\n");
    }

    #[test]
    fn long_values_never_touch() {
        assert_eq!(line(&[(1, Left, "abc"), (1, Right, "def"), (1, Left, "ghi")]), "abc def ghi\n");
    }

    #[test]
    fn a_line_has_no_blanks_at_its_end() {
        assert_eq!(line(&[(5, Left, "ab"), (5, Left, "")]), "ab\n");
        assert_eq!(line(&[(5, Left, "ab"), (0, Left, "x  ")]), "ab    x\n");
    }

    #[test]
    fn wide_characters_count_double() {
        assert_eq!(line(&[(6, Left, "東京"), (0, Left, "x")]), "東京   x\n");
    }
}
