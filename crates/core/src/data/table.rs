//! Rows by index, whatever file type they lie in.

use super::OpenWatch;
use super::cells::ImageCell;
use super::json_index::JsonIndex;
use super::parquet::{ParquetRow, ParquetTable};
use super::problem::{Fault, kind};
use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One row before anybody asked what it means.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// All read columns but the pictures.
    pub fields: Map<String, Value>,
    pub images: Vec<ImageCell>,
}

/// The rows of one data set.
#[derive(Debug)]
pub enum Table {
    /// JSON or JSONL files, one after the other.
    Json(Vec<JsonIndex>),
    Parquet(Arc<ParquetTable>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileType {
    Json,
    Parquet,
}

impl FileType {
    /// By extension, as LLaMA-Factory does it (`FILEEXT2TYPE`).
    fn of(path: &Path) -> anyhow::Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "json" | "jsonl" => Ok(Self::Json),
            "parquet" => Ok(Self::Parquet),
            "arrow" | "csv" | "txt" => bail!(
                "{}: .{extension} files are not read here; convert it to JSONL or parquet (Python: datasets.load_dataset(…).to_parquet(…))",
                path.display()
            ),
            _ => bail!("{}: a data file must be .json, .jsonl or .parquet", path.display()),
        }
    }
}

/// The files behind a `file_name`: itself, or all entries of a folder, sorted by name. (LLaMA-Factory takes them in the
/// order the file system lists them, which differs between machines.)
pub fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        if !path.exists() {
            bail!("file {} not found", path.display());
        }
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("listing folder {}", path.display()))? {
        let entry = entry.with_context(|| format!("listing folder {}", path.display()))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            files.push(entry.path());
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("folder {} is empty", path.display());
    }
    Ok(files)
}

/// The parquet files that `sources` name: files, folders (their `*.parquet`, sorted) and patterns with `*`, in order.
///
/// # Errors
/// A source that is not there, or a folder or pattern without parquet files.
pub fn parquet_files(sources: &[impl AsRef<str>]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in sources.iter().map(AsRef::as_ref) {
        let path = Path::new(source);
        let pattern = if path.is_dir() {
            format!("{}/*.parquet", glob::Pattern::escape(source.trim_end_matches('/')))
        } else if path.exists() {
            files.push(path.to_owned());
            continue;
        } else {
            source.to_owned()
        };
        // glob sorts by name.
        let found: Vec<PathBuf> = glob::glob(&pattern)
            .with_context(|| format!("\"{source}\" is no file and no pattern"))?
            .collect::<Result<_, _>>()?;
        if found.is_empty() {
            let inside = if path.is_dir() { folders_with_parquet(path) } else { Vec::new() };
            match inside.as_slice() {
                [] => bail!("{source}: no parquet file there"),
                folders => bail!("{source}: no parquet file there, but in {}; name one of them", folders.join(", ")),
            }
        }
        files.extend(found);
    }
    Ok(files)
}

fn folders_with_parquet(path: &Path) -> Vec<String> {
    let mut folders: Vec<String> =
        glob::glob(&format!("{}/*/*.parquet", glob::Pattern::escape(&path.to_string_lossy())))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| Some(file.parent()?.display().to_string()))
            .collect();
    folders.dedup();
    folders
}

impl Table {
    /// Opens a file or a folder. `wanted`: the columns to read; `image_column`: the one that holds pictures.
    pub fn open(
        path: &Path,
        wanted: &[&str],
        image_column: Option<&str>,
        watch: &mut OpenWatch<'_>,
    ) -> anyhow::Result<Self> {
        let files = files_of(path)?;
        let file_type = FileType::of(&files[0])?;
        for file in &files[1..] {
            if FileType::of(file)? != file_type {
                bail!(
                    "{}: its files are of different types ({}, {}); all must have the same",
                    path.display(),
                    files[0].display(),
                    file.display()
                );
            }
        }
        Ok(match file_type {
            FileType::Json => {
                let bytes = |file: &PathBuf| file.metadata().map_or(0, |meta| meta.len());
                let total = files.iter().map(bytes).sum();
                let mut before = 0;
                let mut index = |file: &PathBuf| {
                    let index = JsonIndex::open_watched(file, &mut |done, _| watch(before + done, total));
                    before += bytes(file);
                    index
                };
                Self::Json(files.iter().map(&mut index).collect::<Result<_, _>>()?)
            }
            FileType::Parquet => {
                Self::Parquet(Arc::new(ParquetTable::open(&files)?.with_columns(wanted, image_column)))
            }
        })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Json(files) => files.iter().map(JsonIndex::len).sum(),
            Self::Parquet(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `json` or `parquet`.
    pub fn file_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Parquet(_) => "parquet",
        }
    }

