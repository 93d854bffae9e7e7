//! `data pack`: rows of parquet files and pictures in tar archives, joined by file name, become parquet files with the
//! pictures inside. MedTrinity-25M's `25M_full` is published in two halves: 24.8 million captions in parquet, the pictures in
//! archives that can only be read from their beginning. Packed, it is laid out as its `25M_demo` is, and any row can be read
//! at once.
//!
//! ```text
//! out/train-00000.parquet …     image {bytes, path}, and all text columns of the rows; about `shard_bytes` each
//! out/problems.jsonl            members that are no whole picture, archives that are damaged; only if there are any
//! out/.pack.json                which shards are whole and where the next one begins: a second run goes on there
//! ```
//! The archives are read once, in order; a shard ends between two of their members. So rows come in the order of the
//! archives, and a run that was killed makes the same files as one that was not. Memory: 16 bytes a row ([`rows`]), one row
//! group, one picture, and what zstd needs (128 MB at most).
//!
//! Read next: [`archive`] (members), [`shard`] (what is written).

mod archive;
mod journal;
mod rows;
mod shard;
#[cfg(test)]
mod tests;

use super::convert::folder::remove_if_there;
use super::convert::output::Growing;
use super::parquet::{ColumnKind, ParquetTable};
use super::picture;
use super::problem::Fault;
use crate::fs;
use anyhow::{Context, Result, anyhow, bail, ensure};
use archive::{End, Member};
use journal::{Journal, Place};
use rows::{Rows, base};
use serde_json::{Value, json};
use shard::Shard;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What is to be packed.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// Parquet files, in order.
    pub rows: Vec<PathBuf>,
    /// `.tar`, `.tar.zst` or `.tar.gz`, in order; told by their content.
    pub archives: Vec<PathBuf>,
    pub out: PathBuf,
    /// The column with the pictures' file names; `None`: by the usual names.
    pub name_column: Option<String>,
    /// A shard that has grown to so many bytes of pictures is closed.
    pub shard_bytes: u64,
    /// Replace what an earlier run with other options left in `out`.
    pub overwrite: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PackReport {
    /// Rows of the parquet files.
    pub rows: usize,
    /// Those that found their picture.
    pub packed: usize,
    /// Bytes of the pictures.
    pub image_bytes: u64,
    /// Files in the archives that no row names.
    pub unnamed: u64,
    /// Files whose name had come before; the first one counts.
    pub repeated: u64,
    /// Files that are no whole picture, and damaged archives, by kind.
    pub problems: BTreeMap<String, usize>,
    pub problems_file: Option<PathBuf>,
    pub shards: Vec<PathBuf>,
    /// Columns that are not text and were left out.
    pub columns_left_out: Vec<String>,
    /// Shards that an earlier run had made.
    pub continued_at: usize,
}

/// Watches the archives being read: bytes of them, of how many; `Break` stops, and another run goes on.
pub type PackWatch<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// `None`: `watch` stopped it.
///
/// # Errors
/// Rows or archives that do not open, no column of names, another run's output in the way, a full disk.
pub fn pack(o: &PackOptions, watch: &mut PackWatch<'_>) -> Result<Option<PackReport>> {
    let table = ParquetTable::open(&o.rows)?;
    let name_column = name_column(&table, o.name_column.as_deref())?;
    let texts = text_columns(&table);
    let sizes: Vec<u64> = o.archives.iter().map(|path| size(path)).collect::<Result<_>>()?;
    let total = sizes.iter().sum();
    fs::create_dir_all(&o.out).with_context(|| format!("making {}", o.out.display()))?;
    let journal_file = o.out.join(".pack.json");
    not_among_its_sources(o)?;
    let fingerprint = fingerprint(o, &table, &name_column)?;
    if o.overwrite {
        remove_shards(&o.out)?;
    }
    let journal = Journal::open(&journal_file, fingerprint, o.overwrite)?;
    if journal.shards.is_empty() && !shards_in(&o.out)?.is_empty() {
        bail!(
            "{} has shards (train-*.parquet) of another origin; nothing was changed: name another folder, or replace them with --overwrite",
            o.out.display()
        );
    }
    enough_space(&o.out, total, &journal, &sizes)?;

    let columns: Vec<&str> = texts.iter().map(String::as_str).collect();
    let name = texts.iter().position(|column| *column == name_column).unwrap_or_default();
    let rows = Rows::read(&table.reopened(&columns), &texts, name, &o.out)?;
    let problems = Growing::resume(&o.out.join("problems.jsonl"), journal.problem_bytes)?;
    let problems = problems
        .ok_or_else(|| anyhow!("{}: problems.jsonl is shorter than it was; run with --overwrite", o.out.display()))?;
    let continued_at = journal.shards.len();
    let mut packer = Packer { o, rows, name_column, texts, journal, journal_file, problems, shard: None };
    packer.find_again()?;
    if !packer.journal.finished && !packer.go(&sizes, watch)? {
        return Ok(None);
    }
    Ok(Some(packer.report(&table, continued_at)?))
}

