//! A data set opened for reading: one or more named sets, one after the other or mixed ([`super::Mix`]).

use super::captions::{CaptionChoice, CaptionColumns, caption_columns};
use super::cells::ImageCell;
use super::dataset_info::{Entry, EntrySource};
use super::guess::guess_layout;
use super::layout::{Layout, Parsed};
use super::parquet::ParquetTable;
use super::place::{Place, Places};
use super::problem::{Fault, Problem, kind};
use super::sampling::NumpyRandom;
use super::table::{Table, files_of, parquet_files};
use super::{DatasetOptions, ImageRef, OpenWatch, Sample};
use crate::hub::DataFiles;
use anyhow::{Context, anyhow, bail};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A data set opened for reading; samples are read on demand, by index.
#[derive(Debug)]
pub struct Dataset {
    pub(super) parts: Vec<Part>,
    len: usize,
    /// Where in the parts, one after the other, each sample is; `None`: as they lie.
    order: Option<Vec<u32>>,
}

/// One named set.
#[derive(Debug)]
pub(super) struct Part {
    pub name: String,
    pub table: Table,
    pub layout: Layout,
    pub media_dir: PathBuf,
    /// Where pictures are looked for besides: for paths given directly, the folder of the file.
    pub beside: Option<PathBuf>,
    selection: Selection,
    notes: Vec<String>,
}

/// Which samples of a set.
#[derive(Debug)]
enum Selection {
    /// One after the other.
    Range(Range<usize>),
    Drawn(Vec<u32>),
}

impl Selection {
    fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Drawn(samples) => samples.len(),
        }
    }

    fn truncate(&mut self, most: usize) {
        match self {
            Self::Range(range) => range.end = range.end.min(range.start + most),
            Self::Drawn(samples) => samples.truncate(most),
        }
    }
}

/// One file of a named set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartFile {
    pub path: PathBuf,
    pub rows: usize,
}

