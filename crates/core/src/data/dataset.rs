//! A data set opened for reading: one or more named sets, one after the other or mixed ([`super::Mix`]).

use super::cells::ImageCell;
use super::dataset_info::{Columns, DatasetInfo, Entry, Formatting, Tags};
use super::layout::{CaptionColumns, Layout, Parsed};
use super::parquet::{ColumnKind, ParquetTable};
use super::problem::{Fault, Problem, kind};
use super::sampling::NumpyRandom;
use super::table::{Table, parquet_files};
use super::{DatasetOptions, ImageRef, OpenWatch, Sample};
use anyhow::{Context, anyhow, bail};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tutorial's question for every picture.
pub const DEFAULT_QUESTION: &str = "图片中的诊断结果是怎样？";

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

#[derive(Debug)]
enum Selection {
    First(usize),
    Rows(Vec<u32>),
}

impl Selection {
    fn len(&self) -> usize {
        match self {
            Self::First(n) => *n,
            Self::Rows(rows) => rows.len(),
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
    /// is opened directly, with its layout found by its columns.
    pub fn open(o: &DatasetOptions) -> anyhow::Result<Self> {
        Self::open_watched(o, &mut |_, _| ControlFlow::Continue(()))
    }

    /// [`Self::open`], for large JSON files with progress and a way to give up.
    pub fn open_watched(o: &DatasetOptions, watch: &mut OpenWatch<'_>) -> anyhow::Result<Self> {
        if o.names.is_empty() {
            bail!("no data set is named; name one of {}", o.dataset_dir.join(super::dataset_info::FILE_NAME).display());
        }
        let mut random: Option<NumpyRandom> = None;
        // A path can be opened where there is no dataset_info.json at all.
        let mut info: Option<anyhow::Result<DatasetInfo>> = None;
        let mut parts = Vec::new();
        for name in &o.names {
            let info = info.get_or_insert_with(|| DatasetInfo::load(&o.dataset_dir));
            let known = info.as_ref().is_ok_and(|info| info.contains(name));
            let mut part = if !known && (Path::new(name).exists() || name.contains('*')) {
                Part::direct(name, o, watch)?
            } else {
                match info {
                    Ok(info) => Part::named(&info.entry(name)?, o, &mut random, watch)?,
                    Err(e) => return Err(anyhow!("data set \"{name}\": {e:#}")),
                }
            };
            if let Some(max) = o.max_samples {
                match &mut part.selection {
                    Selection::First(n) => *n = (*n).min(max),
                    Selection::Rows(rows) => rows.truncate(max),
                }
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
        if let (Selection::First(n), Some(max)) = (&mut part.selection, o.max_samples) {
            *n = (*n).min(max);
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
        let (part, row) = self.locate(index).ok_or_else(|| self.no_sample(index))?;
        let origin = part.table.origin(row);
        part.sample(row, &origin).map_err(|fault| fault.at(index, &origin))
    }

    /// Sample `index` understood without the bytes of its pictures, for lists and searches.
    pub(super) fn glance(&self, index: usize) -> Result<Parsed, Problem> {
        let (part, row) = self.locate(index).ok_or_else(|| self.no_sample(index))?;
        let read = || part.layout.parse(part.table.glance(row, part.layout.image_column())?, row);
        read().map_err(|fault| fault.at(index, part.table.origin(row)))
    }

    /// The pictures of sample `index`, each by itself: one that cannot be had costs the others nothing.
    pub(super) fn pictures(&self, index: usize) -> Result<Vec<Result<ImageRef, Fault>>, Problem> {
        let (part, row) = self.locate(index).ok_or_else(|| self.no_sample(index))?;
        let read = || part.layout.parse(part.table.row(row, part.layout.image_column())?, row);
        let parsed = read().map_err(|fault| fault.at(index, part.table.origin(row)))?;
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
        self.locate(index).map_or_else(|| "data set".to_owned(), |(part, row)| part.table.origin(row))
    }

    /// What can be said of the data without reading it: files of other sizes or numbers of rows are another fingerprint.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for (path, rows) in self.parts.iter().flat_map(|part| part.table.files()) {
            let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            for n in [rows as u64, bytes] {
                hash.update(&n.to_le_bytes());
            }
        }
        format!("unread, blake3 of sizes {}", hash.finalize().to_hex())
    }

    fn locate(&self, index: usize) -> Option<(&Part, usize)> {
        self.place(index).map(|(part, row)| (&self.parts[part], row))
    }

    /// The number of the set that sample `index` is of, and its row there.
    pub(super) fn place(&self, index: usize) -> Option<(usize, usize)> {
        let mut i = match &self.order {
            Some(order) => *order.get(index)? as usize,
            None => index,
        };
        for (number, part) in self.parts.iter().enumerate() {
            if i < part.selection.len() {
                let row = match &part.selection {
                    Selection::First(_) => i,
                    Selection::Rows(rows) => rows[i] as usize,
                };
                return Some((number, row));
            }
            i -= part.selection.len();
        }
        None
    }
}

impl Part {
    fn named(
        entry: &Entry,
        o: &DatasetOptions,
        random: &mut Option<NumpyRandom>,
        watch: &mut OpenWatch<'_>,
    ) -> anyhow::Result<Self> {
        let layout = Layout::new(entry.formatting, entry.columns.clone(), entry.tags.clone());
        let path = o.dataset_dir.join(&entry.file_name);
        let table = Table::open(&path, &layout.columns(), layout.image_column(), watch)
            .with_context(|| format!("data set \"{}\"", entry.name))?;
        let rows = table.len();
        let selection = match entry.num_samples {
            None => Selection::First(rows),
            Some(count) => {
                let seed = u32::try_from(o.seed).map_err(|_| {
                    anyhow!("data set \"{}\": `num_samples` needs a seed below 2^32, not {}", entry.name, o.seed)
                })?;
                let rows = u32::try_from(rows)
                    .map_err(|_| anyhow!("data set \"{}\": `num_samples` works up to 2^32 rows", entry.name))?;
                Selection::Rows(random.get_or_insert_with(|| NumpyRandom::new(seed)).sample(rows, count))
            }
        };
        Ok(Self {
            name: entry.name.clone(),
            table,
            layout,
            media_dir: o.media_dir.clone().unwrap_or_else(|| o.dataset_dir.clone()),
            beside: None,
            selection,
            notes: entry.notes.clone(),
        })
    }

    fn direct(name: &str, o: &DatasetOptions, watch: &mut OpenWatch<'_>) -> anyhow::Result<Self> {
        let path = Path::new(name);
        let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        if path.is_dir() || is_parquet {
            let files = parquet_files(&[name])?;
            let table = ParquetTable::open(&files)?;
            if let Ok(columns) = caption_columns(&table, &CaptionChoice::default()) {
                return Self::captions(table, columns, o);
            }
            let columns: Vec<String> = table.columns().iter().map(|(name, _)| name.clone()).collect();
            let layout = guess_layout(&columns).with_context(|| format!("parquet {name}"))?;
            let table = table.with_columns(&layout.columns(), layout.image_column());
            return Ok(Self::at(path, Table::Parquet(Arc::new(table)), layout, o));
        }
        let table = Table::open(path, &[], None, watch)?;
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
            selection: Selection::First(table.len()),
            table,
            layout,
            media_dir: o.media_dir.clone().unwrap_or_else(|| o.dataset_dir.clone()),
            beside: beside.map(Path::to_owned),
            notes: Vec::new(),
        }
    }

    fn captions(table: ParquetTable, columns: CaptionColumns, o: &DatasetOptions) -> anyhow::Result<Self> {
        let path = table.shards().next().map(|(path, ..)| path.to_owned()).ok_or_else(|| anyhow!("no parquet file"))?;
        let layout = Layout::Caption(columns);
        let table = table.with_columns(&layout.columns(), layout.image_column());
        Ok(Self::at(&path, Table::Parquet(Arc::new(table)), layout, o))
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

    fn sample(&self, row: usize, origin: &str) -> Result<Sample, Fault> {
        let parsed = self.layout.parse(self.table.row(row, self.layout.image_column())?, row)?;
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

/// Which columns hold what, where the user says so.
#[derive(Debug, Clone, Default)]
pub struct CaptionChoice {
    pub image: Option<String>,
    pub id: Option<String>,
    pub caption: Option<String>,
    /// Empty: the tutorial's question.
    pub questions: Vec<String>,
}

/// Finds the columns of captioned pictures: those chosen, else the usual names, else the only column that fits.
pub fn caption_columns(table: &ParquetTable, choice: &CaptionChoice) -> anyhow::Result<CaptionColumns> {
    let all: Vec<&str> = table.columns().iter().map(|(name, _)| name.as_str()).collect();
    let chosen = |name: &Option<String>, option: &str| match name {
        Some(name) if !all.contains(&name.as_str()) => {
            bail!("{option}: there is no column \"{name}\"; the columns are: {}", all.join(", "))
        }
        other => Ok(other.clone()),
    };
    let usual = |names: &[&str], fits: &dyn Fn(&ColumnKind) -> bool| {
        names.iter().find(|name| table.column(name).is_some_and(fits)).map(|name| (*name).to_owned())
    };
    let text = |kind: &ColumnKind| *kind == ColumnKind::Text;
    let picture = |kind: &ColumnKind| matches!(kind.element(), ColumnKind::Image | ColumnKind::Bytes);
    let picture_or_path = |kind: &ColumnKind| picture(kind) || *kind.element() == ColumnKind::Text;
    let image = chosen(&choice.image, "--image-column")?
        .or_else(|| usual(&["image", "images", "img", "picture"], &picture_or_path))
        .or_else(|| {
            let mut fitting = table.columns().iter().filter(|(_, kind)| picture(kind));
            fitting.next().filter(|_| fitting.next().is_none()).map(|(name, _)| name.clone())
        })
        .or_else(|| usual(&["file_name", "image_path", "path"], &text));
    let caption = chosen(&choice.caption, "--caption-column")?
        .or_else(|| usual(&["caption", "captions", "text", "report", "description", "findings", "answer"], &text));
    let id =
        chosen(&choice.id, "--id-column")?.or_else(|| usual(&["id", "image_id", "uid", "key", "file_name"], &|_| true));
    let (Some(image), Some(caption)) = (image, caption) else {
        bail!(
            "no columns of captioned pictures found among: {}; say which they are with --image-column and --caption-column",
            all.join(", ")
        );
    };
    if let Some(ColumnKind::Other) = table.column(&image).map(ColumnKind::element) {
        bail!("column \"{image}\" holds no pictures; pictures are a struct of bytes and path, bytes, or paths");
    }
    let questions =
        if choice.questions.is_empty() { vec![DEFAULT_QUESTION.to_owned()] } else { choice.questions.clone() };
    Ok(CaptionColumns { image: Some(image), id, caption, questions })
}

/// The layout of a file that no dataset_info.json describes, by its keys.
fn guess_layout(keys: &[String]) -> anyhow::Result<Layout> {
    let has = |key: &str| keys.iter().any(|k| k == key);
    let first = |names: &[&str]| names.iter().find(|name| has(name)).map(|name| (*name).to_owned());
    let mut columns = Columns {
        images: first(&["images", "image"]),
        system: first(&["system"]),
        tools: first(&["tools"]),
        ..Columns::default()
    };
    if has("messages") {
        columns.messages = Some("messages".into());
        let tag = |s: &str| Some(s.to_owned());
        let tags = Tags {
            role: "role".into(),
            content: "content".into(),
            user: tag("user"),
            assistant: tag("assistant"),
            observation: tag("tool"),
            function: tag("function"),
            system: tag("system"),
        };
        return Ok(Layout::new(Formatting::Openai, columns, tags));
    }
    if has("conversations") {
        return Ok(Layout::new(Formatting::Sharegpt, columns, Tags::default()));
    }
    if has("instruction") {
        columns.history = first(&["history"]);
        return Ok(Layout::new(Formatting::Alpaca, columns, Tags::default()));
    }
    bail!("no known layout: it has the keys {}; describe it in a dataset_info.json and name it there", keys.join(", "))
}
