//! What to search for, as one line: words and conditions, all of which must hold.
//!
//! ```text
//! tumour                 somewhere in the conversation, whatever its case
//! "left lung"            these words together
//! -benign                not there
//! answer:tumour          in an answer; also question: and origin: (file and row)
//! role:answer            all plain words are meant for answers; also question, origin, any
//! pictures:>1            pictures:0 (text only), pictures:>=1, pictures:2..4
//! len:>400               characters of all answers together
//! problem:               rows that cannot be read; problem:odd_turns only those of this kind
//! column.source:brats*   a column of the row, whole, whatever its case; * is any text, in quotes it is a star
//! column.age:>=60        a number there; also column.age:20..40; column.age: nothing is there
//! column."patient id":7  a name with blanks or colons
//! ```

use super::problem::kind;
use std::ops::{Bound, RangeBounds, RangeInclusive};

/// Where a word is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Field {
    /// System text, questions and answers.
    #[default]
    Any,
    Question,
    Answer,
    /// File, and line or row.
    Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub field: Field,
    /// It must not be there.
    pub not: bool,
}

/// All conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    pub words: Vec<Word>,
    pub pictures: Option<RangeInclusive<usize>>,
    /// Characters of all answers together, as `data stats` counts them.
    pub length: Option<RangeInclusive<usize>>,
    /// Only rows that cannot be read: of this kind, or with `""` of any.
    pub problem: Option<String>,
    pub columns: Vec<ColumnTest>,
}

/// A condition on a column, whether or not the layout reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnTest {
    pub column: String,
    pub test: CellTest,
    /// It must not hold.
    pub not: bool,
}

/// What a cell must be. A list fits if one of its entries does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellTest {
    /// No such column, null, an empty text or list.
    Empty,
    /// This text as a whole, whatever its case.
    Text(String),
    /// The same, where `*` stands for any text, also none.
    Pattern(String),
    /// A number, or a text that is one.
    Number(Span),
}

/// The numbers from one bound to the other; neither is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub low: Bound<f64>,
    pub high: Bound<f64>,
}

impl Eq for Span {}

impl Span {
    /// `>3`, `>=3`, `<3`, `<=3`, `3..9`; `None` if it is none of these.
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok().filter(|number: &f64| !number.is_nan());
        let (low, high) = if let Some(n) = text.strip_prefix(">=") {
            (Bound::Included(number(n)?), Bound::Unbounded)
        } else if let Some(n) = text.strip_prefix("<=") {
            (Bound::Unbounded, Bound::Included(number(n)?))
        } else if let Some(n) = text.strip_prefix('>') {
            (Bound::Excluded(number(n)?), Bound::Unbounded)
        } else if let Some(n) = text.strip_prefix('<') {
            (Bound::Unbounded, Bound::Excluded(number(n)?))
        } else {
            let (first, last) = text.split_once("..")?;
            (Bound::Included(number(first)?), Bound::Included(number(last)?))
        };
        Some(Self { low, high })
    }

    pub fn contains(&self, number: f64) -> bool {
        (self.low, self.high).contains(&number)
    }
}

/// Why a line is no query: one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("nothing to search for: type a word, or a condition such as pictures:>1")]
    Empty,
    #[error("the quote \" is not closed")]
    OpenQuote,
    #[error("{key}: says nothing; write it as {example}")]
    NoValue { key: &'static str, example: &'static str },
    #[error("{key}:{value} is no condition; write it as {key}:3, {key}:>3, {key}:<=3 or {key}:3..9")]
    BadBounds { key: &'static str, value: String },
    #[error("role:{0} is unknown; it is one of any, question, answer, origin")]
    BadRole(String),
    #[error("problem:{0} is unknown; problem: alone finds all rows that cannot be read")]
    BadProblem(String),
    #[error(
        "\"{0}:\" is no condition; they are question, answer, origin, role, pictures, len, problem and column.NAME. To search for this text put it in quotes"
    )]
    UnknownKey(String),
    #[error(
        "column.{0}:{1} is no condition; write it as column.{0}:text, column.{0}:>3 or column.{0}:3..9, a text with < or > in quotes"
    )]
    BadCell(String, String),
}

impl std::str::FromStr for Query {
    type Err = QueryError;