/// The work, and how far it is.
struct Packer<'a> {
    o: &'a PackOptions,
    rows: Rows,
    name_column: String,
    /// The text columns.
    texts: Vec<String>,
    journal: Journal,
    journal_file: PathBuf,
    problems: Growing,
    /// The one that grows.
    shard: Option<Shard>,
}

impl Packer<'_> {
    /// Marks the names that finished shards have.
    fn find_again(&mut self) -> Result<()> {
        let paths: Vec<PathBuf> = (0..self.journal.shards.len()).map(|i| shard::path(&self.o.out, i)).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let made = ParquetTable::open(&paths).context("shards of an earlier run; --overwrite begins anew")?;
        let column = shard::output_name(&self.name_column);
        let made = made.reopened(&[column]);
        for row in 0..made.len() {
            let name = made
                .row(row)
                .and_then(|cells| cells.json(column))
                .map_err(|f| anyhow!("{}: {}", made.origin(row), f.reason))?;
            for (entry, _) in self.rows.find(base(name.as_str().unwrap_or_default()))? {
                self.rows.take(entry);
            }
        }
        Ok(())
    }

    /// `false`: stopped.
    fn go(&mut self, sizes: &[u64], watch: &mut PackWatch<'_>) -> Result<bool> {
        let total = sizes.iter().sum();
        let begin = self.journal.next;
        let o = self.o;
        for (i, path) in o.archives.iter().enumerate().skip(begin.archive) {
            let before: u64 = sizes[..i].iter().sum();
            let skip = if i == begin.archive { begin.member } else { 0 };
            let end = archive::walk(path, skip, &mut |read, number, member| {
                if watch(before + read, total).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if let Some(member) = member {
                    self.close_full_shard(Place { archive: i, member: number })?;
                    self.member(path, member)?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
            match end {
                End::Whole => {}
                End::Stopped => return Ok(false),
                End::Damaged(what) => {
                    self.problem(path, "", &Fault::new("bad_archive", format!("{what}; what comes after it is lost")))?;
                }
            }
        }
        self.commit(Place { archive: self.o.archives.len(), member: 0 }, true)?;
        Ok(true)
    }

    /// One file of an archive.
    fn member(&mut self, archive: &Path, member: Member) -> Result<()> {
        let name = base(&member.name);
        let rows = self.rows.find(name)?;
        if rows.is_empty() {
            self.journal.unnamed += 1;
            return Ok(());
        }
        if rows.iter().any(|(entry, _)| self.rows.is_taken(*entry)) {
            self.journal.repeated += 1;
            return Ok(());
        }
        let looked = member.bytes.and_then(|bytes| picture::look(&bytes).map(|_| bytes));
        let bytes = match looked {
            Ok(bytes) => bytes,
            Err(fault) => return self.problem(archive, &member.name, &fault),
        };
        if self.shard.is_none() {
            self.shard = Some(Shard::create(&self.o.out, self.journal.shards.len(), &self.texts)?);
        }
        let Some(shard) = &mut self.shard else { bail!("no shard is open") };
        for (entry, cells) in rows {
            shard.add(name, &bytes, cells)?;
            self.rows.take(entry);
        }
        Ok(())
    }

    fn problem(&mut self, archive: &Path, member: &str, fault: &Fault) -> Result<()> {
        let line = json!({"archive": archive, "member": member, "kind": fault.kind, "reason": fault.reason});
        self.problems.write(format!("{line}\n").as_bytes())?;
        *self.journal.problems.entry(fault.kind.to_owned()).or_default() += 1;
        Ok(())
    }

    fn close_full_shard(&mut self, next: Place) -> Result<()> {
        let full = self.shard.as_ref().is_some_and(|shard| shard.image_bytes >= self.o.shard_bytes);
        if full { self.commit(next, false) } else { Ok(()) }
    }

    /// What has been done so far is whole from here on.
    fn commit(&mut self, next: Place, finished: bool) -> Result<()> {
        if let Some(shard) = self.shard.take() {
            self.journal.shards.push(shard.finish(&self.o.out)?);
        }
        self.problems.flush()?;
        fs::sync_file(&self.problems.path)?;
        self.journal.problem_bytes = self.problems.bytes;
        (self.journal.next, self.journal.finished) = (next, finished);
        self.journal.store(&self.journal_file)
    }

    fn report(self, table: &ParquetTable, continued_at: usize) -> Result<PackReport> {
        let problems_file = self.problems.path.clone();
        if self.journal.problems.is_empty() {
            remove_if_there(&problems_file)?;
        }
        let journal = self.journal;
        let left_out = table.columns().iter().map(|(name, _)| name).filter(|name| !self.texts.contains(name));
        Ok(PackReport {
            rows: table.len(),
            packed: journal.shards.iter().map(|shard| shard.rows).sum(),
            image_bytes: journal.shards.iter().map(|shard| shard.image_bytes).sum(),
            unnamed: journal.unnamed,
            repeated: journal.repeated,
            problems_file: (!journal.problems.is_empty()).then_some(problems_file),
            problems: journal.problems,
            shards: (0..journal.shards.len()).map(|i| shard::path(&self.o.out, i)).collect(),
            columns_left_out: left_out.cloned().collect(),
            continued_at,
        })
    }
}

fn name_column(table: &ParquetTable, chosen: Option<&str>) -> Result<String> {
    let is_text = |name: &&str| table.column(name) == Some(&ColumnKind::Text);
    let usual = ["file_name", "filename", "image_path", "image", "path", "file", "id"];
    let found = match chosen {
        Some(name) => Some(name).filter(is_text),
        None => usual.into_iter().find(is_text),
    };
    found.map(str::to_owned).ok_or_else(|| {
        let all: Vec<&str> = table.columns().iter().map(|(name, _)| name.as_str()).collect();
        let what = chosen
            .map_or("no column of file names was found".to_owned(), |name| format!("\"{name}\" is no column of text"));
        anyhow!("{what}; the columns are {}; name it with --name-column", all.join(", "))
    })
}

fn text_columns(table: &ParquetTable) -> Vec<String> {
    table.columns().iter().filter(|(_, kind)| *kind == ColumnKind::Text).map(|(name, _)| name.clone()).collect()
}

/// The rows often lie in files that are called as shards are: `overwrite` would take them for old ones.
fn not_among_its_sources(o: &PackOptions) -> Result<()> {
    let out = o.out.canonicalize().with_context(|| o.out.display().to_string())?;
    let inside = |path: &&PathBuf| path.canonicalize().is_ok_and(|path| path.parent() == Some(out.as_path()));
    if let Some(source) = o.rows.iter().find(inside) {
        bail!(
            "{} lies in {}, where the new files would go; nothing was changed: name another folder",
            source.display(),
            o.out.display()
        );
    }
    Ok(())
}

fn shards_in(out: &Path) -> Result<Vec<PathBuf>> {
    let is_shard = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("train-") && name.ends_with(".parquet")
    };
    let entries = std::fs::read_dir(out).with_context(|| out.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(is_shard).collect())
}

fn remove_shards(out: &Path) -> Result<()> {
    shards_in(out)?.iter().try_for_each(|path| remove_if_there(path))
}

/// The archives that words name: files, folders of them, patterns with `*`.
///
/// # Errors
/// A word that names none.
pub fn archives(sources: &[String]) -> Result<Vec<PathBuf>> {
    const ENDS: [&str; 5] = [".tar", ".tar.zst", ".tar.zstd", ".tar.gz", ".tgz"];
    let is_archive = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        path.is_file() && ENDS.iter().any(|end| name.ends_with(end))
    };
    let mut all = Vec::new();
    for source in sources {
        let path = Path::new(source);
        let mut found: Vec<PathBuf> = if path.is_dir() {
            let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
            let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
            paths.into_iter().filter(is_archive).collect()
        } else if path.exists() {
            vec![path.to_owned()]
        } else {
            glob::glob(source).with_context(|| source.clone())?.filter_map(Result::ok).filter(is_archive).collect()
        };
        ensure!(!found.is_empty(), "{source}: there is no archive ({})", ENDS.join(", "));
        found.sort();
        all.append(&mut found);
    }
    Ok(all)
}