/// What one named set is, for lists.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PartInfo {
    pub name: String,
    /// `alpaca`, `sharegpt`, `openai` or `caption` (a parquet file of captioned pictures).
    pub format: &'static str,
    /// `json` or `parquet`.
    pub file_type: &'static str,
    pub files: Vec<PartFile>,
    /// Rows in the files.
    pub rows: usize,
    /// Samples after `num_samples` and `max_samples`.
    pub samples: usize,
    pub image_column: Option<String>,
    /// What was read but has no effect.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Opens all sets of `o.names`, in order. A name that dataset_info.json does not have but that is a file or folder
    /// is opened directly, with its layout found by its columns; so is what the cache has of a repository of that name.
    pub fn open(o: &DatasetOptions) -> anyhow::Result<Self> {
        Self::open_watched(o, &mut |_, _| ControlFlow::Continue(()))
    }

    /// [`Self::open`], for large JSON files with progress and a way to give up.
    pub fn open_watched(o: &DatasetOptions, watch: &mut OpenWatch<'_>) -> anyhow::Result<Self> {
        if o.names.is_empty() {
            bail!("no data set is named; name one of {}", o.dataset_dir.join(super::dataset_info::FILE_NAME).display());
        }
        let mut random: Option<NumpyRandom> = None;
        let mut places = Places::of(&o.dataset_dir);
        let mut parts = Vec::new();
        for name in &o.names {
            let mut part = match places.find(name)? {
                Place::Entry(entry) => Part::named(&entry, o, &mut random, watch)?,
                Place::Path => Part::direct(name, o, watch)?,
                Place::Hub(wanted) => {
                    let data = wanted.data().with_context(|| format!("data set \"{name}\""))?;
                    let part = Part::guessed(name, Path::new(name), &data.files, o, watch)?;
                    Part { name: name.clone(), ..part.out_of_the_cache(&data) }
                }
            };
            if let Some(max) = o.max_samples {
                part.selection.truncate(max);
            }
            parts.push(part);
        }
        let mut set = Self::of(parts);
        let sets: Vec<(&str, usize)> = set.parts.iter().map(|p| (p.name.as_str(), p.selection.len())).collect();
        set.order = o.mix.order(&sets, o.seed)?;
        set.len = set.order.as_ref().map_or(set.len, Vec::len);
        Ok(set)
    }

    /// Opens parquet files of captioned pictures with the given columns (see [`caption_columns`]).
    pub fn open_captions(files: &[PathBuf], columns: CaptionColumns, o: &DatasetOptions) -> anyhow::Result<Self> {
        let table = ParquetTable::open(files)?;
        let mut part = Part::captions(table, columns, o)?;
        if let Some(max) = o.max_samples {
            part.selection.truncate(max);
        }
        Ok(Self::of(vec![part]))
    }

    fn of(parts: Vec<Part>) -> Self {
        let len = parts.iter().map(|p| p.selection.len()).sum();
        Self { parts, len, order: None }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The named sets, in order.
    pub fn parts(&self) -> Vec<PartInfo> {
        self.parts.iter().map(Part::info).collect()
    }

    /// Reads one sample. Pictures are looked up, not read.
    pub fn get(&self, index: usize) -> Result<Sample, Problem> {
        let (part, i) = self.locate(index).ok_or_else(|| self.no_sample(index))?;
        let origin = part.origin(i);
        part.sample(i, &origin).map_err(|fault| fault.at(index, &origin))
    }

    /// Sample `index` understood without the bytes of its pictures, for lists and searches.
    pub(super) fn glance(&self, index: usize) -> Result<Parsed, Problem> {
        let (part, i) = self.locate(index).ok_or_else(|| self.no_sample(index))?;
        let read = || part.layout.parse(part.table.glance(part.row(i), part.layout.image_column())?, i);
        read().map_err(|fault| fault.at(index, part.origin(i)))
    }

    /// The pictures of sample `index`, each by itself: one that cannot be had costs the others nothing.
    pub(super) fn pictures(&self, index: usize) -> Result<Vec<Result<ImageRef, Fault>>, Problem> {
        let (part, i) = self.locate(index).ok_or_else(|| self.no_sample(index))?;
        let row = part.row(i);
        let read = || part.layout.parse(part.table.row(row, part.layout.image_column())?, i);
        let parsed = read().map_err(|fault| fault.at(index, part.origin(i)))?;
        Ok(parsed.images.into_iter().map(|cell| part.image(row, cell)).collect())
    }

    /// The layout of the first set.
    pub(super) fn layout(&self) -> Option<&Layout> {
        self.parts.first().map(|part| &part.layout)
    }

    fn no_sample(&self, index: usize) -> Problem {
        let reason = format!("there is no sample {index}; the data set has {}", self.len);
        Fault::new(kind::UNREADABLE, reason).at(index, "data set")
    }

    /// Where sample `index` comes from: file and line, or file and row.
    pub fn origin(&self, index: usize) -> String {
        self.locate(index).map_or_else(|| "data set".to_owned(), |(part, i)| part.origin(i))
    }

    /// What can be said of the data without reading it: files of other sizes or numbers of rows, and other columns or
    /// questions, are another fingerprint.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for part in &self.parts {
            let layout = format!("{:?}", part.layout);
            hash.update(&(layout.len() as u64).to_le_bytes());
            hash.update(layout.as_bytes());
            for (path, rows) in part.table.files() {
                let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
                for n in [rows as u64, bytes] {
                    hash.update(&n.to_le_bytes());
                }
            }
        }
        format!("unread, blake3 of sizes {}", hash.finalize().to_hex())
    }

    /// Tells passes over the data apart without reading it: which samples of which files, as they were last written, read in
    /// which way. Pictures in files of their own are not looked at.
    pub fn identity(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for part in &self.parts {
            add_words(&mut hash, &(&part.layout, &part.media_dir, &part.beside));
            match &part.selection {
                Selection::Range(range) => add_words(&mut hash, range),
                Selection::Drawn(samples) => add_numbers(&mut hash, samples),
            }
            for (path, rows) in part.table.files() {
                let meta = std::fs::metadata(&path).ok();
                let written = meta.and_then(|meta| Some((meta.len(), meta.modified().ok()?)));
                add_words(&mut hash, &(path, rows, written));
            }
        }
        add_numbers(&mut hash, self.order.as_deref().unwrap_or_default());
        hash.finalize().to_hex().to_string()
    }

    /// The set that sample `index` is of, and its number there.
    fn locate(&self, index: usize) -> Option<(&Part, usize)> {
        self.number(index).map(|(part, i)| (&self.parts[part], i))
    }

    /// The number of the set that sample `index` is of, and its row there.
    pub(super) fn place(&self, index: usize) -> Option<(usize, usize)> {
        self.number(index).map(|(part, i)| (part, self.parts[part].row(i)))
    }

    /// The number of the set that sample `index` is of, and the sample's number there.
    fn number(&self, index: usize) -> Option<(usize, usize)> {
        let mut i = match &self.order {
            Some(order) => *order.get(index)? as usize,
            None => index,
        };
        for (number, part) in self.parts.iter().enumerate() {
            if i < part.selection.len() {
                let chosen = match &part.selection {
                    Selection::Range(range) => range.start + i,
                    Selection::Drawn(samples) => samples[i] as usize,
                };
                return Some((number, chosen));
            }
            i -= part.selection.len();
        }
        None
    }
}

