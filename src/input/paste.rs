//! Pasted text that is really one or more paths: terminals paste a dropped file's path, each in its own way.
use std::path::PathBuf;
use tui_input::Input;

/// The paths in a pasted text, if all of it is paths: `file:///a%20b.png`, `'/a b.png'`, `/a\ b.png`, several of them
/// divided by blanks or line ends, or one path with bare blanks. Whether they exist here is for the caller to find out: over
/// SSH a dropped path lies on the other machine.
pub fn paths(text: &str) -> Option<Vec<PathBuf>> {
    let text = text.trim();
    if text.is_empty() || text.len() > 64 << 10 {
        return None;
    }
    // Bare blanks: some terminals paste the path as it is. Only a whole line that begins like a path counts.
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = |line: &&str| shlex::split(line).unwrap_or_else(|| vec![(*line).to_owned()]);
    let quoted: Vec<String> = lines.iter().flat_map(words).collect();
    let all_paths = |words: &[String]| !words.is_empty() && words.iter().all(|word| begins_like_a_path(word));
    let found = if all_paths(&quoted) { quoted } else { lines.iter().map(|line| (*line).to_owned()).collect() };
    all_paths(&found).then(|| found.iter().map(|word| path(word)).collect())
}

fn begins_like_a_path(word: &str) -> bool {
    ["/", "~/", "./", "../", "file://"].iter().any(|start| word.starts_with(start))
}

fn path(word: &str) -> PathBuf {
    if let Some(url) = word.strip_prefix("file://") {
        // file://host/path: the host is this one, or the path is of no use here
        let path = url.find('/').map_or(url, |slash| &url[slash..]);
        return PathBuf::from(decoded(path));
    }
    expand_home(word)
}

/// `~/x` under the home folder.
pub fn expand_home(word: &str) -> PathBuf {
    match (word.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ if word == "~" => std::env::var_os("HOME").map_or_else(|| PathBuf::from(word), PathBuf::from),
        _ => PathBuf::from(word),
    }
}

/// `%20` and the like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Pasted text into a field of one line, at its cursor: without line ends and other controls, and in one go (letter by
/// letter each would copy all that is there).
pub fn insert(input: &mut Input, text: &str) {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let cursor = input.cursor();
    let (before, after): (String, String) =
        (input.value().chars().take(cursor).collect(), input.value().chars().skip(cursor).collect());
    let end = cursor + text.chars().count();
    *input = std::mem::take(input).with_value(before + &text + &after).with_cursor(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_text_goes_to_the_cursor_as_one_line() {
        let mut input = Input::new("图ab".into()).with_cursor(1);
        insert(&mut input, "x\r\ny\x1b[2J中");
        assert_eq!((input.value(), input.cursor()), ("图xy[2J中ab", 7));
    }

    #[test]
    fn every_way_of_dropping_a_file_gives_its_path() {
        let one = |text: &str| paths(text).map(|p| p.iter().map(|p| p.display().to_string()).collect::<Vec<_>>());
        let is = |paths: &[&str]| Some(paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(one("/a/b.png"), is(&["/a/b.png"]));
        assert_eq!(one("'/a b/c.png' "), is(&["/a b/c.png"]));
        assert_eq!(one("/a\\ b/c.png /d.png"), is(&["/a b/c.png", "/d.png"]));
        assert_eq!(one("/a b/c.png"), is(&["/a b/c.png"]));
        assert_eq!(one("file:///a%20b/%E5%9B%BE.png\nfile://host/c.png\n"), is(&["/a b/图.png", "/c.png"]));
        assert_eq!(one("What does /a/b.png show?"), None);
        assert_eq!(one(""), None);
        assert_eq!(one("a 100% sure"), None);
        assert_eq!(one("file:///a%2"), is(&["/a%2"]));
    }
}
