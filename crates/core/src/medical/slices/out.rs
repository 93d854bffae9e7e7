//! The output folder of a run: pictures, table, data set, and the journal by which an interrupted run goes on.

use super::super::conversations::Conversations;
use super::super::picture::{Picture, PictureFormat};
use super::super::row::Row;
use super::super::scan::Scan;
use super::{SliceOptions, SliceReport};
use crate::data::{caption_entry, look, register, sync_file_system};
use crate::fs;
use crate::vision;
use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub const TABLE: &str = "slices.jsonl";
const JOURNAL: &str = ".slices.journal";

/// A line of the journal.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    /// Place in the plan.
    pub n: usize,
    pub notes: Vec<String>,
    pub row: Row,
}

/// The output folder of a run.
pub struct Out {
    folder: PathBuf,
    journal: fs::Appender,
    earlier: BTreeMap<usize, Entry>,
    _ours: std::fs::File,
}

impl Out {
    /// Makes the folder this run's, and finds what an earlier one has done.
    ///
    /// # Errors
    /// A name that is none, another command at work, other pictures in the way, the disk.
    pub fn open(folder: &Path, o: &SliceOptions, found: &Scan) -> anyhow::Result<Self> {
        if fs::safe_file_name(&o.name) != o.name || o.name.contains(',') || o.name == "slices" {
            bail!(
                "--name \"{}\": use letters, digits, '.', '_' and '-' only, and not \"slices\", which is the table",
                o.name
            );
        }
        let images = folder.join("images");
        fs::create_dir_all(&images)?;
        // Not the folder itself: that lock belongs to whoever changes its dataset_info.json.
        let ours = register::lock(&images, false)?
            .ok_or_else(|| anyhow!("another command is writing to {}", folder.display()))?;
        let path = folder.join(JOURNAL);
        let head = format!("{}\n", json!({"version": 1, "fingerprint": fingerprint(o, found)?}));
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        let same = text.starts_with(&head);
        let foreign = text.is_empty() && std::fs::read_dir(&images).is_ok_and(|mut entries| entries.next().is_some());
        if foreign || (!same && !o.overwrite && (!text.is_empty() || folder.join(TABLE).exists())) {
            let advice = if foreign { "" } else { ", or replace them with --overwrite" };
            bail!("{} holds pictures of other sources or settings; choose another --out{advice}", folder.display());
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let entries: Vec<Entry> =
            text[..whole].lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut journal = fs::append_open(&path)?;
        if same {
            journal.cut(whole as u64)?; // the last line may be torn
        } else {
            fs::remove_file(&folder.join(TABLE))?;
            for entry in &entries {
                remove_picture(&images, &entry.row)?;
            }
            journal.cut(0)?;
            journal.append(head.as_bytes())?;
        }
        remove_torn(&images)?;
        let earlier = if same { entries.into_iter().map(|entry| (entry.n, entry)).collect() } else { BTreeMap::new() };
        Ok(Self { folder: folder.to_owned(), journal, earlier, _ours: ours })
    }

    /// What an earlier run made at this place, if its picture is still whole.
    pub fn earlier(&mut self, n: usize) -> Option<Entry> {
        let entry = self.earlier.remove(&n)?;
        let bytes = std::fs::read(self.folder.join(&entry.row.image)).ok()?;
        look(&bytes).ok().map(|_| entry)
    }

    /// The pixels of a picture that is there.
    pub fn picture(&self, row: &Row) -> Option<Picture> {
        let bytes = std::fs::read(self.folder.join(&row.image)).ok()?;
        let rgb = vision::decode_rgb(&bytes, None).ok()?;
        Some(Picture { size: vision::Size { width: rgb.width, height: rgb.height }, rgb: true, data: rgb.data })
    }

    /// A picture, and after it its line in the journal.
    pub fn write(&mut self, entry: &Entry, picture: &Picture, format: PictureFormat) -> anyhow::Result<()> {
        let path = self.folder.join(&entry.row.image);
        let folder = path.parent().unwrap_or(&self.folder);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
        }
        fs::write_replacing(&path, &picture.encode(format)?)?;
        self.journal.append(format!("{}\n", serde_json::to_string(entry)?).as_bytes())?;
        Ok(())
    }

    /// The table, and with questions the data set.
    pub fn finish(
        self,
        rows: &[Row],
        conversations: Option<&Conversations<'_>>,
        o: &SliceOptions,
        report: &mut SliceReport,
    ) -> anyhow::Result<()> {
        sync_file_system(&self.folder)?; // all pictures, before the table that names them
        let lines = |values: &mut dyn Iterator<Item = serde_json::Result<String>>| -> anyhow::Result<String> {
            let mut text = String::new();
            for line in values {
                text += &line?;
                text.push('\n');
            }
            Ok(text)
        };
        let table = lines(&mut rows.iter().map(serde_json::to_string))?;
        fs::write_atomic(&self.folder.join(TABLE), table.as_bytes())?;
        let Some(conversations) = conversations else { return Ok(()) };
        let samples: Vec<_> = rows
            .iter()
            .enumerate()
            .filter_map(|(i, row)| conversations.sample(i, row, &mut report.questions))
            .collect();
        (report.samples, report.left_out) = (samples.len(), rows.len() - samples.len());
        let file = format!("{}.jsonl", o.name);
        let text = lines(&mut samples.iter().map(serde_json::to_string))?;
        fs::write_atomic(&self.folder.join(&file), text.as_bytes())?;
        crate::data::register(&self.folder, &o.name, caption_entry(&file), o.overwrite).map_err(|e| anyhow!("{e}"))?;
        report.dataset_info = Some(self.folder.join(crate::data::dataset_info::FILE_NAME));
        Ok(())
    }
}

/// Takes a picture of an earlier run away, and its folder with the last one; nothing that is not below `images`.
fn remove_picture(images: &Path, row: &Row) -> anyhow::Result<()> {
    let below = Path::new(&row.image).strip_prefix("images").ok();
    let Some(path) = below.filter(|p| p.components().all(|c| matches!(c, std::path::Component::Normal(_)))) else {
        return Ok(());
    };
    let path = images.join(path);
    fs::remove_file(&path)?;
    if let Some(folder) = path.parent().filter(|folder| *folder != images) {
        let _ = std::fs::remove_dir(folder); // stays while anything is in it
    }
    Ok(())
}

/// Pictures that a killed run had begun: they never got their name.
fn remove_torn(images: &Path) -> anyhow::Result<()> {
    for folder in std::fs::read_dir(images)?.flatten().filter(|entry| entry.path().is_dir()) {
        for file in std::fs::read_dir(folder.path())?.flatten() {
            if file.file_name().as_encoded_bytes().starts_with(b".tmp-") {
                fs::remove_file(&file.path())?;
            }
        }
    }
    Ok(())
}

/// Sources and all settings that shape pictures and rows, as a hash.
fn fingerprint(o: &SliceOptions, found: &Scan) -> anyhow::Result<String> {
    let settings = json!([
        format!("{:?}", o.window),
        o.axis,
        [o.range.start, o.range.end],
        o.every,
        [o.frames.start, o.frames.end],
        o.size,
        o.format,
        o.keep,
        found.stamps,
    ]);
    Ok(Sha256::digest(serde_json::to_vec(&settings)?).iter().map(|byte| format!("{byte:02x}")).collect())
}