    /// Every file with its number of rows.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        match self {
            Self::Json(files) => files.iter().map(|f| (f.path().to_owned(), f.len())).collect(),
            Self::Parquet(table) => table.shards().map(|(path, rows, ..)| (path.to_owned(), rows)).collect(),
        }
    }

    /// File and line, or file and row, for messages.
    pub fn origin(&self, i: usize) -> String {
        match self {
            Self::Json(files) => match json_row(files, i) {
                Some((file, i)) => file.origin(i),
                None => format!("row {}", i + 1),
            },
            Self::Parquet(table) => table.origin(i),
        }
    }

    /// Row `i` of JSON files as it stands there.
    pub(super) fn json_bytes(&self, i: usize) -> Result<Vec<u8>, Fault> {
        let found = if let Self::Json(files) = self { json_row(files, i) } else { None };
        let (file, i) = found.ok_or_else(|| Fault::new(kind::UNREADABLE, format!("there is no row {i}")))?;
        file.bytes(i)
    }

    /// Row `i`; `image_column` is taken out of the fields and read as pictures.
    pub fn row(&self, i: usize, image_column: Option<&str>) -> Result<Row, Fault> {
        match self {
            Self::Json(files) => {
                let (file, i) =
                    json_row(files, i).ok_or_else(|| Fault::new(kind::UNREADABLE, format!("there is no row {i}")))?;
                let mut fields = file.row(i)?;
                let images = match image_column.and_then(|column| fields.shift_remove(column)) {
                    None => Vec::new(),
                    Some(value) => json_images(value)?,
                };
                Ok(Row { fields, images })
            }
            Self::Parquet(table) => {
                let row = table.row(i)?;
                let fields = parquet_fields(table, &row, image_column)?;
                let images = image_column.map_or(Ok(Vec::new()), |column| table.image_cells(&row, column))?;
                Ok(Row { fields, images })
            }
        }
    }

    /// Row `i` without the bytes of its pictures: in parquet each stands as [`ImageCell::Stored`], whatever it is.
    pub fn glance(&self, i: usize, image_column: Option<&str>) -> Result<Row, Fault> {
        let Self::Parquet(table) = self else { return self.row(i, image_column) };
        let table = table.texts();
        let row = table.row(i)?;
        let pictures = image_column.map_or(0, |column| table.count_images(&row, column));
        Ok(Row {
            fields: parquet_fields(table, &row, image_column)?,
            images: (0..pictures).map(ImageCell::Stored).collect(),
        })
    }
}

fn parquet_fields(
    table: &ParquetTable,
    row: &ParquetRow,
    image_column: Option<&str>,
) -> Result<Map<String, Value>, Fault> {
    let columns = table.read_columns().filter(|(name, _)| Some(name.as_str()) != image_column);
    columns.map(|(name, _)| Ok((name.clone(), row.json(name)?))).collect()
}

fn json_row(files: &[JsonIndex], mut i: usize) -> Option<(&JsonIndex, usize)> {
    for file in files {
        if i < file.len() {
            return Some((file, i));
        }
        i -= file.len();
    }
    None
}

/// A path, a list of paths, or nothing; `{"path": …}`, as `datasets` writes pictures into JSON, counts as a path.
fn json_images(value: Value) -> Result<Vec<ImageCell>, Fault> {
    let one = |value: Value| match value {
        Value::String(path) => Ok(ImageCell::Path(path)),
        Value::Null => Ok(ImageCell::Empty),
        Value::Object(mut o) => match o.shift_remove("path") {
            Some(Value::String(path)) => Ok(ImageCell::Path(path)),
            _ => Err(Fault::new(kind::BAD_TYPE, "a picture is an object without a \"path\"; name its file")),
        },
        other => Err(Fault::new(
            kind::BAD_TYPE,
            format!("a picture must be a path, not {}", super::layout::type_name(&other)),
        )),
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.into_iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}
