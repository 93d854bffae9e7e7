//! The files of a [`super::parquet::ParquetTable`]: their footers, which of them holds a row, and the few that are kept
//! open. Not here: reading rows.
//!
//! A footer lists every column of every row group: at 100 rows a group, 25 million rows have a million of them. So
//! statistics, which nothing here asks for, are skipped; several files are read at once; and a file in use is parsed
//! once more, with the offsets of its pages.

use super::media::open_regular;
use super::parallel::in_chunks;
use super::parquet::ColumnKind;
use anyhow::{Context, anyhow, bail};
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::{KeyValue, PageIndexPolicy, ParquetStatisticsPolicy};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Shards whose footer is kept. More only helps access that jumps between more shards than this.
const OPEN_SHARDS: usize = 8;

#[derive(Debug)]
pub struct Shard {
    pub path: PathBuf,
    first_row: usize,
    pub rows: usize,
    pub row_groups: usize,
    pub bytes: u64,
    /// With text as bytes; shards of one writer share it.
    schema: Arc<SchemaDescriptor>,
}

/// All shards of a table, in order.
pub struct Shards {
    list: Vec<Shard>,
    pub rows: usize,
    pub columns: Vec<(String, ColumnKind)>,
    /// Most recently used last.
    open: Mutex<Vec<(usize, Arc<OpenShard>)>>,
}

pub struct OpenShard {
    pub file: File,
    pub meta: ArrowReaderMetadata,
    /// First row of every row group.
    pub group_starts: Vec<usize>,
}

/// What a footer says.
struct Footer {
    columns: Vec<(String, ColumnKind)>,
    schema: SchemaDescriptor,
    rows: usize,
    row_groups: usize,
    bytes: u64,
}

impl Shards {
    /// # Errors
    /// No shard, a shard that is not parquet or is damaged, or shards with different columns.
    pub fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let (mut list, mut rows): (Vec<Shard>, usize) = (Vec::new(), 0);
        let mut columns = Vec::new();
        let mut add = |path: &PathBuf, footer: Footer| -> anyhow::Result<()> {
            let Some(first) = list.first() else {
                columns = footer.columns;
                rows = footer.rows;
                let schema = Arc::new(footer.schema);
                let (row_groups, bytes) = (footer.row_groups, footer.bytes);
                list.push(Shard { path: path.clone(), first_row: 0, rows, row_groups, bytes, schema });
                return Ok(());
            };
            if columns != footer.columns {
                bail!(
                    "{}: its columns ({}) are not those of {} ({}); name only files of one data set",
                    path.display(),
                    names(&footer.columns),
                    first.path.display(),
                    names(&columns)
                );
            }
            let same = first.schema.root_schema() == footer.schema.root_schema();
            let schema = if same { Arc::clone(&first.schema) } else { Arc::new(footer.schema) };
            let (row_groups, bytes) = (footer.row_groups, footer.bytes);
            list.push(Shard { path: path.clone(), first_row: rows, rows: footer.rows, row_groups, bytes, schema });
            rows = rows
                .checked_add(footer.rows)
                .ok_or_else(|| anyhow!("{}: impossible number of rows", path.display()))?;
            Ok(())
        };
        let mut result = Ok(());
        in_chunks(
            paths.len(),
            1,
            |i| Footer::load(&paths[i]),
            |i, footer| match footer.and_then(|footer| add(&paths[i], footer)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(e) => {
                    result = Err(e);
                    ControlFlow::Break(())
                }
            },
        );
        result?;
        if list.is_empty() {
            bail!("no parquet file was named");
        }
        Ok(Self { list, rows, columns, open: Mutex::default() })
    }

    pub fn list(&self) -> &[Shard] {
        &self.list
    }

    /// The shard that holds `row`, and the row's number in it.
    pub fn locate(&self, row: usize) -> (usize, usize) {
        let shard = self.list.partition_point(|s| s.first_row <= row).saturating_sub(1);
        (shard, row - self.list[shard].first_row)
    }

    /// Shard `shard`, open.
    pub fn get(&self, shard: usize) -> anyhow::Result<Arc<OpenShard>> {
        let mut kept = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = kept.iter().position(|(s, _)| *s == shard) {
            let entry = kept.remove(i);
            let open = Arc::clone(&entry.1);
            kept.push(entry);
            return Ok(open);
        }
        let open = Arc::new(OpenShard::new(&self.list[shard])?);
        if kept.len() == OPEN_SHARDS {
            kept.remove(0);
        }
        kept.push((shard, Arc::clone(&open)));
        Ok(open)
    }
}