fn add_words(hash: &mut blake3::Hasher, what: &dyn std::fmt::Debug) {
    let text = format!("{what:?}");
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// Millions of them: not as words.
fn add_numbers(hash: &mut blake3::Hasher, numbers: &[u32]) {
    hash.update(&(numbers.len() as u64).to_le_bytes());
    for n in numbers {
        hash.update(&n.to_le_bytes());
    }
}

impl Part {
    fn named(
        entry: &Entry,
        o: &DatasetOptions,
        random: &mut Option<NumpyRandom>,
        watch: &mut OpenWatch<'_>,
    ) -> anyhow::Result<Self> {
        let mut open = || -> anyhow::Result<(Table, Layout, Option<DataFiles>)> {
            let (path, hub) = match &entry.source {
                EntrySource::File(file) => (o.dataset_dir.join(file), None),
                EntrySource::Hub(wanted) => (PathBuf::new(), Some(wanted.data()?)),
            };
            if let Some(choice) = &entry.captions {
                let files = hub.as_ref().map_or_else(|| caption_files(&path), |data| Ok(data.files.clone()))?;
                let table = ParquetTable::open(&files)?;
                let columns = caption_columns(&table, choice).context("`captions`")?;
                let (table, layout) = captioned(table, columns);
                return Ok((table, layout, hub));
            }
            let layout = Layout::new(entry.formatting, entry.columns.clone(), entry.tags.clone());
            let (columns, pictures) = (layout.columns(), layout.image_column());
            let table = match &hub {
                None => Table::open(&path, &columns, pictures, watch)?,
                Some(data) => Table::of_files(&data.files, &columns, pictures, watch)?,
            };
            Ok((table, layout, hub))
        };
        let (table, layout, hub) = open().with_context(|| format!("data set \"{}\"", entry.name))?;
        let rows = entry.slice.as_ref().map_or(0..table.len(), |slice| slice.of(table.len()));
        let of = layout.samples_a_row();
        let samples = rows.start * of..rows.end * of;
        let selection = match entry.num_samples {
            None => Selection::Range(samples),
            Some(count) => {
                let seed = u32::try_from(o.seed).map_err(|_| {
                    anyhow!("data set \"{}\": `num_samples` needs a seed below 2^32, not {}", entry.name, o.seed)
                })?;
                let [start, end] = [samples.start, samples.end].map(u32::try_from);
                let (Ok(start), Ok(end)) = (start, end) else {
                    bail!("data set \"{}\": `num_samples` works up to 2^32 samples", entry.name);
                };
                let drawn = random.get_or_insert_with(|| NumpyRandom::new(seed)).sample(end - start, count);
                Selection::Drawn(drawn.into_iter().map(|i| start + i).collect())
            }
        };
        let part = Self {
            name: entry.name.clone(),
            table,
            layout,
            media_dir: o.media_dir.clone().unwrap_or_else(|| o.dataset_dir.clone()),
            beside: None,
            selection,
            notes: entry.notes.clone(),
        };
        Ok(match &hub {
            Some(data) => part.out_of_the_cache(data),
            None => part,
        })
    }

    /// Its files lie in the Hub's cache: says which part they are; pictures are looked for beside them.
    fn out_of_the_cache(mut self, data: &DataFiles) -> Self {
        self.beside = data.files.first().and_then(|file| file.parent()).map(Path::to_owned);
        self.notes.insert(0, format!("from the Hub: {}", data.part));
        self
    }

    fn direct(name: &str, o: &DatasetOptions, watch: &mut OpenWatch<'_>) -> anyhow::Result<Self> {
        let path = Path::new(name);
        let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        let files = if path.is_dir() || is_parquet { parquet_files(&[name])? } else { files_of(path)? };
        Self::guessed(name, path, &files, o, watch)
    }

    /// Files with a layout that their columns tell; `path` is where they lie.
    fn guessed(
        name: &str,
        path: &Path,
        files: &[PathBuf],
        o: &DatasetOptions,
        watch: &mut OpenWatch<'_>,
    ) -> anyhow::Result<Self> {
        let is_parquet = |file: &PathBuf| file.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        if files.first().is_some_and(is_parquet) {
            let table = ParquetTable::open(files)?;
            if let Ok(columns) = caption_columns(&table, &CaptionChoice::default()) {
                return Self::captions(table, columns, o);
            }
            let columns: Vec<String> = table.columns().iter().map(|(name, _)| name.clone()).collect();
            let layout = guess_layout(&columns).with_context(|| format!("parquet {name}"))?;
            let table = table.with_columns(&layout.columns(), layout.image_column());
            return Ok(Self::at(path, Table::Parquet(Arc::new(table)), layout, o));
        }
        let table = Table::of_files(files, &[], None, watch)?;
        // The keys of the first rows that can be read; a key may be missing where it would be empty.
        let mut keys: Vec<String> = Vec::new();
        for row in (0..table.len().min(50)).filter_map(|i| table.row(i, None).ok()) {
            keys.extend(
                row.fields.into_iter().map(|(key, _)| key).filter(|key| !keys.contains(key)).collect::<Vec<_>>(),
            );
        }
        let layout = guess_layout(&keys).with_context(|| format!("data file {name}"))?;
        Ok(Self::at(path, table, layout, o))
    }

    fn at(path: &Path, table: Table, layout: Layout, o: &DatasetOptions) -> Self {
        let beside = if path.is_dir() { Some(path) } else { path.parent() };
        Self {
            name: path.display().to_string(),
            selection: Selection::Range(0..table.len() * layout.samples_a_row()),
            table,
            layout,
            media_dir: o.media_dir.clone().unwrap_or_else(|| o.dataset_dir.clone()),
            beside: beside.map(Path::to_owned),
            notes: Vec::new(),
        }
    }

    fn captions(table: ParquetTable, columns: CaptionColumns, o: &DatasetOptions) -> anyhow::Result<Self> {
        let path = table.shards().next().map(|(path, ..)| path.to_owned()).ok_or_else(|| anyhow!("no parquet file"))?;
        let (table, layout) = captioned(table, columns);
        Ok(Self::at(&path, table, layout, o))
    }

    /// The row that sample `i` of the set is of.
    fn row(&self, i: usize) -> usize {
        i / self.layout.samples_a_row()
    }

    fn origin(&self, i: usize) -> String {
        self.table.origin(self.row(i))
    }

    fn info(&self) -> PartInfo {
        PartInfo {
            name: self.name.clone(),
            format: self.layout.name(),
            file_type: self.table.file_type(),
            files: self.table.files().into_iter().map(|(path, rows)| PartFile { path, rows }).collect(),
            rows: self.table.len(),
            samples: self.selection.len(),
            image_column: self.layout.image_column().map(str::to_owned),
            notes: self.notes.clone(),
        }
    }

    fn sample(&self, i: usize, origin: &str) -> Result<Sample, Fault> {
        let row = self.row(i);
        let parsed = self.layout.parse(self.table.row(row, self.layout.image_column())?, i)?;
        let images = parsed.images.into_iter().map(|cell| self.image(row, cell)).collect::<Result<_, _>>()?;
        Ok(Sample {
            conversation: parsed.conversation,
            images,
            origin: origin.to_owned(),
            image_labels: parsed.image_labels,
        })
    }

    fn image(&self, row: usize, cell: ImageCell) -> Result<ImageRef, Fault> {
        match (cell, &self.table) {
            (ImageCell::Path(path), Table::Parquet(table)) => {
                ImageRef::resolve(&path, &self.media_dir, table.folder(row))
            }
            (ImageCell::Path(path), Table::Json(_)) => {
                ImageRef::resolve(&path, &self.media_dir, self.beside.as_deref())
            }
            (ImageCell::Stored(nth), Table::Parquet(table)) => {
                Ok(ImageRef::Stored { table: Arc::clone(table), row, nth })
            }
            _ => Err(Fault::new(kind::IMAGE_MISSING, "a picture of the row is null")),
        }
    }
}

/// The parquet files of an entry that has `captions`: one, or all of a folder.
fn caption_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    if path.is_file() && !is_parquet {
        bail!(
            "{}: `captions` describes parquet files; describe the columns of this one under `columns`",
            path.display()
        );
    }
    let name = path.to_str().with_context(|| format!("{}: its name is not UTF-8; rename it", path.display()))?;
    parquet_files(&[name])
}

fn captioned(table: ParquetTable, columns: CaptionColumns) -> (Table, Layout) {
    let layout = Layout::Caption(columns);
    let table = table.with_columns(&layout.columns(), layout.image_column());
    (Table::Parquet(Arc::new(table)), layout)
}
