//! A place in a list of any length. How many rows are visible is known from the last frame.

/// The chosen row of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    pub at: usize,
    pub len: usize,
}

/// How a cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    By(isize),
    /// By so many pages.
    Page(isize),
    Home,
    End,
    To(usize),
}

impl Cursor {
    pub fn new(len: usize) -> Self {
        Self { at: 0, len }
    }

    /// `None` if the list is empty.
    pub fn get(&self) -> Option<usize> {
        (self.at < self.len).then_some(self.at)
    }

    /// The list has another length now; the place stays as near as it can.
    pub fn set_len(&mut self, len: usize) {
        (self.len, self.at) = (len, self.at.min(len.saturating_sub(1)));
    }

    /// `height`: rows of a page. Says whether the place is another one now.
    pub fn go(&mut self, to: Move, height: u16) -> bool {
        let last = self.len.saturating_sub(1);
        let page = isize::from(i16::try_from(height.saturating_sub(1).max(1)).unwrap_or(i16::MAX));
        let by = |n: isize| self.at.saturating_add_signed(n).min(last);
        let at = match to {
            Move::By(n) => by(n),
            Move::Page(n) => by(n.saturating_mul(page)),
            Move::Home => 0,
            Move::End => last,
            Move::To(row) => row.min(last),
        };
        std::mem::replace(&mut self.at, at) != at
    }
}

/// The first visible row, so that `at` is visible in `height` rows and as little as possible moves; `before` is the
/// offset of the last frame.
pub fn offset(before: usize, at: usize, len: usize, height: usize) -> usize {
    if height == 0 {
        return at;
    }
    let most = len.saturating_sub(height);
    before.min(at).max((at + 1).saturating_sub(height)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_stays_in_its_list() {
        let mut cursor = Cursor::new(25_000_000);
        assert!(cursor.go(Move::End, 20));
        assert_eq!(cursor.at, 24_999_999);
        assert!(!cursor.go(Move::By(5), 20));
        cursor.go(Move::Page(-1), 20);
        assert_eq!(cursor.at, 24_999_980);
        cursor.set_len(10);
        assert_eq!(cursor.get(), Some(9));
        cursor.set_len(0);
        assert_eq!(cursor.get(), None);
        assert!(!cursor.go(Move::By(1), 20));
    }

    #[test]
    fn the_chosen_row_is_visible_and_nothing_else_moves() {
        assert_eq!(offset(0, 5, 100, 10), 0);
        assert_eq!(offset(0, 10, 100, 10), 1);
        assert_eq!(offset(50, 49, 100, 10), 49);
        assert_eq!(offset(95, 99, 100, 10), 90);
        assert_eq!(offset(7, 0, 3, 10), 0);
        assert_eq!(offset(7, 0, 0, 0), 0);
    }
}
