//! Messages that go away by themselves, and the list of past ones.
use lightbox_core::safe_text::clean_line;
use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    #[default]
    Info,
    Good,
    Warning,
    Error,
}

impl Level {
    /// How long it stays on the screen: a sentence takes about four seconds to read, and an error deserves a second look.
    fn shown_ms(self) -> u64 {
        match self {
            Self::Info | Self::Good => 4_000,
            Self::Warning => 8_000,
            Self::Error => 15_000,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub level: Level,
    pub text: String,
    pub wall_ms: u64,
    /// On the clock of the program.
    until_ms: u64,
}

#[derive(Debug, Default)]
pub struct Messages {
    /// The newest last.
    past: VecDeque<Message>,
}

/// As many as anyone scrolls through.
const KEPT: usize = 500;
/// A message is a few lines; what is longer is a log.
const MAX_CHARS: usize = 2_000;

impl Messages {
    pub fn say(&mut self, level: Level, text: String, now_ms: u64, wall_ms: u64) {
        if self.past.len() == KEPT {
            self.past.pop_front();
        }
        let text = clean_line(text.trim(), MAX_CHARS);
        self.past.push_back(Message { level, text, wall_ms, until_ms: now_ms + level.shown_ms() });
    }

    /// The one to show now: the newest, while its time lasts.
    pub fn current(&self, now_ms: u64) -> Option<&Message> {
        self.past.back().filter(|message| message.until_ms > now_ms)
    }

    /// Something that matters was said just now; what follows at once should not hide it.
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        let just_now = |m: &Message| (m.until_ms - m.level.shown_ms()) + 500 > now_ms;
        self.current(now_ms).is_some_and(|message| message.level != Level::Info && just_now(message))
    }

    pub fn next_change(&self, now_ms: u64) -> Option<u64> {
        self.current(now_ms).map(|message| message.until_ms)
    }

    /// The user has seen it.
    pub fn dismiss(&mut self) {
        if let Some(message) = self.past.back_mut() {
            message.until_ms = 0;
        }
    }

    /// The newest first.
    pub fn past(&self) -> impl ExactSizeIterator<Item = &Message> {
        self.past.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_away_by_itself_and_stays_in_the_list() {
        let mut messages = Messages::default();
        messages.say(Level::Info, "one\x1b[2J".into(), 1_000, 0);
        assert_eq!(messages.current(4_999).unwrap().text, "one\\u{1b}[2J");
        assert_eq!(messages.next_change(1_000), Some(5_000));
        assert_eq!(messages.current(5_000), None);
        messages.say(Level::Error, "two".into(), 6_000, 0);
        messages.dismiss();
        assert_eq!(messages.current(6_000), None);
        assert_eq!(messages.past().map(|m| m.text.as_str()).collect::<Vec<_>>(), ["two", "one\\u{1b}[2J"]);
        (0..KEPT * 2).for_each(|n| messages.say(Level::Info, n.to_string(), 0, 0));
        assert_eq!(messages.past().len(), KEPT);
    }
}
