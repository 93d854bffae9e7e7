//! Columns of rows that no layout reads: what a query or a group asks for by name, and the names of pictures.

use super::Dataset;
use super::cells::ImageCell;
use super::layout::Parsed;
use super::parquet::ParquetTable;
use super::problem::{Fault, kind};
use super::table::Table;
use anyhow::bail;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A reader of some columns of a data set.
pub struct Columns {
    /// One for each set: parquet files read these columns alone, JSON rows are read whole.
    tables: Vec<Option<ParquetTable>>,
}

impl Columns {
    /// # Errors
    /// A column that parquet files do not have. Which ones a JSON file has, only its rows say.
    pub fn of(d: &Dataset, names: &[&str]) -> anyhow::Result<Self> {
        for part in &d.parts {
            let Table::Parquet(table) = &part.table else { continue };
            if let Some(name) = names.iter().find(|name| table.column(name).is_none()) {
                let all: Vec<&str> = table.columns().iter().map(|(name, _)| name.as_str()).collect();
                bail!("{} has no column \"{name}\"; its columns are: {}", part.name, all.join(", "));
            }
        }
        Ok(Self::where_there(d, names))
    }

    /// [`Self::of`], where a column that is not there is no error.
    pub fn where_there(d: &Dataset, names: &[&str]) -> Self {
        let table = |part: &super::dataset::Part| match &part.table {
            Table::Parquet(table) => Some(table.reopened(names)),
            Table::Json(_) => None,
        };
        Self { tables: d.parts.iter().map(table).collect() }
    }

    /// The cells of sample `index` by column; for JSON all of the row.
    pub fn read(&self, d: &Dataset, index: usize) -> Result<Map<String, Value>, Fault> {
        let Some((part, row)) = d.place(index) else {
            return Err(Fault::new(kind::UNREADABLE, format!("there is no sample {index}")));
        };
        let Some(table) = self.tables.get(part).and_then(Option::as_ref) else {
            return Ok(d.parts[part].table.row(row, None)?.fields);
        };
        let found = table.row(row)?;
        table.read_columns().map(|(name, _)| Ok((name.clone(), found.json(name)?))).collect()
    }
}

/// A cell as people write it: texts without quotes.
pub fn text_of(cell: &Value) -> Cow<'_, str> {
    match cell {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// What the pictures of sample `index` are called in the row; those without a name are left out.
pub fn picture_names(d: &Dataset, index: usize, parsed: &Parsed) -> Vec<String> {
    let Some((part, row)) = d.place(index) else { return Vec::new() };
    let part = &d.parts[part];
    match (&part.table, part.layout.image_column()) {
        (Table::Parquet(table), Some(column)) => {
            let texts = table.texts();
            texts.row(row).map(|row| texts.image_names(&row, column)).unwrap_or_default()
        }
        _ => {
            let path = |cell: &ImageCell| if let ImageCell::Path(path) = cell { Some(path.clone()) } else { None };
            parsed.images.iter().filter_map(path).collect()
        }
    }
}