    fn from_str(line: &str) -> Result<Self, QueryError> {
        let mut query = Self::default();
        let mut default_field = Field::Any;
        let mut plain = Vec::new();
        for token in tokens(line)? {
            let Token { not, key, text, quoted } = token;
            let key = match key {
                None => {
                    plain.push(query.words.len());
                    query.words.push(Word { text, field: Field::Any, not });
                    continue;
                }
                Some(TokenKey::Column(column)) => {
                    let test = cell_test(&column, text, quoted)?;
                    query.columns.push(ColumnTest { column, test, not });
                    continue;
                }
                Some(TokenKey::Word(key)) => key,
            };
            let mut word = |field, key, example| {
                if text.is_empty() {
                    return Err(QueryError::NoValue { key, example });
                }
                query.words.push(Word { text: text.clone(), field, not });
                Ok(())
            };
            match key.as_str() {
                "question" => word(Field::Question, "question", "question:word")?,
                "answer" => word(Field::Answer, "answer", "answer:word")?,
                "origin" => word(Field::Origin, "origin", "origin:train-00001")?,
                "role" | "in" => {
                    default_field = match text.as_str() {
                        "any" => Field::Any,
                        "question" | "user" => Field::Question,
                        "answer" | "assistant" => Field::Answer,
                        "origin" => Field::Origin,
                        _ => return Err(QueryError::BadRole(text)),
                    }
                }
                "pictures" | "images" => query.pictures = Some(bounds("pictures", &text)?),
                "len" => query.length = Some(bounds("len", &text)?),
                "problem" if text.is_empty() || kind::READING.contains(&text.as_str()) => query.problem = Some(text),
                "problem" => return Err(QueryError::BadProblem(text)),
                _ => return Err(QueryError::UnknownKey(key)),
            }
        }
        for i in plain {
            query.words[i].field = default_field;
        }
        if query == Self::default() {
            return Err(QueryError::Empty);
        }
        Ok(query)
    }
}

/// What follows `column.NAME:`.
fn cell_test(column: &str, text: String, quoted: bool) -> Result<CellTest, QueryError> {
    if quoted {
        return Ok(CellTest::Text(text));
    }
    if let Some(span) = Span::parse(&text) {
        return Ok(CellTest::Number(span));
    }
    match text.as_str() {
        "" => Ok(CellTest::Empty),
        text if text.starts_with(['<', '>']) => Err(QueryError::BadCell(column.to_owned(), text.to_owned())),
        _ if text.contains('*') => Ok(CellTest::Pattern(text)),
        _ => Ok(CellTest::Text(text)),
    }
}

struct Token {
    not: bool,
    key: Option<TokenKey>,
    text: String,
    quoted: bool,
}

/// What stands before the colon.
enum TokenKey {
    Word(String),
    Column(String),
}

/// `column.NAME:` at the beginning of `text`, the name perhaps in quotes, and what follows it.
fn column_key(text: &str) -> Option<(&str, &str)> {
    const START: &str = "column.";
    let name =
        text.get(..START.len()).filter(|start| start.eq_ignore_ascii_case(START)).map(|_| &text[START.len()..])?;
    let (name, rest) = match name.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').and_then(|(name, rest)| Some((name, rest.strip_prefix(':')?)))?,
        None => name.split_once(':').filter(|(name, _)| !name.contains(char::is_whitespace))?,
    };
    Some((name, rest)).filter(|(name, _)| !name.is_empty())
}

