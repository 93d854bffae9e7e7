//! Texts that end an answer. What might be the beginning of one is held back until it is clear that it is none, so that a
//! reader never sees a part of it.

/// Text piece by piece, cut before the first of some texts.
#[derive(Default)]
pub struct StopStrings {
    stops: Vec<String>,
    /// Said, but not shown yet: it may begin a stop text.
    held: String,
}

impl StopStrings {
    /// Without any text everything passes.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// What may be shown now, and whether the answer ends here.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held += piece;
        // The one that is complete first, however the pieces break; of two, the longer.
        let found = self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop.len())));
        if let Some((at, _)) = found.min_by_key(|(at, len)| (at + len, *at)) {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let begins = |from: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*from..]));
        let sure = self.held.char_indices().map(|(at, _)| at).find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(sure);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back for nothing, when the answer has ended in another way.
    pub fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let (mut stop, mut shown) = (StopStrings::new(&stops), String::new());
        for piece in pieces {
            let (text, ended) = stop.push(piece);
            shown += &text;
            assert!(stops.iter().all(|s| !shown.contains(s.as_str())), "{shown}");
            if ended {
                return (shown, true);
            }
        }
        (shown + &stop.finish(), false)
    }

    #[test]
    fn the_answer_ends_before_the_first_stop_text_wherever_the_pieces_break() {
        assert_eq!(through(&["END"], &["abE", "N", "Dxx"]), ("ab".into(), true));
        assert_eq!(through(&["END"], &["abE", "N", "x"]), ("abENx".into(), false));
        assert_eq!(through(&["END"], &["abEN"]), ("abEN".into(), false), "held back to the end, then shown");
        assert_eq!(through(&["b", "abc"], &["xabc"]), ("xa".into(), true), "the one that is complete first");
        assert_eq!(through(&["aab"], &["aaa", "b"]), ("a".into(), true), "a beginning within a beginning");
        assert_eq!(through(&["。"], &["线", "。好"]), ("线".into(), true));
        assert_eq!(through(&[], &["a", "b"]), ("ab".into(), false));
    }

    proptest! {
        #[test]
        fn pieces_and_the_whole_give_the_same(pieces in proptest::collection::vec("[ab线]{0,3}", 0..8), stops in proptest::collection::vec("[ab线]{1,3}", 0..3)) {
            let whole: String = pieces.concat();
            let found = stops.iter().filter_map(|stop| Some((whole.find(stop.as_str())?, stop.len())));
            let at = found.min_by_key(|(at, len)| (at + len, *at)).map(|(at, _)| at);
            let expected = (whole[..at.unwrap_or(whole.len())].to_owned(), at.is_some());
            let refs = |v: &[String]| -> Vec<String> { v.to_vec() };
            let (stops, pieces) = (refs(&stops), refs(&pieces));
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(through(&stops, &pieces), expected);
        }
    }
}
