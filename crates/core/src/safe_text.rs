//! Text from data, models, file names and logs, made safe for a terminal. Whatever is printed and was not written by us
//! passes [`clean`] or [`clean_line`]; the original stays as it is on disk.
//!
//! An escape sequence can rewrite the screen, set the title, write the clipboard (OSC 52) or, in some terminals, run a
//! program (CVE-2003-0070, CVE-2022-41322); marks of writing direction and invisible characters can make a text look like
//! another (CVE-2021-42574). All of them need a character of the classes below, so those are shown by their number and
//! the rest is left alone. Width is not counted here: that is the screen's business.

/// Drops nothing silently: escape and other control characters (but `\n` and `\t`), marks of writing direction and
/// invisible characters become visible as `\u{…}`.
///
/// ```
/// use lightbox_core::safe_text::clean;
/// assert_eq!(clean("a\x1b[31mred\x07\n"), "a\\u{1b}[31mred\\u{7}\n");
/// ```
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c));
    out
}

/// [`clean`] for one line: a line break becomes `␤` (`\r\n` too), a tab a space, and whatever is longer than `max_chars`
/// characters of the original ends with `…`. Reads no more of the text than it shows.
pub fn clean_line(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    for _ in 0..max_chars {
        let Some(c) = rest.next() else { return out };
        match c {
            '\n' => out.push('␤'),
            '\r' if rest.as_str().starts_with('\n') => {
                rest.next();
                out.push('␤');
            }
            '\t' => out.push(' '),
            c => push(&mut out, c),
        }
    }
    if rest.next().is_some() {
        out.push('…');
    }
    out
}

/// For a command that is shown: in quotes if it has more than plain signs in it.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn push(out: &mut String, c: char) {
    if is_unsafe(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
}

fn is_unsafe(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        c if c.is_control() => true, // C0 (escape among them), DEL, and C1, which some terminals obey like ESC + letter
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true, // soft hyphen, joiners, fillers, Arabic mark
        '\u{180b}'..='\u{180f}' => true, // Mongolian selectors and separator
        '\u{200b}'..='\u{200f}' => true, // zero width, direction marks
        '\u{2028}'..='\u{202e}' => true, // line and paragraph separator, direction overrides
        '\u{2060}'..='\u{206f}' => true, // word joiner, invisible operators, direction isolates
        '\u{3164}' | '\u{feff}' | '\u{ffa0}' => true, // fillers, byte order mark
        '\u{fff9}'..='\u{fffb}' => true, // annotation marks
        '\u{e0000}'..='\u{e0fff}' => true, // tags: whole invisible sentences
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_for_a_shell_are_quoted_where_they_must_be() {
        assert_eq!(shell_word("/runs/a-1.b"), "/runs/a-1.b");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }

    #[test]
    fn ordinary_text_of_any_script_is_left_alone() {
        let text = "Zwölf Boxkämpfer\t请描述这张图片\nعربي עברית हिन्दी 🩺 ❤️ e\u{301} \u{3000}…";
        assert_eq!(clean(text), text);
    }

    #[test]
    fn attacks_become_visible() {
        for (attack, shown) in [
            ("\x1b]52;c;cm0gLXJm\x07", "\\u{1b}]52;c;cm0gLXJm\\u{7}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("ok\rno\x08\x7f\0", "ok\\u{d}no\\u{8}\\u{7f}\\u{0}"),
            ("user\u{202e}txt.exe\u{2069}", "user\\u{202e}txt.exe\\u{2069}"),
            ("a\u{200b}b\u{feff}\u{200d}", "a\\u{200b}b\\u{feff}\\u{200d}"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(clean(attack), shown);
            assert_eq!(clean_line(attack, 100), shown);
        }
    }

    #[test]
    fn a_line_stays_one_line_and_within_its_length() {
        assert_eq!(clean_line("a\nb\r\nc\td\re", 100), "a␤b␤c d\\u{d}e");
        assert_eq!(clean_line("abcdef", 3), "abc…");
        assert_eq!(clean_line("abc", 3), "abc");
        assert_eq!(clean_line("ab\r\n", 3), "ab␤");
        assert_eq!(clean_line("abc", 0), "…");
        assert_eq!(clean_line("", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_ever_comes_out(text in any::<String>(), max in 0usize..50) {
            let cleaned = clean(&text);
            prop_assert!(!cleaned.chars().any(is_unsafe));
            prop_assert_eq!(clean(&cleaned), cleaned.clone(), "cleaning twice changes nothing");
            let line = clean_line(&text, max);
            prop_assert!(!line.chars().any(|c| is_unsafe(c) || c == '\n' || c == '\t'));
        }
    }
}
