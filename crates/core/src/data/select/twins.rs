//! Rows that say the same: by 96 bits of a hash, of the whole sample, of its answers, or of its pictures.
//!
//! 96 bits, because 25 million hashes of 64 bits meet by chance once in 60,000 data sets, and a row would be left out for
//! nothing; and because 12 bytes and the row's number fill 16. In memory are 20 to 40 bytes a row.

use crate::data::{ImageRef, MediaError};
use crate::text::{Conversation, Role};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What stands for a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Key([u32; 3]);

/// Makes a [`Key`]; every part counts with its length, so that no two lists of parts spell the same.
pub struct KeyOf(blake3::Hasher);

impl KeyOf {
    /// `what` sets keys of different things apart.
    pub fn new(what: &str) -> Self {
        Self(blake3::Hasher::new()).add(what.as_bytes())
    }

    pub fn add(mut self, part: &[u8]) -> Self {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    pub fn key(self) -> Key {
        let hash = self.0.finalize();
        let words = hash.as_bytes().as_chunks::<4>().0;
        Key([0, 1, 2].map(|i| u32::from_le_bytes(words[i])))
    }
}

/// A text of one kind.
pub fn key_of(what: &str, text: &str) -> Key {
    KeyOf::new(what).add(text.as_bytes()).key()
}

impl Key {
    fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0).for_each(|(out, word)| *out = word.to_le_bytes());
        bytes
    }

    /// A number that depends on the key and on `seed` alone.
    pub fn draw(self, seed: u64) -> u64 {
        let Self([a, b, _]) = KeyOf::new("draw").add(&seed.to_le_bytes()).add(&self.bytes()).key();
        u64::from(a) << 32 | u64::from(b)
    }
}

/// What a picture is known by: its bytes; one that cannot be had by its name.
pub fn picture_key(image: &ImageRef, bytes: Result<&[u8], &MediaError>) -> Key {
    match bytes {
        Ok(bytes) => KeyOf::new("picture").add(bytes).key(),
        Err(_) => key_of("no picture", &image.describe()),
    }
}

/// The whole conversation and its pictures.
pub fn sample_key(conversation: &Conversation, pictures: &[Key]) -> Key {
    let mut key = KeyOf::new("sample");
    for text in [&conversation.system, &conversation.tools] {
        key = key.add(text.as_deref().unwrap_or_default().as_bytes());
    }
    for message in &conversation.messages {
        key = key.add(role(message.role)).add(message.content.as_bytes());
    }
    pictures.iter().fold(key.add(b"pictures"), |key, picture| key.add(&picture.bytes())).key()
}

/// All answers.
pub fn answer_key(conversation: &Conversation) -> Key {
    let answers = conversation.messages.iter().filter(|message| message.role.answers());
    answers.fold(KeyOf::new("answers"), |key, answer| key.add(answer.content.as_bytes())).key()
}

/// All pictures, in their order; `None` where there is none.
pub fn pictures_key(pictures: &[Key]) -> Option<Key> {
    let key = pictures.iter().fold(KeyOf::new("pictures"), |key, picture| key.add(&picture.bytes()));
    (!pictures.is_empty()).then(|| key.key())
}

fn role(role: Role) -> &'static [u8] {
    match role {
        Role::User => b"user",
        Role::Assistant => b"assistant",
        Role::Observation => b"observation",
        Role::Function => b"function",
    }
}

/// The first row of every content.
#[derive(Debug, Default)]
pub struct Twins {
    first: HashMap<Key, u32>,
}

impl Twins {
    /// The row that had this content before; else `row` is its first.
    pub fn find_or_add(&mut self, key: Key, row: u32) -> Option<u32> {
        match self.first.entry(key) {
            Entry::Occupied(found) => Some(*found.get()),
            Entry::Vacant(free) => {
                free.insert(row);
                None
            }
        }
    }

    pub fn find(&self, key: Key) -> Option<u32> {
        self.first.get(&key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Message;

    fn said(turns: &[(Role, &str)]) -> Conversation {
        let messages = turns.iter().map(|(role, text)| Message { role: *role, content: (*text).into() }).collect();
        Conversation { messages, ..Conversation::default() }
    }

    #[test]
    fn only_what_is_the_same_has_the_same_key() {
        let (q, a) = (Role::User, Role::Assistant);
        let pictures = [key_of("picture", "x"), key_of("picture", "y")];
        let all = [
            sample_key(&said(&[(q, "ab"), (a, "c")]), &[]),
            sample_key(&said(&[(q, "a"), (a, "bc")]), &[]),
            sample_key(&said(&[(a, "ab"), (q, "c")]), &[]),
            sample_key(&said(&[(q, "ab"), (a, "c")]), &pictures),
            sample_key(&said(&[(q, "ab"), (a, "c")]), &[pictures[1], pictures[0]]),
            sample_key(&Conversation { system: Some("s".into()), ..said(&[(q, "ab"), (a, "c")]) }, &[]),
            answer_key(&said(&[(q, "ab"), (a, "c")])),
            pictures_key(&pictures).unwrap(),
            pictures_key(&pictures[..1]).unwrap(),
        ];
        let different: std::collections::HashSet<Key> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0], sample_key(&said(&[(q, "ab"), (a, "c")]), &[]));
        assert_eq!(answer_key(&said(&[(q, "x"), (a, "c")])), answer_key(&said(&[(q, "y"), (a, "c")])));
        assert_eq!(pictures_key(&[]), None);
        assert_eq!(std::mem::size_of::<(Key, u32)>(), 16);
    }

    /// A split made today is the split of next year.
    #[test]
    fn a_draw_never_changes() {
        let key = key_of("group", "patient 7");
        assert_eq!(key.draw(42), key.draw(42));
        assert_ne!(key.draw(42), key.draw(43));
        assert_eq!(format!("{:016x}", key.draw(42)), "da83f87d2926b8a1");
    }

    #[test]
    fn the_first_row_stands_for_all() {
        let mut twins = Twins::default();
        let key = key_of("x", "y");
        assert_eq!(twins.find(key), None);
        assert_eq!(twins.find_or_add(key, 3), None);
        assert_eq!(twins.find_or_add(key, 5), Some(3));
        assert_eq!(twins.find(key), Some(3));
    }
}