/// Words between blanks; quotes keep blanks and colons.
fn tokens(line: &str) -> Result<Vec<Token>, QueryError> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let mut token = Token { not: false, key: None, text: String::new(), quoted: false };
        if let Some(after) = rest.strip_prefix('-')
            && after.starts_with(|c: char| !c.is_whitespace())
        {
            (token.not, rest) = (true, after);
        }
        let key = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        if let Some((name, after)) = column_key(rest) {
            token.key = Some(TokenKey::Column(name.to_owned()));
            rest = after;
        } else if key > 0 && rest[key..].starts_with(':') {
            token.key = Some(TokenKey::Word(rest[..key].to_ascii_lowercase()));
            rest = &rest[key + 1..];
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or(QueryError::OpenQuote)?;
            token.text = quoted[..end].to_owned();
            token.quoted = true;
            rest = &quoted[end + 1..];
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            token.text = rest[..end].to_owned();
            rest = &rest[end..];
        }
        if token.key.is_some() || !token.text.is_empty() {
            tokens.push(token);
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn bounds(key: &'static str, text: &str) -> Result<RangeInclusive<usize>, QueryError> {
    let bad = || QueryError::BadBounds { key, value: text.to_owned() };
    let number = |text: &str| text.parse::<usize>().map_err(|_| bad());
    if let Some(n) = text.strip_prefix(">=") {
        return Ok(number(n)?..=usize::MAX);
    }
    if let Some(n) = text.strip_prefix("<=") {
        return Ok(0..=number(n)?);
    }
    if let Some(n) = text.strip_prefix('>') {
        return Ok(number(n)?.checked_add(1).ok_or_else(bad)?..=usize::MAX);
    }
    if let Some(n) = text.strip_prefix('<') {
        return Ok(0..=number(n)?.checked_sub(1).ok_or_else(bad)?);
    }
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last { Err(bad()) } else { Ok(first..=last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Query, QueryError> {
        line.parse()
    }

    #[test]
    fn words_and_conditions_stand_in_one_line() {
        let q = parse("tumour role:answer pictures:>1 len:>=400 -\"not this\" origin:train-1").unwrap();
        let word = |text: &str, field, not| Word { text: text.into(), field, not };
        assert_eq!(
            q.words,
            [
                word("tumour", Field::Answer, false),
                word("not this", Field::Answer, true),
                word("train-1", Field::Origin, false)
            ]
        );
        assert_eq!((q.pictures, q.length, q.problem), (Some(2..=usize::MAX), Some(400..=usize::MAX), None));
        assert_eq!(parse("problem:").unwrap().problem.as_deref(), Some(""));
        assert_eq!(parse("problem:odd_turns").unwrap().problem.as_deref(), Some("odd_turns"));
        assert_eq!(parse("len:2..4 pictures:0").unwrap().length, Some(2..=4));
        assert_eq!(parse("肺部:").unwrap().words[0].text, "肺部:", "only ASCII words are keys");
        assert_eq!(parse("\"http://x\"").unwrap().words[0].text, "http://x");
    }

    #[test]
    fn columns_are_asked_for_as_text_pattern_number_or_nothing() {
        let test = |line: &str| {
            let mut columns = parse(line).unwrap().columns;
            assert_eq!(columns.len(), 1, "{line}");
            let test = columns.remove(0);
            (test.column, test.test, test.not)
        };
        let text = |text: &str| CellTest::Text(text.into());
        assert_eq!(test("column.source:ct_rate"), ("source".into(), text("ct_rate"), false));
        assert_eq!(test("-COLUMN.source:BraTS*"), ("source".into(), CellTest::Pattern("BraTS*".into()), true));
        assert_eq!(test("column.\"patient id\":\"a b*\""), ("patient id".into(), text("a b*"), false));
        assert_eq!(test("column.年龄:"), ("年龄".into(), CellTest::Empty, false));
        assert_eq!(test("column.x:\"\"").1, text(""));
        let CellTest::Number(span) = test("column.age:>60").1 else { panic!() };
        assert!(span.contains(60.5) && !span.contains(60.0));
        let CellTest::Number(span) = test("column.age:-1.5..2").1 else { panic!() };
        assert!(span.contains(-1.5) && span.contains(2.0) && !span.contains(2.1));
        assert_eq!(parse("tumour column.a:x column.b:y").unwrap().columns.len(), 2);
        // Not such a condition: words.
        assert_eq!(parse("column.x").unwrap().words[0].text, "column.x");
        assert!(parse("column.x:>many").unwrap_err().to_string().contains("column.x:3..9"));
    }

    #[test]
    fn what_is_no_query_is_said_in_words() {
        for (line, words) in [
            ("", "nothing to search for"),
            ("  ", "nothing to search for"),
            ("\"a", "not closed"),
            ("answer:", "answer:word"),
            ("pictures:many", "pictures:3..9"),
            ("pictures:<0", "pictures:<0"),
            ("len:9..3", "len:9..3"),
            ("role:judge", "any, question, answer"),
            ("problem:sad", "problem:sad"),
            ("http://x", "quotes"),
        ] {
            let message = parse(line).unwrap_err().to_string();
            assert!(message.contains(words), "{line}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC*") {
            let _ = parse(&line);
        }
    }
}
