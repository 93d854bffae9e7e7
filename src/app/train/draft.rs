//! The profile that is being edited: a text, what it says, what is wrong with it, and every state it had before.
//!
//! The text is the only truth. The form changes it key by key ([`super::yaml`]), the YAML pane as a whole; after each
//! change it is read anew, which takes well under a millisecond for a page of text. Undo goes back a text.

use super::yaml::{self, Entry, Refusal};
use lightbox_core::profile::{Key, Place, Profile, yaml_value};
use serde_yaml::Value;

/// What a new profile says: LLaMA Board's fixed choices for this model family.
pub const NEW: &str = "### what\nstage: sft\ndo_train: true\nfinetuning_type: lora\ntemplate: qwen2_vl\n\n### model\n\n### data\n\n### training\n\n### output\nplot_loss: true\n";

/// More steps back nobody takes, and each is a page of text.
const MAX_PAST: usize = 500;

#[derive(Debug, Clone)]
pub struct Draft {
    text: String,
    entries: Vec<Entry>,
    problems: Vec<Found>,
    /// The newest text without problems; of an older one while there are some.
    profile: Option<Box<Profile>>,
    past: Vec<Step>,
    future: Vec<Step>,
}

/// A text that was there before, and the key whose change ended it (`None`: more than one key).
#[derive(Debug, Clone)]
struct Step {
    text: String,
    key: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: Option<String>,
    /// Line of the text, from 1.
    pub line: Option<usize>,
    pub message: String,
}

impl Default for Draft {
    fn default() -> Self {
        Self::new(NEW.to_owned())
    }
}

impl Draft {
    pub fn new(text: String) -> Self {
        let mut draft = Self {
            text,
            entries: Vec::new(),
            problems: Vec::new(),
            profile: None,
            past: Vec::new(),
            future: Vec::new(),
        };
        draft.read();
        draft
    }

