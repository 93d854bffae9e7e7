//! The rows of the form: groups on the left, the keys of the chosen one, or of a search through all of them.

use super::draft::{self, Draft};
use super::yaml::Entry;
use super::{Train, board};
use crate::text::{Lang, T, keys_zh, train as text};
use lightbox_core::profile::{Group, KEYS, Key, Kind, OtherKey, Range};
use lightbox_core::safe_text::clean_line;

/// A part of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What LLaMA Board shows up front.
    Board,
    Group(Group),
    /// Keys in the text that are none of ours.
    Other,
}

const GROUPS: [(Group, T); 11] = [
    (Group::Task, text::GROUP_TASK),
    (Group::Model, text::GROUP_MODEL),
    (Group::Data, text::GROUP_DATA),
    (Group::Images, text::GROUP_IMAGES),
    (Group::Lora, text::GROUP_LORA),
    (Group::Training, text::GROUP_TRAINING),
    (Group::Optimizer, text::GROUP_OPTIMIZER),
    (Group::Evaluation, text::GROUP_EVALUATION),
    (Group::Output, text::GROUP_OUTPUT),
    (Group::Generation, text::GROUP_GENERATION),
    (Group::Machine, text::GROUP_MACHINE),
];

impl Section {
    pub fn title(self) -> T {
        match self {
            Self::Board => text::GROUP_BOARD,
            Self::Other => text::GROUP_OTHER,
            Self::Group(group) => {
                GROUPS.iter().find(|(known, _)| *known == group).map_or(text::GROUP_OTHER, |(_, title)| *title)
            }
        }
    }
}