impl OpenShard {
    fn new(shard: &Shard) -> anyhow::Result<Self> {
        let changed = || anyhow!("{} was changed after it was opened; start again", shard.path.display());
        let (file, bytes) = open_regular(&shard.path)?;
        if bytes != shard.bytes {
            return Err(changed());
        }
        let options = options()
            .with_parquet_schema(Arc::clone(&shard.schema))
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let meta = ArrowReaderMetadata::load(&file, options)?;
        if row_count(&meta)? != shard.rows {
            return Err(changed());
        }
        let starts = meta.metadata().row_groups().iter().scan(0, |next, group| {
            let start = *next;
            *next += group.num_rows() as usize;
            Some(start)
        });
        let group_starts = starts.collect();
        Ok(Self { file, meta, group_starts })
    }
}

impl Footer {
    fn load(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let (file, bytes) = open_regular(path).context("opening a parquet file")?;
        let meta = catch_unwind(AssertUnwindSafe(|| ArrowReaderMetadata::load(&file, options())))
            .map_err(|_| anyhow!("the parquet decoder failed"))
            .and_then(|r| r.map_err(Into::into))
            .with_context(|| format!("{name} is not a whole parquet file; download or copy it again"))?;
        let columns = meta.schema().fields().iter().map(|f| (f.name().clone(), ColumnKind::of(f.data_type())));
        let root = meta.metadata().file_metadata().schema_descr().root_schema();
        Ok(Self {
            columns: columns.collect(),
            schema: SchemaDescriptor::new(text_as_bytes(root)?),
            rows: row_count(&meta).with_context(|| format!("parquet file {name}"))?,
            row_groups: meta.metadata().num_row_groups(),
            bytes,
        })
    }
}

/// The columns of a parquet file with text as text, and what its writer noted beside them.
///
/// # Errors
/// A file that is not there any more, or was damaged.
pub fn schema_of(path: &Path) -> anyhow::Result<(SchemaRef, Vec<KeyValue>)> {
    let (file, _) = open_regular(path)?;
    let meta = ArrowReaderMetadata::load(&file, options()).with_context(|| format!("reading {}", path.display()))?;
    let notes = meta.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    Ok((meta.schema().clone(), notes))
}

fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
}

fn names(columns: &[(String, ColumnKind)]) -> String {
    columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn row_count(meta: &ArrowReaderMetadata) -> anyhow::Result<usize> {
    meta.metadata().row_groups().iter().try_fold(0usize, |sum, group| {
        usize::try_from(group.num_rows())
            .ok()
            .and_then(|n| sum.checked_add(n))
            .ok_or_else(|| anyhow!("a row group with an impossible number of rows ({})", group.num_rows()))
    })
}

/// The same schema with the mark "this byte array is text" taken off.
fn text_as_bytes(t: &Type) -> anyhow::Result<TypePtr> {
    let info = t.get_basic_info();
    if t.is_primitive() {
        let text = matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON)
            || matches!(info.logical_type_ref(), Some(LogicalType::String | LogicalType::Enum | LogicalType::Json));
        if !text || t.get_physical_type() != PhysicalType::BYTE_ARRAY {
            return Ok(Arc::new(t.clone()));
        }
        let bytes = Type::primitive_type_builder(t.name(), PhysicalType::BYTE_ARRAY)
            .with_repetition(info.repetition())
            .with_id(info.has_id().then(|| info.id()))
            .build()?;
        return Ok(Arc::new(bytes));
    }
    let fields = t.get_fields().iter().map(|field| text_as_bytes(field)).collect::<anyhow::Result<_>>()?;
    let mut group = Type::group_type_builder(t.name())
        .with_fields(fields)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(info.has_id().then(|| info.id()));
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    Ok(Arc::new(group.build()?))
}
