//! Changes to the text of a profile, one key at a time: comments, order and everything else stay as they are.
//!
//! A profile is a list of `key: value` lines, and that is what is understood here. Whatever a change makes of the text is
//! parsed again: where it did not come out as wanted (JSON, one mapping in braces, a syntax error elsewhere) the change is
//! refused, and the text itself has to be edited. Not here: what keys and values mean ([`super::draft`]).

use lightbox_core::profile::{KEYS, Key, yaml_value};
use serde_yaml::{Mapping, Value};
use std::ops::Range;

/// A key with its value, as it stands in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    /// Lines, from 0.
    pub lines: Range<usize>,
    /// `None`: not YAML.
    pub value: Option<Value>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The text is not YAML, before the change already or with it.
    NotYaml,
    /// It is, but not written line by line.
    NotLines,
}

/// All keys at the left edge, in the order of the text.
pub fn entries(text: &str) -> Vec<Entry> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut found: Vec<Entry> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        if let Some((key, _)) = key_of(line) {
            found.push(Entry { key: key.to_owned(), lines: i..i + 1, value: None });
        } else if let Some(last) = found.last_mut()
            && continues(line)
        {
            last.lines.end = i + 1;
        }
    }
    for entry in &mut found {
        let block: String = lines[entry.lines.clone()].concat();
        entry.value = serde_yaml::from_str::<Mapping>(&block).ok().and_then(|mut map| map.remove(entry.key.as_str()));
    }
    found
}

/// Sets `key` to what `inline` says, a value in one line.
pub fn set(text: &str, key: &str, inline: &str) -> Result<String, Refusal> {
    let all = entries(text);
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    match all.iter().find(|entry| entry.key == key) {
        Some(entry) => {
            let new = with_value(&lines[entry.lines.start], inline);
            lines.splice(entry.lines.clone(), [new]);
        }
        None => {
            if let Some(last) = lines.last_mut()
                && !last.ends_with('\n')
            {
                last.push('\n');
            }
            let at = place(&all, key, lines.len());
            lines.insert(at, format!("{key}: {inline}\n"));
        }
    }
    let new = lines.concat();
    let wanted: Value = serde_yaml::from_str(inline).map_err(|_| Refusal::NotYaml)?;
    checked(new, key, Some(&wanted))
}

/// Takes `key` out, wherever it stands.
pub fn remove(text: &str, key: &str) -> Result<String, Refusal> {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    for entry in entries(text).iter().rev().filter(|entry| entry.key == key) {
        lines.drain(entry.lines.clone());
    }
    checked(lines.concat(), key, None)
}

/// The text can be changed key by key.
pub fn is_lines(text: &str) -> bool {
    checked(text.to_owned(), "", None).is_ok()
}

/// The new text, if it says what it should and every key in it is one of [`entries`].
fn checked(text: String, key: &str, wanted: Option<&Value>) -> Result<String, Refusal> {
    let map = match serde_yaml::from_str::<Value>(&text) {
        Ok(Value::Mapping(map)) => map,
        Ok(Value::Null) => Mapping::new(),
        // A key that is there twice is told by the profile's own check; form edits may go on meanwhile.
        Ok(_) => return Err(Refusal::NotLines),
        Err(_) => return Err(Refusal::NotYaml),
    };
    let all = entries(&text);
    let lines = map.len() == all.len() && all.iter().all(|entry| map.contains_key(entry.key.as_str()));
    let as_wanted = match (map.get(key), wanted) {
        (Some(is), Some(wanted)) => yaml_value(is) == yaml_value(wanted),
        (is, wanted) => is.is_none() && wanted.is_none(),
    };
    if lines && as_wanted { Ok(text) } else { Err(Refusal::NotLines) }
}

/// Where a new key goes: behind those of its group that come before it in a form, else before those that come after it,
/// else at the end.
fn place(all: &[Entry], key: &str, end: usize) -> usize {
    let order = |name: &str| KEYS.iter().position(|key| key.name == name);
    let (Some(mine), Some(group)) = (order(key), Key::find(key).map(|key| key.group)) else { return end };
    let of_group = || all.iter().filter_map(|e| Some((order(&e.key)?, e))).filter(|(at, _)| KEYS[*at].group == group);
    let before = of_group().filter(|(at, _)| *at < mine).map(|(_, entry)| entry.lines.end).max();
    let after = || of_group().filter(|(at, _)| *at > mine).map(|(_, entry)| entry.lines.start).min();
    before.or_else(after).unwrap_or(end)
}

/// The line `key: old  # comment` with another value; the comment stays in its column where there is room.
fn with_value(line: &str, inline: &str) -> String {
    let Some((_, colon)) = key_of(line) else { return line.to_owned() };
    let mut new = format!("{}: {inline}", line[..colon].trim_end());
    let body = line.trim_end_matches(['\n', '\r']);
    if let Some(at) = comment(body, colon + 1) {
        let column = body[..at].chars().count();
        let blanks = column.saturating_sub(new.chars().count()).max(1);
        new += &" ".repeat(blanks);
        new += &body[at..];
    }
    new + &line[body.len()..]
}

