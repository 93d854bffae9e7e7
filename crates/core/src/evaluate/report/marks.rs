//! Where an answer differs from its label: words of the answer that are not in the label, or not there.

use crate::evaluate::similarity::words;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};
use std::time::{Duration, Instant};

/// Two very long texts with nothing in common take the square of their length; what is found by then is marked.
const LONGEST: Duration = Duration::from_millis(200);

/// The answer in pieces; `true`: differs from the label. Joined they are the answer.
pub fn marked(label: &str, answer: &str) -> Vec<(String, bool)> {
    let (old, new) = (words(label), words(answer));
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(Instant::now() + LONGEST));
    let piece = |op: &DiffOp| (new[op.new_range()].concat(), !matches!(op, DiffOp::Equal { .. }));
    ops.iter().map(piece).filter(|(text, _)| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::marked;

    #[test]
    fn words_that_the_label_does_not_have_are_marked() {
        let pieces = marked("The left side.", "The right side, too.");
        assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), "The right side, too.");
        let differing: String = pieces.iter().filter(|(_, d)| *d).map(|(text, _)| text.as_str()).collect();
        assert_eq!(differing, "right, too");
        assert_eq!(marked("左侧额叶", "左侧额叶"), [("左侧额叶".to_owned(), false)]);
        assert!(marked("x", "").is_empty());
    }
}
