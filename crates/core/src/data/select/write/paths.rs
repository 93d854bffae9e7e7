//! Paths of pictures in JSON rows. They are relative to a folder (`media_dir`, which defaults to the `dataset_dir`; for a file that
//! is opened by its path also the file's own), and a row that is copied elsewhere must lead to the same picture. Where the new
//! folder is that folder, nothing changes. Else `../` and so on is put before the path, in the row's bytes: everything else in
//! the row stays as it was, to the last digit.

use crate::data::ImageRef;
use crate::data::cells::ImageCell;
use crate::data::dataset::Part;
use crate::data::json_index::skip_string;
use anyhow::{Context, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// What has to be put before the paths of one data set.
#[derive(Debug)]
pub struct Moved {
    media: String,
    beside: Option<String>,
    /// For paths that are found from the working directory alone.
    here: String,
}

impl Moved {
    /// # Errors
    /// A folder whose way is no UTF-8.
    pub fn new(part: &Part, out: &Path) -> Result<Self> {
        let beside = part.beside.as_deref().map(|beside| way(out, beside)).transpose()?;
        Ok(Self { media: way(out, &part.media_dir)?, beside, here: way(out, Path::new("."))? })
    }

    /// The path that leads from the new folder to what `given` leads to in the old one; `None` if it is the same.
    fn new_path(&self, part: &Part, given: &str) -> Option<String> {
        // URLs stay what they are; `file://` and `/` lead to the same place from everywhere.
        let found = ImageRef::resolve(given, &part.media_dir, part.beside.as_deref()).ok()?;
        if given.starts_with("file://") || Path::new(given).is_absolute() {
            return None;
        }
        let before = match found {
            ImageRef::File(path) if path == part.media_dir.join(given) => &self.media,
            ImageRef::File(path) => match (&part.beside, &self.beside) {
                (Some(folder), Some(way)) if path == folder.join(given) => way,
                _ => &self.here,
            },
            // Not there today; should it come, it comes to where it is looked for first.
            _ => &self.media,
        };
        (!before.is_empty()).then(|| format!("{before}/{given}"))
    }

    /// Old and new paths of a row's pictures, those that change.
    pub fn changes(&self, part: &Part, pictures: &[ImageCell]) -> HashMap<String, String> {
        let path = |cell: &ImageCell| match cell {
            ImageCell::Path(given) => Some((given.clone(), self.new_path(part, given)?)),
            _ => None,
        };
        pictures.iter().filter_map(path).collect()
    }
}

/// The relative path from folder `from` to folder `to`; empty if they are one.
fn way(from: &Path, to: &Path) -> Result<String> {
    // Links are followed first: the system goes up from where a link leads to.
    let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    let (from, to) = (real(from)?, real(to)?);
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to.components().skip(common)).collect();
    let text = way.to_str().with_context(|| format!("{}: its name is not UTF-8; rename it", to.display()))?;
    Ok(text.to_owned())
}

/// Replaces paths in a JSON row: in `images`, the column of pictures, and in `messages` where a content part names a picture.
pub fn replace<'a>(
    row: &'a [u8],
    images: Option<&str>,
    messages: Option<&str>,
    changes: &HashMap<String, String>,
) -> Cow<'a, [u8]> {
    if changes.is_empty() {
        return Cow::Borrowed(row);
    }
    let (mut out, mut copied) = (Vec::with_capacity(row.len() + 64), 0);
    let (mut column, mut key, mut depth) = (String::new(), String::new(), 0usize);
    let mut at = 0;
    while at < row.len() {
        match row[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let Ok(end) = skip_string(row, at) else { break };
                let text = || serde_json::from_slice::<String>(&row[at..end]).unwrap_or_default();
                if is_key(&row[end..]) {
                    key = text();
                    if depth == 1 {
                        column.clone_from(&key);
                    }
                } else {
                    let here = |name: Option<&str>| name == Some(column.as_str());
                    let names_picture = (here(images) && (key == column || key == "path"))
                        || (here(messages) && ["image", "path", "url", "image_url"].contains(&key.as_str()));
                    if let Some(new) = names_picture.then(text).and_then(|old| changes.get(&old)) {
                        out.extend(&row[copied..at]);
                        out.extend(serde_json::Value::from(new.as_str()).to_string().as_bytes());
                        copied = end;
                    }
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    out.extend(&row[copied..]);
    Cow::Owned(out)
}

/// A string is a key if a colon follows.
fn is_key(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_pictures_change_and_nothing_else_in_the_row() {
        let changes: HashMap<String, String> =
            [("a.png", "../old/a.png"), ("图.png", "../old/图.png")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let change = |row: &str| {
            String::from_utf8(replace(row.as_bytes(), Some("images"), Some("messages"), &changes).into_owned()).unwrap()
        };
        for (row, expected) in [
            (r#"{"images": ["a.png" , "b.png"], "n": 1.50}"#, r#"{"images": ["../old/a.png" , "b.png"], "n": 1.50}"#),
            (
                r#"{"id":"a.png","images":"a.png","x":12345678901234567890123}"#,
                r#"{"id":"a.png","images":"../old/a.png","x":12345678901234567890123}"#,
            ),
            (
                r#"{"images":[{"path":"a.png","note":"a.png"}]}"#,
                r#"{"images":[{"path":"../old/a.png","note":"a.png"}]}"#,
            ),
            (r#"{"images":["\u56fe.png"]}"#, r#"{"images":["../old/图.png"]}"#),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image","image":"a.png"},{"type":"text","text":"a.png"}]}]}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"image","image":"../old/a.png"},{"type":"text","text":"a.png"}]}]}"#,
            ),
            (
                r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"a.png"}}]}]}"#,
                r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"../old/a.png"}}]}]}"#,
            ),
            (r#"{"other":{"images":"a.png"},"images":[]}"#, r#"{"other":{"images":"a.png"},"images":[]}"#),
            (r#"{"im\u0061ges":["a.png"]}"#, r#"{"im\u0061ges":["../old/a.png"]}"#),
        ] {
            assert_eq!(change(row), expected);
        }
    }

    #[test]
    fn the_way_between_folders_goes_up_and_down_and_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["a/b", "a/c/d"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink(at("a/c/d"), at("link")).unwrap();
        for (from, to, expected) in [
            ("a/b", "a/b", ""),
            ("a/b", "a/c/d", "../c/d"),
            ("a/c/d", "a", "../.."),
            ("a", "a/b", "b"),
            ("link", "a/b", "../../b"),
        ] {
            assert_eq!(way(&at(from), &at(to)).unwrap(), expected, "{from} to {to}");
        }
    }
}