/// A row of the form.
#[derive(Debug, Clone)]
pub enum Row {
    Key(&'static Key),
    /// One of LLaMA-Factory's that Lightbox does not have, or none at all.
    Other(String),
}

impl Row {
    pub fn name(&self) -> &str {
        match self {
            Self::Key(key) => key.name,
            Self::Other(name) => name,
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    Default,
    /// Line of the file, from 1.
    File(usize),
    /// Set here; the file has another value, in that line, or none.
    Here(Option<(String, usize)>),
    /// Taken out here; the file has it in that line.
    Removed(String, usize),
}

/// Sections in the order of the form; the last one only if there is something in it.
pub fn sections(draft: &Draft) -> Vec<Section> {
    let mut all = vec![Section::Board];
    all.extend(GROUPS.map(|(group, _)| Section::Group(group)));
    if draft.entries().iter().any(|entry| Key::find(&entry.key).is_none()) {
        all.push(Section::Other);
    }
    all
}

/// What stands beside a section: keys that are set in it, and problems.
pub fn counts(draft: &Draft, section: Section) -> (usize, usize) {
    let rows = of_section(draft, section);
    let set = rows.iter().filter(|row| draft.entry(row.name()).is_some()).count();
    let wrong = rows.iter().map(|row| draft.problems_of(row.name()).count()).sum();
    (set, wrong)
}

fn of_section(draft: &Draft, section: Section) -> Vec<Row> {
    match section {
        Section::Board => board::BOARD.iter().filter_map(|(name, _)| Key::find(name)).map(Row::Key).collect(),
        Section::Group(group) => KEYS.iter().filter(|key| key.group == group).map(Row::Key).collect(),
        Section::Other => {
            let other = |entry: &Entry| Key::find(&entry.key).is_none().then(|| Row::Other(entry.key.clone()));
            draft.entries().iter().filter_map(other).collect()
        }
    }
}

impl Train {
    pub fn section(&self) -> Section {
        sections(&self.draft).get(self.groups.at).copied().unwrap_or(Section::Board)
    }

    /// The rows to choose from now.
    pub fn rows(&self) -> Vec<Row> {
        let query = self.search.value().trim();
        if !query.is_empty() {
            return found(query);
        }
        let mut rows = match self.only_set {
            false => of_section(&self.draft, self.section()),
            true => {
                let other = of_section(&self.draft, Section::Other);
                KEYS.iter().map(Row::Key).chain(other).collect()
            }
        };
        if self.only_set {
            rows.retain(|row| {
                self.draft.entry(row.name()).is_some()
                    || self.draft.problems_of(row.name()).next().is_some()
                    || matches!(self.from(row.name()), From::Removed(..))
            });
        }
        rows
    }

    pub fn row(&self) -> Option<Row> {
        self.rows().into_iter().nth(self.keys.at)
    }

    /// The key under the cursor, if it is one of ours.
    pub fn key(&self) -> Option<&'static Key> {
        match self.row()? {
            Row::Key(key) => Some(key),
            Row::Other(_) => None,
        }
    }

    /// Where a key's value came from.
    pub fn from(&self, name: &str) -> From {
        let in_file = self.file.as_ref().and_then(|file| {
            let entry = file.entries.iter().find(|entry| entry.key == name)?;
            Some((draft::written(entry, &file.text), entry))
        });
        match (self.draft.entry(name), in_file) {
            (None, None) => From::Default,
            (None, Some((was, entry))) => From::Removed(hidden(name, was), entry.lines.start + 1),
            (Some(now), Some((_, entry))) if now.value == entry.value => From::File(entry.lines.start + 1),
            (Some(_), was) => From::Here(was.map(|(was, entry)| (hidden(name, was), entry.lines.start + 1))),
        }
    }

    /// Puts the cursor on a key, in its own group unless it is visible already.
    pub fn show(&mut self, name: &str) {
        let at = |train: &Self| train.rows().iter().position(|row| row.name() == name);
        let mut place = at(self);
        if place.is_none() {
            self.search = tui_input::Input::default();
            self.only_set = false;
            let own = Key::find(name).map_or(Section::Other, |key| Section::Group(key.group));
            let all = sections(&self.draft);
            self.groups.set_len(all.len());
            self.groups.at = all.iter().position(|section| *section == own).unwrap_or(0);
            place = at(self);
        }
        self.count();
        self.keys.at = place.unwrap_or(0);
    }

    /// The lists follow what is set and what is searched.
    pub fn count(&mut self) {
        self.groups.set_len(sections(&self.draft).len());
        let rows = self.rows().len();
        self.keys.set_len(rows);
    }
}

/// What may be written behind a key.
pub fn allowed(lang: Lang, key: &Key) -> String {
    if lang == Lang::En {
        return key.allowed();
    }
    let kind = match key.kind {
        Kind::Bool => "true 或 false".to_owned(),
        Kind::Integer => "整数".to_owned(),
        Kind::Number => "数字".to_owned(),
        Kind::Text => "文本（若形似数字或布尔值，请加引号）".to_owned(),
        Kind::Path => "路径".to_owned(),
        Kind::List => "用逗号分隔的名称".to_owned(),
        Kind::Numbers => "用逗号分隔的数字".to_owned(),
        Kind::Choice(words) => format!("{} 之一", words.join("、")),
        Kind::Device => "auto、cpu、cuda 或 cuda:N".to_owned(),
        Kind::SchedulerKwargs => "调度参数的映射，例如 {min_lr_rate: 0.1}".to_owned(),
    };
    let Range { min, max, above_min, below_max } = key.range;
    let mut text = kind;
    if min.is_finite() {
        text += &format!("，{} {min}", if above_min { "大于" } else { "不小于" });
    }
    if max.is_finite() {
        text += &format!("，{} {max}", if below_max { "小于" } else { "不大于" });
    }
    if key.optional {
        text += "，或 null";
    }
    text
}

/// What a key does.
pub fn doc(lang: Lang, key: &Key) -> String {
    match lang {
        Lang::En => key.doc(),
        Lang::Zh => keys_zh::doc(key.name).map_or_else(|| key.doc(), str::to_owned),
    }
}

/// Why setting a key changes nothing.
pub fn note(lang: Lang, key: &Key) -> Option<String> {
    let english = key.note?;
    let why = if lang == Lang::Zh { keys_zh::note(key.name).unwrap_or(english) } else { english };
    Some(text::NO_EFFECT.fill(lang, &[&why]))
}

/// What became of a key that is none of ours.
pub fn about_other(lang: Lang, name: &str) -> String {
    let shown = clean_line(name, 60);
    match OtherKey::find(name) {
        Some(OtherKey { note: Some(note), .. }) => text::OTHER_INERT.fill(lang, &[&shown, &note]),
        Some(key) => text::OTHER_REFUSED.fill(lang, &[&shown, &key.default_text()]),
        None => text::OTHER_UNKNOWN.fill(lang, &[&shown]),
    }
}

fn hidden(name: &str, value: String) -> String {
    if Key::find(name).is_some_and(Key::is_secret) { "••••••".to_owned() } else { value }
}

/// Keys whose name, label or text has all words of the query; those whose name has them first. LLaMA-Factory's other keys
/// are found by their names: a search must say what became of them.
fn found(query: &str) -> Vec<Row> {
    let words: Vec<String> = query.to_lowercase().replace('_', " ").split_whitespace().map(str::to_owned).collect();
    let fits = |text: String| {
        let text = text.to_lowercase().replace('_', " ");
        words.iter().all(|word| text.contains(word.as_str()))
    };
    let named = |key: &Key| {
        let label = board::label(key.name).map(|T(en, zh)| format!(" {en} {zh}")).unwrap_or_default();
        fits(key.name.to_owned() + &label)
    };
    let told = |key: &Key| fits(format!("{} {} {}", key.name, key.doc(), keys_zh::doc(key.name).unwrap_or_default()));
    let whole = words.join(" ");
    let is = |key: &Key| key.name.replace('_', " ") == whole;
    let exact = KEYS.iter().filter(|key| is(key));
    let first = KEYS.iter().filter(|key| named(key) && !is(key));
    let then = KEYS.iter().filter(|key| !named(key) && told(key));
    let other = OtherKey::all().filter(|key| fits(key.name.to_owned())).map(|key| Row::Other(key.name.to_owned()));
    exact.chain(first).chain(then).map(Row::Key).chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        found(query).iter().map(|row| row.name().to_owned()).collect()
    }

    #[test]
    fn a_key_is_found_by_name_by_text_and_by_the_label_of_llama_board() {
        assert_eq!(names("learning_rate")[0], "learning_rate");
        assert_eq!(names("learning rate")[0], "learning_rate");
        assert_eq!(names("dataset")[0], "dataset");
        assert_eq!(names("booster"), ["flash_attn"]);
        assert_eq!(names("计算类型"), ["bf16", "pure_bf16"]);
        assert!(names("学习率").contains(&"lr_scheduler_type".to_owned()));
        assert!(names("neftune").contains(&"neftune_noise_alpha".to_owned()));
        assert!(names("zzzz").is_empty());
    }

    #[test]
    fn every_key_is_in_exactly_one_group() {
        let draft = Draft::new(String::new());
        let all: usize = GROUPS.iter().map(|(group, _)| of_section(&draft, Section::Group(*group)).len()).sum();
        assert_eq!(all, KEYS.len());
        assert_eq!(sections(&draft).len(), GROUPS.len() + 1);
        assert_eq!(sections(&Draft::new("nonsense: 1\n".into())).last(), Some(&Section::Other));
    }
}
