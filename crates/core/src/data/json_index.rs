//! Random access to the rows of a JSON list or a JSONL file of any size.
//!
//! Opening maps the file once and notes where every row begins and ends, without parsing it: strings are jumped over
//! with `memchr2`, brackets are counted. That is one pass at about the speed of memory (more than 1 GB/s), 16 bytes
//! of index a row, and a row is then read and parsed in microseconds. The index is not stored beside the file:
//! making it again is cheaper than proving that a stored one is still right.
//!
//! The file's content decides how it is read, not its name: `.json` files that hold one object per line, and the
//! reverse, are common. A byte-order mark and CRLF are accepted.
//!
//! Rows are fetched with `pread`, not through the map: a file that somebody truncates later is then an error for
//! that row, where a map would raise SIGBUS and end the program.

use super::OpenWatch;
use super::media::open_regular;
use super::problem::{Fault, kind};
use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A longer row is not read: no sample has so much text, and parsed it may take a hundred times its bytes (`[0,0,…`).
const MAX_ROW_BYTES: u32 = 16 << 20;

/// Where a row lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u64,
    len: u32,
    /// Counted from 1; saturates at `u32::MAX`.
    line: u32,
}

/// A file's rows, found but not parsed.
#[derive(Debug)]
pub struct JsonIndex {
    path: PathBuf,
    file: File,
    spans: Vec<Span>,
    /// Where the file's structure breaks. Stands as one more row at the end, whose reading fails: so it is counted
    /// and reported like every other bad row.
    broken: Option<(u32, Fault)>,
}

impl JsonIndex {
    /// Finds the rows of `path`.
    ///
    /// # Errors
    /// The file cannot be read, is empty, is not UTF-8 from the first byte (UTF-16), or holds no JSON at all.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_watched(path, &mut |_, _| ControlFlow::Continue(()))
    }

    /// [`Self::open`], with `watch` told how many bytes of the file are done; that it was stopped is an error, too.
    pub fn open_watched(path: &Path, watch: &mut OpenWatch<'_>) -> anyhow::Result<Self> {
        let name = path.display();
        let (file, len) = open_regular(path).context("opening a data file")?;
        if len == 0 {
            bail!("{name} is empty: no samples in it");
        }
        // SAFETY: the map is read only here and dropped before this function returns. Another program truncating the
        // file during this one pass could still raise SIGBUS; that risk is accepted for the speed of the pass.
        let map = unsafe { memmap2::Mmap::map(&file) }.with_context(|| format!("mapping data file {name}"))?;
        // A hint only: where it is refused, reading is merely slower.
        let _ = map.advise(memmap2::Advice::Sequential);
        if map.starts_with(b"\xFF\xFE") || map.starts_with(b"\xFE\xFF") {
            bail!("{name} is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8 OLD > NEW) and try again");
        }
        let mut scan = Scan::new(&map, watch);
        match scan.first_byte() {
            None => bail!("{name} holds only white space: no samples in it"),
            Some(b'[') => scan.list(),
            Some(_) if scan.one_row_per_line() => scan.lines(),
            Some(b'{') => scan.objects(),
            Some(_) => bail!("{name} is neither a JSON list nor JSON objects, one per line"),
        }
        if scan.stopped {
            bail!("{name}: stopped while its rows were being found; nothing was changed");
        }
        let Scan { spans, broken, .. } = scan;
        drop(map);
        Ok(Self { path: path.to_owned(), file, spans, broken })
    }

    /// Rows, the broken end of the file included.
    pub fn len(&self) -> usize {
        self.spans.len() + usize::from(self.broken.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `file:line` of row `i`, for messages.
    pub fn origin(&self, i: usize) -> String {
        let line = self.spans.get(i).map(|s| s.line).or(self.broken.as_ref().map(|b| b.0)).unwrap_or(0);
        format!("{}:{line}", self.path.display())
    }

    /// Row `i` as it stands in the file.
    pub fn bytes(&self, i: usize) -> Result<Vec<u8>, Fault> {
        self.read(i).map(|(_, bytes)| bytes)
    }

    fn read(&self, i: usize) -> Result<(&Span, Vec<u8>), Fault> {
        let Some(span) = self.spans.get(i) else {
            return Err(match &self.broken {
                Some((_, fault)) if i == self.spans.len() => fault.clone(),
                _ => Fault::new(kind::UNREADABLE, format!("there is no row {i}; the file has {}", self.len())),
            });
        };
        if span.len > MAX_ROW_BYTES {
            let reason = format!("the row has {} bytes; at most {MAX_ROW_BYTES} are read", span.len);
            return Err(Fault::new(kind::ROW_TOO_LARGE, reason));
        }
        let mut bytes = vec![0; span.len as usize];
        self.file.read_exact_at(&mut bytes, span.start).map_err(|e| {
            Fault::new(
                kind::UNREADABLE,
                format!("reading {} bytes at byte {}: {e}; was the file changed?", span.len, span.start),
            )
        })?;
        Ok((span, bytes))
    }

    /// Reads and parses row `i`.
    pub fn row(&self, i: usize) -> Result<Map<String, Value>, Fault> {
        let (span, bytes) = self.read(i)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let (line, byte) = span.place(&bytes, e.valid_up_to());
            Fault::new(
                kind::NOT_UTF8,
                format!("not UTF-8 at byte {byte} (line {line}); save the file as UTF-8 (for Chinese GBK text: iconv -f GB18030 -t UTF-8)"),
            )
        })?;
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Err(Fault::new(kind::NOT_AN_OBJECT, "the row is not a JSON object {…}")),
            Err(e) => {
                let line_start = (1..e.line())
                    .fold(0, |at, _| memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n + 1));
                let (line, byte) = span.place(&bytes, (line_start + e.column().saturating_sub(1)).min(bytes.len()));
                let message = e.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message);
                Err(Fault::new(kind::BAD_JSON, format!("not JSON: {message} (line {line}, byte {byte})")))
            }
        }
    }
}

