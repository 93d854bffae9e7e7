//! JSON rows, one a line, with the bytes they had.

use super::paths::{Moved, replace};
use crate::data::Dataset;
use crate::data::layout::Layout;
use crate::data::problem::{Fault, kind};
use crate::fs::OutFile;
use anyhow::{Result, bail};
use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

/// A JSONL file that grows.
pub struct RowFile {
    out: OutFile,
    rows: usize,
    bytes: u64,
    paths_changed: usize,
}

impl RowFile {
    pub fn begin(path: &Path) -> Result<Self> {
        Ok(Self { out: OutFile::create(path)?, rows: 0, bytes: 0, paths_changed: 0 })
    }

    /// Appends the row of sample `index`. The inner error is the row's, the outer one the disk's.
    pub fn add(&mut self, d: &Dataset, index: usize, moved: &Moved) -> Result<Result<(), Fault>> {
        let Some((set, row)) = d.place(index) else { bail!("there is no sample {index}") };
        let part = &d.parts[set];
        let bytes = match part.table.json_bytes(row) {
            Ok(bytes) => bytes,
            Err(fault) => return Ok(Err(fault)),
        };
        let line = one_line(&bytes);
        if serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_err() {
            return Ok(Err(Fault::new(kind::UNREADABLE, "the row is not what it was; was the file changed?")));
        }
        // What cannot be understood (`problem:` asks for such rows) is copied as it is.
        let pictures = d.glance(index).map(|parsed| parsed.images).unwrap_or_default();
        let changes = moved.changes(part, &pictures);
        let messages = match &part.layout {
            Layout::Sharegpt(columns, _) | Layout::Openai(columns, _) => columns.messages.as_deref(),
            _ => None,
        };
        let line = replace(&line, part.layout.image_column(), messages, &changes);
        self.out.write_all(&line)?;
        self.out.write_all(b"\n")?;
        self.rows += 1;
        self.bytes += line.len() as u64 + 1;
        self.paths_changed += usize::from(!changes.is_empty());
        Ok(Ok(()))
    }

    /// On the disk; rows, bytes, rows with other paths.
    pub fn finish(self) -> Result<(usize, u64, usize)> {
        self.out.finish()?;
        Ok((self.rows, self.bytes, self.paths_changed))
    }
}

/// A row over several lines as one. Texts hold no raw line breaks in JSON, so every one is between two tokens, and what is beside
/// it is indentation.
fn one_line(row: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\n', b'\r', row).is_none() {
        return Cow::Borrowed(row);
    }
    let mut line: Vec<u8> = Vec::with_capacity(row.len());
    for piece in row.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if line.ends_with(b",") {
            line.push(b' ');
        }
        line.extend(piece.trim_ascii());
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn line_breaks_go_and_all_else_stays() {
        let line = |row: &str| String::from_utf8(one_line(row.as_bytes()).into_owned()).unwrap();
        assert_eq!(line("{\"a\":  1.50 }"), "{\"a\":  1.50 }");
        assert_eq!(
            line("{\r\n    \"a\": [\r\n        1,\r\n\r\n        2\r\n    ],\n    \"b\": \"x\\n  y\"\n}"),
            "{\"a\": [1, 2], \"b\": \"x\\n  y\"}"
        );
    }
}
