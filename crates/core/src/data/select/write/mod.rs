//! Where chosen rows go: JSON rows as they stand into `NAME.jsonl`, parquet rows column for column into `NAME/data-*.parquet`,
//! and an entry in the folder's dataset_info.json with the columns and tags of the source.
//!
//! Everything grows under another name (`.NAME.partial`) and gets its own when all of it is on the disk; what is stopped or fails
//! takes it away again, and what a killed run left is removed by the next one. Read next: `rows` (JSON), `columns` (parquet).

mod columns;
mod paths;
mod rows;

use crate::data::dataset_info::FILE_NAME;
use crate::data::layout::Layout;
use crate::data::parquet::ParquetTable;
use crate::data::register::{entries, entry_of, is_of_other_data, register};
use crate::data::table::Table;
use crate::data::{Dataset, Problem};
use crate::fs::{self, safe_file_name};
use anyhow::{Context, Result, bail, ensure};
use columns::ColumnFiles;
use paths::Moved;
use rows::RowFile;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The part of a row that is not chosen.
pub const LEFT_OUT: u8 = u8::MAX;

/// One new data set.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Written {
    /// In dataset_info.json, where it has an entry.
    pub name: String,
    /// A JSONL file, or a folder of parquet files.
    pub path: PathBuf,
    pub rows: usize,
    pub bytes: u64,
    #[serde(skip)]
    pub paths_changed: usize,
}

/// A place that was found to be free.
pub struct Destination {
    out: PathBuf,
    names: Vec<String>,
    is_parquet: bool,
    /// `None`: captioned pictures, which no entry describes.
    layout: Option<Layout>,
    moved: Vec<Moved>,
    paths_from: Option<PathBuf>,
}

impl Destination {
    /// # Errors
    /// Data sets that cannot lie in one file, a name that is none, and files or entries that are in the way.
    pub fn new(d: &Dataset, out: &Path, names: Vec<String>, overwrite: bool) -> Result<Self> {
        let first = d.parts.first().context("no data set is named")?;
        one_form(d)?;
        for name in &names {
            ensure!(
                !name.is_empty() && safe_file_name(name) == *name && !name.contains(','),
                "--name \"{}\": use letters, digits, '.', '_' and '-' only, not beginning with a dot",
                name.escape_debug()
            );
        }
        fs::create_dir_all(out)?;
        let is_parquet = matches!(first.table, Table::Parquet(_));
        let layout = (!matches!(first.layout, Layout::Caption(_))).then(|| first.layout.clone());
        let moved = d.parts.iter().map(|part| Moved::new(part, out)).collect::<Result<_>>()?;
        let paths_from = (is_parquet && first.layout.image_column().is_some())
            .then(|| first.media_dir.clone())
            .filter(|dir| dir.canonicalize().ok() != out.canonicalize().ok());
        let to = Self { out: out.to_owned(), names, is_parquet, layout, moved, paths_from };
        to.is_free(d, overwrite)?;
        Ok(to)
    }

    pub fn dataset_info(&self) -> Option<PathBuf> {
        self.layout.as_ref().map(|_| self.out.join(FILE_NAME))
    }

    /// Where pictures that parquet rows name by a path are looked for, if that is not the new folder.
    pub fn paths_from(&self) -> Option<PathBuf> {
        self.paths_from.clone()
    }

    fn file_name(&self, name: &str) -> String {
        if self.is_parquet { name.to_owned() } else { format!("{name}.jsonl") }
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.out.join(format!(".{}.partial", self.file_name(name)))
    }

    fn is_free(&self, d: &Dataset, overwrite: bool) -> Result<()> {
        let sources: Vec<PathBuf> = d.parts.iter().flat_map(|part| part.table.files()).map(|(path, _)| path).collect();
        let known = if self.layout.is_some() { entries(&self.out)? } else { Default::default() };
        for name in &self.names {
            let file_name = self.file_name(name);
            let path = self.out.join(&file_name);
            // A source that is the file, or lies in the folder: also through links.
            if let Ok(real) = path.canonicalize()
                && let Some(source) = sources.iter().find(|s| s.canonicalize().is_ok_and(|s| s.starts_with(&real)))
            {
                bail!(
                    "{} is read, and {} would take its place; nothing was written: give --name or --out another value",
                    source.display(),
                    path.display()
                );
            }
            if path.symlink_metadata().is_ok() {
                ensure!(
                    overwrite,
                    "{} is there already; nothing was written: give another --name, or replace it with --overwrite",
                    path.display()
                );
                self.is_ours(&path)?;
            }
            if !overwrite && is_of_other_data(&known, name, &file_name) {
                bail!(
                    "{} has an entry \"{name}\" for other data; nothing was written: give another --name, or replace it with --overwrite",
                    self.out.join(FILE_NAME).display()
                );
            }
        }
        Ok(())
    }

    /// What --overwrite may remove: a file in the place of a file, a folder of our files in the place of a folder.
    fn is_ours(&self, path: &Path) -> Result<()> {
        let meta = path.symlink_metadata().with_context(|| path.display().to_string())?;
        let ours = match self.is_parquet {
            false => meta.is_file(),
            true => meta.is_dir() && columns::has_only_our_files(path)?,
        };
        ensure!(
            ours,
            "{} is nothing that was written by this command; nothing was changed: give another --name",
            path.display()
        );
        Ok(())
    }