impl Span {
    /// Line and byte in the file of offset `at` in the row.
    fn place(&self, row: &[u8], at: usize) -> (usize, u64) {
        (self.line as usize + memchr::memchr_iter(b'\n', &row[..at]).count(), self.start + at as u64)
    }
}

/// The pass over the bytes.
struct Scan<'a, 'w> {
    bytes: &'a [u8],
    at: usize,
    /// Lines are counted up to here.
    counted: usize,
    line: usize,
    spans: Vec<Span>,
    broken: Option<(u32, Fault)>,
    watch: &'a mut OpenWatch<'w>,
    stopped: bool,
}

/// Rows between two looks at whether the index is still wanted: about a millisecond.
const LOOK_EVERY: usize = 4096;

impl<'a, 'w> Scan<'a, 'w> {
    fn new(bytes: &'a [u8], watch: &'a mut OpenWatch<'w>) -> Self {
        let at = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        Self { bytes, at, counted: 0, line: 1, spans: Vec::new(), broken: None, watch, stopped: false }
    }

    fn skip_white(&mut self) -> Option<u8> {
        while let Some(&b) = self.bytes.get(self.at) {
            if !b.is_ascii_whitespace() {
                return Some(b);
            }
            self.at += 1;
        }
        None
    }

    fn first_byte(&mut self) -> Option<u8> {
        self.skip_white()
    }

    fn line_of(&mut self, at: usize) -> u32 {
        self.line += memchr::memchr_iter(b'\n', &self.bytes[self.counted..at]).count();
        self.counted = at;
        u32::try_from(self.line).unwrap_or(u32::MAX)
    }

    fn push(&mut self, start: usize, end: usize) -> bool {
        let line = self.line_of(start);
        match u32::try_from(end - start) {
            Ok(len) => {
                self.spans.push(Span { start: start as u64, len, line });
                self.stopped = self.spans.len().is_multiple_of(LOOK_EVERY)
                    && (self.watch)(end as u64, self.bytes.len() as u64).is_break();
                !self.stopped
            }
            Err(_) => self.fail(start, "a row of more than 4 GB".into()),
        }
    }

    /// Notes where the structure breaks; always false, so that the caller's loop ends.
    fn fail(&mut self, at: usize, reason: String) -> bool {
        let line = self.line_of(at.max(self.counted));
        let reason = format!(
            "not JSON: {reason} (byte {at}); {} rows before it can be used, nothing after it was read",
            self.spans.len()
        );
        self.broken = Some((line, Fault::new(kind::BAD_JSON, reason)));
        false
    }