/// Where the comment of a line begins.
pub fn comment(line: &str, from: usize) -> Option<usize> {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices().filter(|(at, _)| *at >= from) {
        match quote {
            Some(open) => quote = (c != open).then_some(open),
            None if c == '#' && before.is_whitespace() => return Some(at),
            // within a word a quote is a letter
            None if matches!(c, '"' | '\'') && (before.is_whitespace() || "[{,".contains(before)) => quote = Some(c),
            None => {}
        }
        before = c;
    }
    None
}

/// The key that a line begins with, and where its colon is.
pub fn key_of(line: &str) -> Option<(&str, usize)> {
    let first = line.chars().next()?;
    if matches!(first, '"' | '\'') {
        let close = line[1..].find(first)? + 1;
        let blanks = line[close + 1..].len() - line[close + 1..].trim_start_matches(' ').len();
        let colon = close + 1 + blanks;
        return line[colon..].starts_with(':').then(|| (&line[1..close], colon));
    }
    if !first.is_alphanumeric() && first != '_' {
        return None;
    }
    let ends = |at: usize| line[at + 1..].chars().next().is_none_or(char::is_whitespace);
    let colon = line.match_indices(':').map(|(at, _)| at).find(|at| ends(*at))?;
    if comment(&line[..colon], 0).is_some() {
        return None;
    }
    Some((line[..colon].trim_end(), colon))
}

/// The line goes on with the value above it.
fn continues(line: &str) -> bool {
    let text = line.trim_end();
    !text.is_empty()
        && (line.starts_with([' ', '\t', ']', '}']) || text == "-" || line.starts_with("- "))
        && !text.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a profile\n\n### model\nmodel_name_or_path: m   # the base\nlora_target:\n- q_proj\n- v_proj\n\n### data\n'dataset': a,b\ndataset_dir: \"x # y\"  # folder\n";

    #[test]
    fn a_value_is_changed_where_it_stands_and_comments_stay() {
        let new = set(TEXT, "model_name_or_path", "Qwen/Qwen2").unwrap();
        assert_eq!(new, TEXT.replace(": m   # the base", ": Qwen/Qwen2 # the base"));
        let new = set(TEXT, "dataset_dir", "d").unwrap();
        assert_eq!(new, TEXT.replace("\"x # y\"  # folder", "d        # folder"));
        let new = set(TEXT, "dataset", "c").unwrap();
        assert_eq!(new, TEXT.replace("a,b", "c"));
    }

    #[test]
    fn a_list_of_several_lines_becomes_one_line() {
        let new = set(TEXT, "lora_target", "all").unwrap();
        assert_eq!(new, TEXT.replace("lora_target:\n- q_proj\n- v_proj\n", "lora_target: all\n"));
    }

    #[test]
    fn a_new_key_goes_to_its_group() {
        let new = set(TEXT, "lora_rank", "16").unwrap();
        assert!(new.contains("# the base\nlora_rank: 16\nlora_target:"), "{new}");
        let new = set(TEXT, "cutoff_len", "512").unwrap();
        assert!(new.ends_with("# folder\ncutoff_len: 512\n"), "{new}");
        let new = set(TEXT, "stage", "sft").unwrap();
        assert!(new.ends_with("# folder\nstage: sft\n"), "a group of its own");
        let new = set("stage: sft", "seed", "7").unwrap();
        assert_eq!(new, "stage: sft\nseed: 7\n");
        assert_eq!(set("", "seed", "7").unwrap(), "seed: 7\n");
    }

    #[test]
    fn a_key_is_taken_out_with_all_its_lines() {
        let new = remove(TEXT, "lora_target").unwrap();
        assert_eq!(new, TEXT.replace("lora_target:\n- q_proj\n- v_proj\n", ""));
        assert_eq!(remove("seed: 1\n", "seed").unwrap(), "");
        assert_eq!(remove("seed: 1\n", "dataset").unwrap(), "seed: 1\n");
    }

    #[test]
    fn what_is_not_written_line_by_line_is_refused_and_never_spoiled() {
        assert_eq!(set("{\"seed\": 1}", "seed", "2"), Err(Refusal::NotYaml));
        assert_eq!(set("{\n  seed: 1\n}\n", "dataset", "a"), Err(Refusal::NotYaml));
        assert_eq!(set("seed: [1\n", "dataset", "a"), Err(Refusal::NotYaml));
        assert_eq!(set("- a\n", "dataset", "a"), Err(Refusal::NotYaml));
        assert_eq!(set("seed: 1\n", "dataset", "a: b"), Err(Refusal::NotYaml));
        assert_eq!(
            set("default_system: |\n  a\n\n  b\nseed: 1\n", "default_system", "x").unwrap(),
            "default_system: x\nseed: 1\n"
        );
    }

    #[test]
    fn windows_line_ends_stay() {
        assert_eq!(set("seed: 1 # s\r\nstage: sft\r\n", "seed", "2").unwrap(), "seed: 2 # s\r\nstage: sft\r\n");
    }

    proptest::proptest! {
        /// Whatever the text is: no panic, and if a change is made it says what was wanted.
        #[test]
        fn any_text_is_changed_rightly_or_not_at_all(text in "([a-c_]{1,3}(: ?|:)?[\"'#\\[\\]{} a-c0-9,é-]{0,8}\r?\n){0,5}") {
            if let Ok(new) = set(&text, "seed", "3") {
                let map: Mapping = serde_yaml::from_str(&new).unwrap();
                assert_eq!(map.get("seed"), Some(&Value::from(3)));
            }
            let _ = remove(&text, "a");
        }
    }
}