fn size(path: &Path) -> Result<u64> {
    let (_, bytes) = super::media::open_regular(path).with_context(|| format!("archive {}", path.display()))?;
    Ok(bytes)
}

fn enough_space(out: &Path, total: u64, journal: &Journal, sizes: &[u64]) -> Result<()> {
    let done: u64 = sizes[..journal.next.archive.min(sizes.len())].iter().sum();
    let (needed, free) = (total - done, fs::space(out)?.free_bytes);
    if needed > free {
        bail!(
            "{} has {} MB free, but the pictures of the archives may need {} MB; make room, or pack a part of the archives",
            out.display(),
            free >> 20,
            needed >> 20
        );
    }
    Ok(())
}

/// All that shapes the result.
fn fingerprint(o: &PackOptions, table: &ParquetTable, name_column: &str) -> Result<Value> {
    let file = |path: &Path| -> Result<Value> {
        let meta = path.metadata().with_context(|| path.display().to_string())?;
        let changed = meta.modified()?.duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        Ok(json!({"path": std::path::absolute(path)?, "bytes": meta.len(), "changed_ns": changed}))
    };
    let rows: Vec<Value> = table.shards().map(|(path, ..)| file(path)).collect::<Result<_>>()?;
    let archives: Vec<Value> = o.archives.iter().map(|path| file(path)).collect::<Result<_>>()?;
    Ok(json!({"rows": rows, "archives": archives, "name_column": name_column, "shard_bytes": o.shard_bytes}))
}