    /// Is this one object per line? Yes if the first line is a whole value, or if the second begins like a row (so
    /// that a broken first line does not turn the whole file into one broken value).
    fn one_row_per_line(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        if rest.starts_with(b"{")
            && matches!(skip_value(&rest[..end], 0), Ok(n) if rest[n..end].iter().all(|&b| b == b',' || b.is_ascii_whitespace()))
        {
            return true;
        }
        rest[end..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
    }

    /// `[ row, row, … ]`
    fn list(&mut self) {
        self.at += 1;
        if self.skip_white() == Some(b']') {
            self.at += 1;
            return self.end();
        }
        loop {
            let Some(_) = self.skip_white() else {
                self.fail(self.bytes.len(), "the file ends inside the list".into());
                return;
            };
            if !self.value() {
                return;
            }
            match self.skip_white() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return self.end();
                }
                Some(_) => {
                    self.fail(self.at, "a comma is missing between two rows".into());
                    return;
                }
                None => {
                    self.fail(self.bytes.len(), "the file ends inside the list".into());
                    return;
                }
            }
        }
    }

    /// Objects one after the other, each over several lines.
    fn objects(&mut self) {
        while let Some(b) = self.skip_white() {
            if b == b',' {
                self.at += 1;
            } else if !self.value() {
                return;
            }
        }
    }

    /// One row per line; blank lines are no rows, and a comma at a line's end is forgiven.
    fn lines(&mut self) {
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..len].trim_ascii();
            let row = line.strip_suffix(b",").unwrap_or(line);
            if !row.is_empty() {
                let start = self.at + (rest[..len].len() - rest[..len].trim_ascii_start().len());
                if !self.push(start, start + row.len()) {
                    return;
                }
            }
            self.at += len + 1;
        }
    }

    fn value(&mut self) -> bool {
        let start = self.at;
        match skip_value(self.bytes, start) {
            Ok(end) if end == start => self.fail(start, "a row is missing".into()),
            Ok(end) => {
                self.at = end;
                self.push(start, end)
            }
            Err(reason) => self.fail(start, format!("{reason} begins here")),
        }
    }

    fn end(&mut self) {
        if self.skip_white().is_some() {
            self.fail(self.at, "there is something after the list's end".into());
        }
    }
}