    fn read(&mut self) {
        self.entries = yaml::entries(&self.text);
        let no_overrides: &[&str] = &[];
        match Profile::parse("", &self.text, no_overrides) {
            Ok(profile) => (self.profile, self.problems) = (Some(Box::new(profile)), Vec::new()),
            Err(error) => {
                let found = |problem: lightbox_core::profile::Problem| Found {
                    line: match problem.place {
                        Place::File { at, .. } => at.map(|(line, _)| line),
                        Place::Override(_) => None,
                    },
                    key: problem.key,
                    message: problem.message,
                };
                self.problems = error.problems.into_iter().map(found).collect();
                // the YAML reader tells of a control character without its line, and refuses the whole text for it
                let control = self.text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
                if let ([first], Some(at)) = (&mut self.problems[..], control)
                    && first.key.is_none()
                {
                    first.line = Some(self.text[..at].matches('\n').count() + 1);
                }
            }
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn problems(&self) -> &[Found] {
        &self.problems
    }

    /// The profile, or the newest one that was sound.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    pub fn problems_of(&self, key: &str) -> impl Iterator<Item = &Found> {
        self.problems.iter().filter(move |found| found.key.as_deref() == Some(key))
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value that holds: the one that is set, else the default.
    pub fn value(&self, key: &Key) -> Value {
        self.entry(key.name).and_then(|entry| entry.value.clone()).unwrap_or_else(|| key.default())
    }

    /// The value as it is shown; a secret never is.
    pub fn shown(&self, key: &Key) -> String {
        shown(key, self.entry(key.name), &self.text)
    }

    /// Sets a key to a value in one line.
    pub fn set(&mut self, key: &str, inline: &str) -> Result<(), Refusal> {
        let text = yaml::set(&self.text, key, inline)?;
        self.change(text, Some(key.to_owned()));
        Ok(())
    }

    /// Back to the default.
    pub fn unset(&mut self, key: &str) -> Result<(), Refusal> {
        let text = yaml::remove(&self.text, key)?;
        self.change(text, Some(key.to_owned()));
        Ok(())
    }

    /// Another text, as a step that can be undone.
    pub fn replace(&mut self, text: String) {
        self.change(text, None);
    }

    /// Another text while it is being typed: all of it is one step, begun with [`Self::replace`].
    pub fn retype(&mut self, text: String) {
        self.text = text;
        self.read();
    }

    fn change(&mut self, text: String, key: Option<String>) {
        if text == self.text {
            return;
        }
        let text = std::mem::replace(&mut self.text, text);
        self.past.push(Step { text, key });
        if self.past.len() > MAX_PAST {
            self.past.remove(0);
        }
        self.future.clear();
        self.read();
    }

    /// One step back; with the key that it was about.
    pub fn undo(&mut self) -> Option<Option<String>> {
        let Step { text, key } = self.past.pop()?;
        let text = std::mem::replace(&mut self.text, text);
        self.future.push(Step { text, key: key.clone() });
        self.read();
        Some(key)
    }

    pub fn redo(&mut self) -> Option<Option<String>> {
        let Step { text, key } = self.future.pop()?;
        let text = std::mem::replace(&mut self.text, text);
        self.past.push(Step { text, key: key.clone() });
        self.read();
        Some(key)
    }

    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }
}

/// What stands in the text behind a key, or its default.
pub fn shown(key: &Key, entry: Option<&Entry>, text: &str) -> String {
    match entry {
        Some(_) if key.is_secret() => "••••••".to_owned(),
        Some(entry) => written(entry, text),
        None => yaml_value(&key.default()),
    }
}

/// An entry's value as it was written, if that is one line, so that `768*768` and `1e-4` stay what the user typed.
pub fn written(entry: &Entry, text: &str) -> String {
    let line = text.split('\n').nth(entry.lines.start).unwrap_or_default();
    let value = yaml::key_of(line).map(|(_, colon)| {
        let end = yaml::comment(line, colon + 1).unwrap_or(line.len());
        line[colon + 1..end].trim().to_owned()
    });
    match (value, &entry.value) {
        (Some(value), _) if entry.lines.len() == 1 && !value.is_empty() => value,
        (_, Some(value)) => yaml_value(value),
        (value, None) => value.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_can_be_undone_and_done_again() {
        let mut draft = Draft::new("seed: 1\n".into());
        draft.set("seed", "2").unwrap();
        draft.set("dataset", "a").unwrap();
        draft.unset("seed").unwrap();
        assert_eq!(draft.text(), "dataset: a\n");
        assert_eq!(draft.undo(), Some(Some("seed".into())));
        assert_eq!(draft.undo(), Some(Some("dataset".into())));
        assert_eq!(draft.text(), "seed: 2\n");
        assert_eq!(draft.redo(), Some(Some("dataset".into())));
        draft.set("seed", "3").unwrap();
        assert_eq!(draft.redo(), None);
        while draft.undo().is_some() {}
        assert_eq!(draft.text(), "seed: 1\n");
    }

    #[test]
    fn problems_lie_at_their_keys_and_the_last_sound_profile_stays() {
        let mut draft = Draft::new("lora_rank: 8\n".into());
        draft.set("lora_rank", "0").unwrap();
        assert_eq!(draft.problems_of("lora_rank").count(), 1);
        assert_eq!(draft.problems()[0].line, Some(1));
        assert_eq!(draft.profile().unwrap().lora_rank, 8);
        draft.set("lora_rank", "4").unwrap();
        assert!(draft.problems().is_empty());
        assert_eq!(draft.profile().unwrap().lora_rank, 4);
    }

    #[test]
    fn a_control_character_is_found_in_its_line() {
        let draft = Draft::new("seed: 1\nrun_name: \u{1b}[31m\n".into());
        assert_eq!(draft.problems()[0].line, Some(2));
    }

    #[test]
    fn a_value_is_shown_as_it_was_written_and_a_secret_is_not() {
        let draft = Draft::new("image_max_pixels: 768*768  # big\nhf_hub_token: abc\nlora_target:\n- a\n- b\n".into());
        let shown = |name| draft.shown(Key::find(name).unwrap());
        assert_eq!(shown("image_max_pixels"), "768*768");
        assert_eq!(shown("lora_target"), "[a, b]");
        assert_eq!(shown("learning_rate"), "5e-05");
        assert!(!shown("hf_hub_token").contains("abc"));
    }

    #[test]
    fn a_new_profile_asks_only_for_model_and_data() {
        let keys: Vec<_> = Draft::default().problems().iter().filter_map(|found| found.key.clone()).collect();
        assert_eq!(keys, ["dataset", "model_name_or_path"]);
    }
}
