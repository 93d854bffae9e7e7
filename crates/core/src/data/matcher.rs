//! Does a sample fit a query? Not here: what a query is (`query.rs`) and going through a data set (`search.rs`).

use super::columns::{Columns, text_of};
use super::layout::Parsed;
use super::query::{CellTest, ColumnTest, Field, Query, Word};
use super::{Dataset, Problem};
use memchr::memmem::Finder;
use serde_json::Value;

/// A query, ready to be asked of one sample after the other, by several threads if need be.
pub struct Matcher {
    query: Query,
    needles: Vec<Needle>,
    columns: Option<Columns>,
}

struct Needle {
    finder: Finder<'static>,
    field: Field,
    not: bool,
}

impl Matcher {
    /// # Errors
    /// A column that parquet files do not have.
    pub fn new(dataset: &Dataset, query: Query) -> anyhow::Result<Self> {
        let needle = |word: &Word| {
            let mut text = String::new();
            fold(&word.text, &mut text);
            Needle { finder: Finder::new(text.as_bytes()).into_owned(), field: word.field, not: word.not }
        };
        let needles = query.words.iter().map(needle).collect();
        let names: Vec<&str> = query.columns.iter().map(|test| test.column.as_str()).collect();
        let columns = if names.is_empty() { None } else { Some(Columns::of(dataset, &names)?) };
        Ok(Self { query, needles, columns })
    }

    /// Does sample `index`, which [`Dataset::glance`] read so, fit?
    pub fn fits(&self, dataset: &Dataset, index: usize, glanced: &Result<Parsed, Problem>, texts: &mut Texts) -> bool {
        match glanced {
            Ok(parsed) => self.query.problem.is_none() && self.fits_sample(dataset, index, parsed, texts),
            Err(problem) => self.fits_problem(dataset, index, problem, texts),
        }
    }

    /// A row that cannot be read has no texts, columns or pictures: only its origin can be asked for.
    fn fits_problem(&self, dataset: &Dataset, index: usize, problem: &Problem, texts: &mut Texts) -> bool {
        let asked = self.query.problem.as_deref().is_some_and(|kind| kind.is_empty() || kind == problem.kind);
        let other = self.query.pictures.is_some() || self.query.length.is_some() || self.columns.is_some();
        asked && !other && {
            texts.clear();
            self.words_fit(dataset, index, texts)
        }
    }

    fn fits_sample(&self, dataset: &Dataset, index: usize, parsed: &Parsed, texts: &mut Texts) -> bool {
        let messages = &parsed.conversation.messages;
        if self.query.pictures.as_ref().is_some_and(|bounds| !bounds.contains(&parsed.images.len())) {
            return false;
        }
        if let Some(bounds) = &self.query.length {
            let length = messages.iter().skip(1).step_by(2).map(|m| m.content.chars().count()).sum();
            if !bounds.contains(&length) {
                return false;
            }
        }
        if let Some(columns) = &self.columns {
            // A column that cannot be read (text that is not UTF-8) fits nothing.
            let Ok(cells) = columns.read(dataset, index) else { return false };
            let fits = |test: &ColumnTest| cell_fits(cells.get(&test.column), &test.test) != test.not;
            if !self.query.columns.iter().all(fits) {
                return false;
            }
        }
        if self.needles.is_empty() {
            return true;
        }
        texts.clear();
        fold(parsed.conversation.system.as_deref().unwrap_or_default(), &mut texts.system);
        for message in messages {
            let text = if message.role.answers() { &mut texts.answers } else { &mut texts.questions };
            fold(&message.content, text);
            text.push('\n');
        }
        self.words_fit(dataset, index, texts)
    }

    fn words_fit(&self, dataset: &Dataset, index: usize, texts: &mut Texts) -> bool {
        if self.needles.iter().any(|needle| needle.field == Field::Origin) {
            fold(&dataset.origin(index), &mut texts.origin);
        }
        let Texts { system, questions, answers, origin } = &*texts;
        self.needles.iter().all(|needle| {
            let is_in = |text: &String| needle.finder.find(text.as_bytes()).is_some();
            let found = match needle.field {
                Field::Any => is_in(questions) || is_in(answers) || is_in(system),
                Field::Question => is_in(questions),
                Field::Answer => is_in(answers),
                Field::Origin => is_in(origin),
            };
            found != needle.not
        })
    }
}

fn cell_fits(cell: Option<&Value>, test: &CellTest) -> bool {
    match (cell, test) {
        (None | Some(Value::Null), CellTest::Empty) => true,
        (Some(Value::String(text)), CellTest::Empty) => text.trim().is_empty(),
        (Some(Value::Array(list)), CellTest::Empty) => list.is_empty(),
        (Some(Value::Array(list)), _) => list.iter().any(|entry| cell_fits(Some(entry), test)),
        (None | Some(Value::Null), _) | (_, CellTest::Empty) => false,
        (Some(cell), CellTest::Number(span)) => number(cell).is_some_and(|number| span.contains(number)),
        (Some(cell), CellTest::Text(text)) => {
            let same_number = || cell.is_number() && number(cell) == text.parse().ok();
            folded(&text_of(cell)) == folded(text) || same_number()
        }
        (Some(cell), CellTest::Pattern(pattern)) => is_like(&folded(&text_of(cell)), &folded(pattern)),
    }
}

fn number(cell: &Value) -> Option<f64> {
    cell.as_f64().or_else(|| cell.as_str()?.trim().parse().ok())
}

/// `*` in `pattern` stands for any text.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty()
}

/// The texts of one sample, folded; kept to spare their allocation.
#[derive(Default)]
pub struct Texts {
    system: String,
    questions: String,
    answers: String,
    origin: String,
}

impl Texts {
    fn clear(&mut self) {
        for text in [&mut self.system, &mut self.questions, &mut self.answers, &mut self.origin] {
            text.clear();
        }
    }
}

fn folded(text: &str) -> String {
    let mut out = String::new();
    fold(text, &mut out);
    out
}

/// Appends `text` in lower case, character by character, so that a word folds the same wherever it stands (Rust's
/// `to_lowercase` writes a final sigma differently).
fn fold(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
        return;
    }
    out.extend(text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }));
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn stars_stand_for_any_text() {
        for (text, pattern, fits) in [
            ("abc", "*", true),
            ("abc", "a*c", true),
            ("abc", "*b*", true),
            ("abc", "a*b", false),
            ("aa", "a*a", true),
            ("a", "a*a", false),
            ("", "*", true),
            ("abcabc", "*abc", true),
            ("abx", "a*bc*", false),
        ] {
            assert_eq!(is_like(text, pattern), fits, "{text} {pattern}");
        }
    }
}
