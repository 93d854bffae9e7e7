//! Numbers, sizes, times and cut texts as screens show them; columns are counted as terminals count them.
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use crate::cli::runs::words::{age, size, time};

pub fn width(text: &str) -> usize {
    // most text, and many times faster
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return text.len();
    }
    UnicodeWidthStr::width(text)
}

/// The beginning of a text that fits `columns`, with `…` if something was cut. Never cuts through a letter.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for letter in text.graphemes(true) {
        let w = width(letter);
        if used + w + 1 > columns {
            break;
        }
        out += letter;
        used += w;
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// As [`cut`], but the end stays: for paths.
pub fn cut_left(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = Vec::new();
    let mut used = 0;
    for letter in text.graphemes(true).rev() {
        let w = width(letter);
        if used + w + 1 > columns {
            break;
        }
        kept.push(letter);
        used += w;
    }
    if columns > 0 {
        kept.push("…");
    }
    kept.into_iter().rev().collect()
}

/// Cut or filled with blanks to exactly `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let blanks = columns.saturating_sub(width(&text));
    text + &" ".repeat(blanks)
}

/// The same, on the right.
pub fn pad_left(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

/// `24,800,000`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The pieces of a line between which it may be broken: words with the punctuation behind them, blanks, and single letters
/// where a script has no blanks.
pub fn atoms(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let mut before = rest.chars().next()?;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let apart = !belong_together(before, *c);
            before = *c;
            apart
        });
        let (atom, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = after;
        Some(atom)
    })
}

fn belong_together(before: char, c: char) -> bool {
    let is_part = |c: char| UnicodeWidthChar::width(c) == Some(0) || ('\u{1f3fb}'..='\u{1f3ff}').contains(&c);
    match (before.is_ascii(), c.is_ascii()) {
        _ if before.is_whitespace() || c.is_whitespace() => before.is_whitespace() && c.is_whitespace(),
        // Paths and long names are better broken there than between any two letters.
        (true, true) => !matches!(before, '/' | '-') || matches!(c, '/' | '-'),
        // Never at the beginning of a line; and a letter's marks belong to it.
        _ if "，。、；：？！）》」』”’…".contains(c) || is_part(c) => true,
        _ => UnicodeWidthChar::width(before) != Some(2) && UnicodeWidthChar::width(c) != Some(2),
    }
}

/// Lines of at most `columns`, broken between words where there are blanks and between letters where there are none
/// (Chinese has none). Line ends of the text stay.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for word in atoms(paragraph) {
            let w = width(word);
            if used + w > columns && used > 0 {
                lines.push(line.trim_end().to_owned());
                (line, used) = (String::new(), 0);
                if word.trim().is_empty() {
                    continue;
                }
            }
            if w <= columns {
                line += word;
                used += w;
                continue;
            }
            for letter in word.graphemes(true) {
                let w = width(letter);
                if used + w > columns {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line += letter;
                used += w;
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_columns_and_never_through_a_letter() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("图片中的诊断", 7), "图片中…");
        assert_eq!(cut("图片中的诊断", 6), "图片…");
        assert_eq!(cut_left("/data/图片/a.png", 9), "…片/a.png");
        assert_eq!(pad("图", 4), "图  ");
        assert_eq!(pad_left("1", 3), "  1");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn punctuation_stays_with_its_word_and_scripts_without_blanks_break_anywhere() {
        let all = |line| atoms(line).collect::<Vec<_>>();
        assert_eq!(all("a non-contrast CT, (left)."), ["a", " ", "non-", "contrast", " ", "CT,", " ", "(left)."]);
        assert_eq!(all("左侧，小病灶。CT"), ["左", "侧，", "小", "病", "灶。", "CT"]);
        assert_eq!(all("data/a_b.json"), ["data/", "a_b.json"]);
        assert_eq!(all(""), Vec::<&str>::new());
        assert_eq!(all("<|im_start|>user"), ["<|im_start|>user"]);
        assert_eq!(all("e\u{301}e  👍🏽👍"), ["e\u{301}e", "  ", "👍🏽", "👍"]);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 24_800_000].map(count).join(" "), "0 999 1,000 24,800,000");
    }

    #[test]
    fn lines_break_between_words_and_in_chinese_between_letters() {
        assert_eq!(wrap("the quick brown fox", 10), ["the quick", "brown fox"]);
        assert_eq!(wrap("图片中的诊断结果", 7), ["图片中", "的诊断", "结果"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
        // no line begins with what ends a sentence
        assert_eq!(wrap("it is so.", 8), ["it is", "so."]);
        assert_eq!(wrap("左侧病灶。右侧", 8), ["左侧病", "灶。右侧"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
    }
}