/// The end of the value that begins at `at`, by brackets and quotes alone; the parser judges the rest.
pub(super) fn skip_value(b: &[u8], mut at: usize) -> Result<usize, &'static str> {
    let mut depth = 0usize;
    while at < b.len() {
        match b[at] {
            b'"' => {
                at = skip_string(b, at)?;
                if depth == 0 {
                    return Ok(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                // At depth 0 this bracket closes what is around the value: a number or word ended before it.
                if depth == 0 {
                    return Ok(at);
                }
                depth -= 1;
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            b',' if depth == 0 => return Ok(at),
            c if depth == 0 && c.is_ascii_whitespace() => return Ok(at),
            _ => {}
        }
        at += 1;
    }
    if depth == 0 { Ok(at) } else { Err("a value that the file does not close") }
}

pub(super) fn skip_string(b: &[u8], open: usize) -> Result<usize, &'static str> {
    let mut at = open + 1;
    while let Some(n) = b.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += n;
        if b[at] == b'"' {
            return Ok(at + 1);
        }
        at += 2;
    }
    Err("a value with a string that the file does not close")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(bytes: &[u8]) -> JsonIndex {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.json");
        std::fs::write(&path, bytes).unwrap();
        JsonIndex::open(&path).unwrap()
    }

    /// Values of key `n` of all rows, or the kind of the fault.
    fn read(bytes: &[u8]) -> Vec<String> {
        let ix = index(bytes);
        (0..ix.len())
            .map(|i| match ix.row(i) {
                Ok(row) => format!("{} @{}", row["n"], ix.origin(i).rsplit(':').next().unwrap()),
                Err(f) => format!("{} @{}", f.kind, ix.origin(i).rsplit(':').next().unwrap()),
            })
            .collect()
    }

    #[test]
    fn the_index_of_a_large_file_tells_how_far_it_is_and_can_be_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.jsonl");
        std::fs::write(&path, "{\"a\":1}\n".repeat(3 * LOOK_EVERY)).unwrap();
        let mut told = Vec::new();
        let index = JsonIndex::open_watched(&path, &mut |done, total| {
            told.push((done, total));
            ControlFlow::Continue(())
        });
        assert_eq!(index.unwrap().len(), 3 * LOOK_EVERY);
        assert_eq!(told.len(), 3);
        assert!(
            told.windows(2).all(|w| w[0].0 < w[1].0)
                && told.iter().all(|(_, total)| *total == 8 * 3 * LOOK_EVERY as u64)
        );
        let stopped = JsonIndex::open_watched(&path, &mut |_, _| ControlFlow::Break(()));
        assert!(stopped.unwrap_err().to_string().contains("stopped"));
    }

    #[test]
    fn lists_lines_and_loose_objects_give_the_same_rows_whatever_the_file_is_called() {
        let expected = ["1 @1", "\"}]\\\"\" @2"];
        assert_eq!(read(b"[{\"n\": 1},\n{\"n\": \"}]\\\"\"}]"), expected);
        assert_eq!(read(b"{\"n\": 1}\n{\"n\": \"}]\\\"\"}\n"), expected);
        assert_eq!(read(b"\xEF\xBB\xBF{\"n\": 1},\r\n{\"n\": \"}]\\\"\"}\r\n\r\n"), expected);
        assert_eq!(read(b"{\n \"n\": 1\n}\n{\n \"n\": 2\n}"), ["1 @1", "2 @4"]);
        assert_eq!(read(b"[]"), [""; 0]);
    }

    #[test]
    fn a_cut_list_keeps_its_whole_rows_and_counts_the_broken_end_as_one_more() {
        assert_eq!(read(b"[{\"n\": 1},\n{\"n\": \"ab"), ["1 @1", "bad_json @2"]);
        assert_eq!(read(b"[{\"n\": 1},\n"), ["1 @1", "bad_json @2"]);
        assert_eq!(read(b"[{\"n\": 1}\n{\"n\": 2}]"), ["1 @1", "bad_json @2"]);
        assert_eq!(read(b"[{\"n\": 1}] x"), ["1 @1", "bad_json @1"]);
        assert_eq!(read(b"[{\"n\": 1},]"), ["1 @1", "bad_json @1"]);
    }

    #[test]
    fn a_broken_line_spoils_only_itself() {
        assert_eq!(read(b"{\"n\": \n{\"n\": 2}\nx\n{\"n\": 4}"), ["bad_json @1", "2 @2", "bad_json @3", "4 @4"]);
    }

    #[test]
    fn every_kind_of_bad_row_has_its_name() {
        assert_eq!(read(b"[{\"n\": \"\xFF\"}]"), ["not_utf8 @1"]);
        assert_eq!(read(b"[{\"n\": \"\\ud83d\"}]"), ["bad_json @1"]); // a lone surrogate
        assert_eq!(read(b"[{\"n\": NaN}]"), ["bad_json @1"]);
        assert_eq!(read(b"[1, null, \"x\", [2]]"), ["not_an_object @1"; 4]);
        let deep = [b"{\"n\": 1}\n{\"n\": ".as_slice(), &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"].concat();
        assert_eq!(read(&deep), ["1 @1", "bad_json @2"]);
    }

    #[test]
    fn a_fault_inside_a_row_names_line_and_byte_in_the_file() {
        let text = b"[\n {\"n\": 1},\n {\"n\":\n   tru }\n]";
        let at = text.windows(4).position(|w| w == b"tru ").unwrap();
        let fault = index(text).row(1).unwrap_err();
        assert!(fault.reason.contains("line 4"), "{}", fault.reason);
        let byte: usize = fault.reason.rsplit("byte ").next().unwrap().trim_end_matches(')').parse().unwrap();
        assert!((at..at + 4).contains(&byte), "{}", fault.reason);
    }

    #[test]
    fn a_file_cut_after_opening_is_an_error_and_not_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.json");
        std::fs::write(&path, "[{\"n\": 1}, {\"n\": 2}]").unwrap();
        let ix = JsonIndex::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(5).unwrap();
        assert_eq!(ix.row(1).unwrap_err().kind, kind::UNREADABLE);
    }

    #[test]
    fn utf16_and_empty_files_are_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        for (bytes, word) in
            [(&b""[..], "empty"), (b"\xFF\xFE[\0", "UTF-16"), (b"  \n", "white space"), (b"hello", "neither")]
        {
            let path = dir.path().join("x.json");
            std::fs::write(&path, bytes).unwrap();
            let message = JsonIndex::open(&path).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    proptest::proptest! {
        /// Any JSON list survives: rows come back equal, from both layouts.
        #[test]
        fn rows_come_back_as_they_were_written(texts in proptest::collection::vec("\\PC*", 0..20)) {
            let rows: Vec<Value> = texts.iter().map(|t| serde_json::json!({"n": t, "x": [t, {"y": t}]})).collect();
            let list = serde_json::to_vec_pretty(&rows).unwrap();
            let lines = rows.iter().map(|r| r.to_string() + "\n").collect::<String>();
            for bytes in [list, lines.into_bytes()] {
                if bytes.is_empty() { continue }
                let ix = index(&bytes);
                let back: Vec<Value> = (0..ix.len()).map(|i| Value::Object(ix.row(i).unwrap())).collect();
                proptest::prop_assert_eq!(&back, &rows);
            }
        }

        /// No bytes make it panic.
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::sample::select(b"{}[]\",:\\ \n1a\xFF".to_vec()), 1..200)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.json");
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(ix) = JsonIndex::open(&path) {
                for i in 0..ix.len() { let _ = ix.row(i); }
            }
        }
    }
}
