//! One line per sample, for lists that scroll through millions. Only what the line shows is kept, and the bytes of
//! pictures in parquet are not read. Not here: the whole sample ([`Dataset::get`]) and its check.

use super::layout::{IMAGE_MARK, Parsed};
use super::{Dataset, Problem};
use std::ops::Range;

/// More than the widest terminal shows of a line.
pub const PEEK_CHARS: usize = 200;

/// The beginning of a sample. Texts are as the data has them: clean them before a terminal sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peek {
    /// Of the first question, without its `<image>` marks, at most [`PEEK_CHARS`] characters.
    pub question: String,
    /// Of the first answer.
    pub answer: String,
    /// Questions with their answers.
    pub turns: usize,
    /// As many as the row names; whether they are there is found when the sample is read.
    pub pictures: usize,
    /// File and line, or file and row.
    pub origin: String,
}

impl Dataset {
    /// The beginning of sample `index`.
    ///
    /// # Errors
    /// What is wrong with the row's structure; a picture that is missing or damaged is not noticed.
    pub fn peek(&self, index: usize) -> Result<Peek, Problem> {
        self.glance(index).map(|parsed| Peek { origin: self.origin(index), ..Peek::of(&parsed) })
    }

    /// [`Self::peek`] for neighbours, which share what is decoded; those that exist of `range`.
    pub fn peek_range(&self, range: Range<usize>) -> Vec<Result<Peek, Problem>> {
        (range.start..range.end.min(self.len())).map(|index| self.peek(index)).collect()
    }
}

impl Peek {
    fn of(parsed: &Parsed) -> Self {
        let messages = &parsed.conversation.messages;
        let text = |i: usize| messages.get(i).map(|m| beginning(&m.content)).unwrap_or_default();
        Self {
            question: text(0),
            answer: text(1),
            turns: messages.len() / 2,
            pictures: parsed.images.len(),
            origin: String::new(),
        }
    }
}

fn beginning(text: &str) -> String {
    text.split(IMAGE_MARK).flat_map(str::chars).skip_while(|c| c.is_whitespace()).take(PEEK_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::problem::kind;
    use crate::data::test_data::{captions, jsonl, open};
    use serde_json::json;

    #[test]
    fn a_peek_is_short_counts_pictures_and_needs_none_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let long = "长".repeat(5000);
        let path = jsonl(
            dir.path(),
            &[
                json!({"messages": [{"role": "user", "content": format!("<image><image>\n{long}")}, {"role": "assistant", "content": "short"}],
                "images": ["no.png", "such.png"]}),
                json!({"messages": [{"role": "user", "content": "q"}]}),
            ],
        );
        let d = open(&path);
        let peek = d.peek(0).unwrap();
        assert_eq!((peek.question, peek.answer.as_str()), ("长".repeat(PEEK_CHARS), "short"));
        assert_eq!((peek.pictures, peek.turns), (2, 1));
        assert!(peek.origin.ends_with("d.jsonl:1"), "{}", peek.origin);
        assert_eq!(d.peek(1).unwrap_err().kind, kind::ODD_TURNS);
        assert_eq!(d.peek_range(1..9).len(), 1, "only those that exist");
        assert_eq!(d.peek(2).unwrap_err().kind, kind::UNREADABLE);
    }

    #[test]
    fn parquet_is_peeked_without_picture_bytes_and_reads_what_get_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.parquet");
        captions(&path, 500, 70);
        let d = open(&path);
        for (index, peek) in (0..500).zip(d.peek_range(0..500)) {
            // Every 10th row has an empty caption, every 25th no picture: both are problems in either way of reading.
            match d.get(index) {
                Ok(sample) => {
                    let peek = peek.unwrap();
                    assert_eq!(peek.answer, sample.conversation.messages[1].content);
                    assert_eq!((peek.pictures, &peek.origin), (sample.images.len(), &sample.origin));
                }
                Err(problem) => assert_eq!(peek.unwrap_err(), problem),
            }
        }
        assert!(d.peek(498).is_ok() && d.peek(3).is_ok(), "backwards as well");
    }
}
