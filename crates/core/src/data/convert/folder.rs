//! The output folder: where everything lies in it, whose it is, and whether there is room.

use super::{ConvertOptions, Format};
use crate::data::dataset_info::FILE_NAME;
use crate::data::parquet::ParquetTable;
use crate::fs::{Space, safe_file_name, space};
use anyhow::{Context, bail};
#[cfg(target_os = "linux")]
use std::fs::File;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The places of one conversion.
pub struct Places {
    pub folder: PathBuf,
    pub json: PathBuf,
    pub json_partial: PathBuf,
    pub problems: PathBuf,
    pub problems_partial: PathBuf,
    pub journal: PathBuf,
    pub info: PathBuf,
    /// `file_name` of the dataset_info.json entry.
    pub file_name: String,
}

impl Places {
    /// # Errors
    /// A name that is no plain file name.
    pub fn new(o: &ConvertOptions) -> anyhow::Result<Self> {
        for (what, name) in [("--name", &o.name), ("--folder", &o.folder)] {
            if name.is_empty() || safe_file_name(name) != *name || name.contains(',') {
                bail!("{what} \"{name}\": use letters, digits, '.', '_' and '-' only, not beginning with a dot");
            }
        }
        let folder = o.out.join(&o.folder);
        let extension = if o.format == Format::Json { "json" } else { "jsonl" };
        let file = format!("{}.{extension}", o.folder);
        Ok(Self {
            json: folder.join(&file),
            json_partial: folder.join(format!("{file}.partial")),
            problems: folder.join(format!("{}.problems.jsonl", o.folder)),
            problems_partial: folder.join(format!("{}.problems.jsonl.partial", o.folder)),
            journal: folder.join(format!(".{}.journal", o.folder)),
            info: o.out.join(FILE_NAME),
            file_name: format!("{}/{file}", o.folder),
            folder,
        })
    }
}

/// Holds the folder nothing, but perhaps the beginning of a journal?
pub fn is_unused(folder: &Path, name: &str) -> anyhow::Result<bool> {
    let own = format!(".{name}.");
    let entries = std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    Ok(entries.flatten().all(|entry| entry.file_name().to_string_lossy().starts_with(&own)))
}

pub fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Pictures take about as much room in the folder as in the parquet files.
pub fn enough_space(table: &ParquetTable, rows: usize, done: usize, folder: &Path) -> anyhow::Result<()> {
    let stored: u64 = table.shards().map(|(.., bytes)| bytes).sum();
    let needed = (stored as f64 * rows.saturating_sub(done) as f64 / table.len().max(1) as f64) as u64;
    if let Ok(Space { free_bytes: free, .. }) = space(folder)
        && free < needed
    {
        bail!(
            "{} has {} MB free, but the pictures need about {} MB; make room, or convert a part with --max-samples",
            folder.display(),
            free >> 20,
            needed >> 20
        );
    }
    Ok(())
}

/// Puts the pictures on the disk, all at once: a sync for each would take longer than the conversion.
#[cfg(target_os = "linux")]
pub fn sync_file_system(folder: &Path) -> anyhow::Result<()> {
    let dir = File::open(folder)?;
    // SAFETY: syncfs on a descriptor that is open; it touches no memory.
    if unsafe { libc::syncfs(dir.as_raw_fd()) } != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("writing {} to the disk", folder.display()));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn sync_file_system(_folder: &Path) -> anyhow::Result<()> {
    // SAFETY: sync takes no arguments and touches no memory.
    unsafe { libc::sync() };
    Ok(())
}
