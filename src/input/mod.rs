//! From what the terminal sends to what the table of commands names: keys as words (`ctrl-p`, `?`, `shift-tab`), and
//! paths as terminals paste them when a file is dropped.

pub mod paste;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::fmt;

/// A key with its modifiers. A letter's case is in the letter, so shift counts only for keys that print nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub code: KeyCode,
    pub modifiers: KeyModifiers,
}

impl Key {
    pub fn of(event: &KeyEvent) -> Self {
        let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        let code = match event.code {
            KeyCode::Char(c) => {
                modifiers.remove(KeyModifiers::SHIFT);
                KeyCode::Char(c)
            }
            // both are sent by one terminal or another
            KeyCode::BackTab => {
                modifiers.insert(KeyModifiers::SHIFT);
                KeyCode::Tab
            }
            code => code,
        };
        Self { code, modifiers }
    }

    /// Reads a word of the table of commands. `None`: there is no such key; a test makes sure that the table has none.
    pub fn parse(word: &str) -> Option<Self> {
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = word;
        loop {
            let (modifier, after) = match rest.split_once('-') {
                Some(("ctrl", after)) => (KeyModifiers::CONTROL, after),
                Some(("alt", after)) => (KeyModifiers::ALT, after),
                Some(("shift", after)) => (KeyModifiers::SHIFT, after),
                _ => break,
            };
            modifiers.insert(modifier);
            rest = after;
        }
        let code = match rest {
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "tab" => KeyCode::Tab,
            "space" => KeyCode::Char(' '),
            "backspace" => KeyCode::Backspace,
            "del" => KeyCode::Delete,
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "left" => KeyCode::Left,
            "right" => KeyCode::Right,
            "home" => KeyCode::Home,
            "end" => KeyCode::End,
            "pgup" => KeyCode::PageUp,
            "pgdn" => KeyCode::PageDown,
            _ => {
                let mut chars = rest.chars();
                match (chars.next()?, chars.as_str()) {
                    (c, "") => KeyCode::Char(c),
                    ('F', number) => KeyCode::F(number.parse().ok()?),
                    _ => return None,
                }
            }
        };
        Some(Self { code, modifiers })
    }
}

/// As people read it on a hint line: `^P`, `⏎`, `PgDn`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.modifiers.contains(KeyModifiers::CONTROL) {
            f.write_str("^")?;
        }
        if self.modifiers.contains(KeyModifiers::ALT) {
            f.write_str("alt-")?;
        }
        if self.modifiers.contains(KeyModifiers::SHIFT) {
            f.write_str("⇧")?;
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("space"),
            KeyCode::Char(c) if self.modifiers.contains(KeyModifiers::CONTROL) => {
                write!(f, "{}", c.to_ascii_uppercase())
            }
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::Enter => f.write_str("⏎"),
            KeyCode::Esc => f.write_str("esc"),
            KeyCode::Tab => f.write_str("tab"),
            KeyCode::Backspace => f.write_str("⌫"),
            KeyCode::Delete => f.write_str("del"),
            KeyCode::Up => f.write_str("↑"),
            KeyCode::Down => f.write_str("↓"),
            KeyCode::Left => f.write_str("←"),
            KeyCode::Right => f.write_str("→"),
            KeyCode::Home => f.write_str("home"),
            KeyCode::End => f.write_str("end"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::F(n) => write!(f, "F{n}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_events_name_the_same_keys() {
        let event = |code, modifiers| Key::of(&KeyEvent::new(code, modifiers));
        for (word, code, modifiers) in [
            ("q", KeyCode::Char('q'), KeyModifiers::NONE),
            ("G", KeyCode::Char('G'), KeyModifiers::SHIFT),
            ("?", KeyCode::Char('?'), KeyModifiers::SHIFT),
            ("ctrl-p", KeyCode::Char('p'), KeyModifiers::CONTROL),
            ("shift-tab", KeyCode::BackTab, KeyModifiers::SHIFT),
            ("shift-tab", KeyCode::BackTab, KeyModifiers::NONE),
            ("alt-1", KeyCode::Char('1'), KeyModifiers::ALT),
            ("F10", KeyCode::F(10), KeyModifiers::NONE),
            ("-", KeyCode::Char('-'), KeyModifiers::NONE),
            ("space", KeyCode::Char(' '), KeyModifiers::NONE),
        ] {
            assert_eq!(Key::parse(word), Some(event(code, modifiers)), "{word}");
        }
        assert_eq!(Key::parse("ctrl-nonsense"), None);
        assert_eq!(Key::parse("ctrl-p").unwrap().to_string(), "^P");
    }
}