    /// Copies every row to its part. `lost` gets rows that could be read before and cannot be now. `None`: `watch` stopped it.
    ///
    /// # Errors
    /// A full disk, a part that lost all its rows. Nothing is left behind.
    pub fn write(
        &self,
        d: &Dataset,
        part_of: &[u8],
        lost: &mut dyn FnMut(Problem),
        watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Written>>> {
        let chosen = part_of.iter().filter(|part| **part != LEFT_OUT).count();
        self.enough_space(d, chosen)?;
        let copied = self.copy(d, part_of, chosen, lost, watch);
        let done = match copied {
            Ok(Some(parts)) => self.publish(&parts).map(|()| Some(parts)),
            other => other,
        };
        if !matches!(done, Ok(Some(_))) {
            // What led here says more than an error from tidying up.
            self.names.iter().for_each(|name| drop(fs::remove_dir_all(&self.partial(name))));
        }
        done
    }

    fn copy(
        &self,
        d: &Dataset,
        part_of: &[u8],
        chosen: usize,
        lost: &mut dyn FnMut(Problem),
        watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Written>>> {
        let mut files = self.names.iter().map(|name| self.begin(name)).collect::<Result<Vec<_>>>()?;
        // Rows are read with all their columns here, also those that no layout reads.
        let whole: Vec<Option<ParquetTable>> = d.parts.iter().map(|part| columns::whole(&part.table)).collect();
        let mut done = 0;
        for (index, part) in part_of.iter().enumerate().filter(|(_, part)| **part != LEFT_OUT) {
            let Some((set, row)) = d.place(index) else { bail!("there is no sample {index}") };
            let copied = match (&mut files[usize::from(*part)], &whole[set]) {
                (NewFile::Columns(files), Some(table)) => files.add(table, set, row)?,
                (NewFile::Rows(file), _) => file.add(d, index, &self.moved[set])?,
                (NewFile::Columns(_), None) => bail!("sample {index} is no row of a parquet file"),
            };
            if let Err(fault) = copied {
                lost(fault.at(index, d.origin(index)));
            }
            done += 1;
            if (done % ROWS_BETWEEN_LOOKS == 0 || done == chosen) && watch(done, chosen).is_break() {
                return Ok(None);
            }
        }
        let mut parts = Vec::new();
        for (name, file) in self.names.iter().zip(files) {
            let (rows, bytes, paths_changed) = match file {
                NewFile::Rows(file) => file.finish()?,
                NewFile::Columns(files) => files.finish()?,
            };
            ensure!(rows > 0, "no row of \"{name}\" could be copied; nothing was written");
            let path = self.out.join(self.file_name(name));
            parts.push(Written { name: name.clone(), path, rows, bytes, paths_changed });
        }
        Ok(Some(parts))
    }

    fn begin(&self, name: &str) -> Result<NewFile> {
        let partial = self.partial(name);
        fs::remove_dir_all(&partial)?;
        Ok(if self.is_parquet {
            NewFile::Columns(Box::new(ColumnFiles::begin(&partial)?))
        } else {
            NewFile::Rows(RowFile::begin(&partial)?)
        })
    }

    /// Gives everything its name, and dataset_info.json its entries.
    fn publish(&self, parts: &[Written]) -> Result<()> {
        for part in parts {
            let aside = self.out.join(format!(".{}.old", self.file_name(&part.name)));
            fs::remove_dir_all(&aside)?;
            if self.is_parquet && part.path.symlink_metadata().is_ok() {
                fs::rename(&part.path, &aside)?; // a folder does not replace another
            }
            fs::rename(&self.partial(&part.name), &part.path)?;
            fs::remove_dir_all(&aside)?;
        }
        fs::sync_dir(&self.out)?;
        for part in parts {
            let file_name = self.file_name(&part.name);
            if let Some(entry) = self.layout.as_ref().and_then(|layout| entry_of(layout, &file_name)) {
                register(&self.out, &part.name, entry, true)?; // `is_free` has asked
            }
        }
        Ok(())
    }

    /// Rows take about as much room as they did.
    fn enough_space(&self, d: &Dataset, chosen: usize) -> Result<()> {
        let bytes = |path: PathBuf| path.metadata().map_or(0, |meta| meta.len());
        let files = d.parts.iter().flat_map(|part| part.table.files());
        let stored =
            files.map(|(path, rows)| (bytes(path), rows)).fold((0, 0), |sum, file| (sum.0 + file.0, sum.1 + file.1));
        let needed = (stored.0 as f64 * chosen as f64 / stored.1.max(1) as f64) as u64;
        let free = fs::space(&self.out)?.free_bytes;
        ensure!(
            needed <= free,
            "{} has {} MB free, but the rows need about {} MB; nothing was written: make room, or choose less",
            self.out.display(),
            free >> 20,
            needed >> 20
        );
        Ok(())
    }
}

/// Rows copied between two looks at whether the work is still wanted: some megabytes with pictures.
const ROWS_BETWEEN_LOOKS: usize = 64;

/// A part that grows.
enum NewFile {
    Rows(RowFile),
    Columns(Box<ColumnFiles>),
}

/// Can the rows of all sets lie in one file, under one entry?
fn one_form(d: &Dataset) -> Result<()> {
    let Some(first) = d.parts.first() else { bail!("no data set is named") };
    for part in &d.parts[1..] {
        let same = match (&first.layout, &part.layout) {
            (Layout::Caption(a), Layout::Caption(b)) => (&a.image, &a.id, &a.caption) == (&b.image, &b.id, &b.caption),
            (a, b) => entry_of(a, "").is_some_and(|entry| Some(entry) == entry_of(b, "")),
        } && match (&first.table, &part.table) {
            (Table::Parquet(a), Table::Parquet(b)) => a.columns() == b.columns(),
            (a, b) => a.file_type() == b.file_type(),
        };
        ensure!(
            same,
            "\"{}\" and \"{}\" have other columns, layouts or file types, so one data set cannot hold the rows of both; nothing was written: choose from each by itself, and train on both",
            first.name,
            part.name
        );
    }
    Ok(())
}
