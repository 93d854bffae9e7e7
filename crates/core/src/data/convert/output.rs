//! The files a conversion writes: pictures, the JSON that grows row by row, and the list of problems.

use crate::python_json::unicode_indented;
use anyhow::Context;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Format;

/// One row of the tutorial's JSON; the keys stand in its order.
#[derive(Serialize)]
struct SampleRow<'a> {
    messages: [Turn<'a>; 2],
    images: [&'a str; 1],
}

#[derive(Serialize)]
struct Turn<'a> {
    content: &'a str,
    role: &'static str,
}

/// A file that grows, whose length is known and which can be taken up again at a known length.
pub struct Growing {
    pub path: PathBuf,
    file: BufWriter<File>,
    pub bytes: u64,
}

impl Growing {
    /// Opens `path` and cuts it to `bytes`; `None` if it is shorter than that.
    pub fn resume(path: &Path, bytes: u64) -> anyhow::Result<Option<Self>> {
        let open = || -> std::io::Result<Option<Self>> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            if file.metadata()?.len() < bytes {
                return Ok(None);
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(Some(Self { path: path.to_owned(), file: BufWriter::with_capacity(1 << 20, file), bytes }))
        };
        open().with_context(|| format!("opening {}", path.display()))
    }

    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).with_context(|| self.failed())
    }

    /// Hands what is buffered to the system: a killed process loses nothing of it.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| self.failed())
    }

    /// Makes it whole under its final name.
    pub fn publish(mut self, to: &Path) -> anyhow::Result<()> {
        self.flush()?;
        self.file.get_ref().sync_all().with_context(|| self.failed())?;
        std::fs::rename(&self.path, to).with_context(|| format!("renaming {} to {}", self.path.display(), to.display()))
    }

    fn failed(&self) -> String {
        format!(
            "writing {}; what is done is kept: make room if the disk is full, and run the same command again",
            self.path.display()
        )
    }
}

/// Appends one sample in the layout of `json.dump(rows, indent=4, ensure_ascii=False)`, or as one line.
pub fn write_sample(
    json: &mut Growing,
    format: Format,
    first: bool,
    question: &str,
    caption: &str,
    image: &str,
) -> anyhow::Result<()> {
    let turns = [Turn { content: question, role: "user" }, Turn { content: caption, role: "assistant" }];
    let row = SampleRow { messages: turns, images: [image] };
    match format {
        Format::Jsonl => {
            let mut line = serde_json::to_vec(&row)?;
            line.push(b'\n');
            json.write(&line)
        }
        Format::Json => {
            json.write(if first { b"[\n" } else { b",\n" })?;
            // A row stands one level deep in the list. Texts hold no raw newline, so every newline begins a line.
            let row = unicode_indented(&row, 4)?;
            for (i, line) in row.split('\n').enumerate() {
                json.write(if i == 0 { b"    " } else { b"\n    " })?;
                json.write(line.as_bytes())?;
            }
            Ok(())
        }
    }
}

/// Closes the list.
pub fn write_end(json: &mut Growing, format: Format, empty: bool) -> anyhow::Result<()> {
    match (format, empty) {
        (Format::Jsonl, _) => Ok(()),
        (Format::Json, true) => json.write(b"[]"),
        (Format::Json, false) => json.write(b"\n]"),
    }
}

/// Writes a picture. One that is there already with the same bytes is left alone, which is what makes a continued
/// conversion fast; anything else under that name (a torn file, a link) is replaced, and never followed.
pub fn write_picture(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(mut file) => return file.write_all(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        if same_content(path, bytes)? {
            return Ok(());
        }
        std::fs::remove_file(path)?;
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
    };
    write().with_context(|| {
        format!(
            "writing {}; what is done is kept: make room if the disk is full, and run the same command again",
            path.display()
        )
    })
}

fn same_content(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    let meta = path.symlink_metadata()?;
    if !meta.is_file() || meta.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut there = Vec::with_capacity(bytes.len());
    File::open(path)?.take(meta.len() + 1).read_to_end(&mut there)?;
    Ok(there == bytes)
}
