//! Text while it is generated: a character's bytes may be spread over several tokens, so only whole characters leave.
use super::Tokenizer;

/// Turns ids into text one at a time, special tokens left out. All pieces joined equal `decode(ids, true)`.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The beginning of a character whose end has not come yet: at most three bytes.
    pending: Vec<u8>,
}

impl<'a> StreamDecoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// The text that `id` completes; empty for a special token or in the middle of a character.
    pub fn push(&mut self, id: i64) -> String {
        self.pending.extend(self.tokenizer.text_bytes(id));
        let (text, used) = complete(&self.pending);
        self.pending.drain(..used);
        text
    }

    /// What is left: U+FFFD if the last character never got its end, else nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// The text of all bytes but an unfinished character at their end, invalid ones as U+FFFD, and how many bytes that took.
pub(super) fn complete(bytes: &[u8]) -> (String, usize) {
    let mut text = String::new();
    let mut used = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        used += chunk.valid().len();
        let invalid = chunk.invalid();
        let unfinished =
            used + invalid.len() == bytes.len() && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
        if !invalid.is_empty() && !unfinished {
            text.push(char::REPLACEMENT_CHARACTER);
            used += invalid.len();
        }
    }
    (text, used)
}

#[cfg(test)]
mod tests {
    use super::complete;
    use proptest::prelude::*;

    #[test]
    fn an_unfinished_character_waits_and_a_broken_one_does_not() {
        assert_eq!(complete("aé".as_bytes()), ("aé".into(), 3));
        assert_eq!(complete(b"a\xe4\xb8"), ("a".into(), 1), "two of three bytes");
        assert_eq!(complete(b"a\xe4\xb8b"), ("a\u{fffd}b".into(), 4), "the third byte never comes");
        assert_eq!(complete(b"\xff"), ("\u{fffd}".into(), 1), "no character begins so");
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_what_lossy_decoding_gives(bytes in proptest::collection::vec(any::<u8>(), 0..40), size in 1usize..5) {
            let (mut pending, mut text) = (Vec::new(), String::new());
            for piece in bytes.chunks(size) {
                pending.extend(piece);
                let (done, used) = complete(&pending);
                text += &done;
                pending.drain(..used);
                prop_assert!(pending.len() < 4);
            }
            text += &String::from_utf8_lossy(&pending);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
