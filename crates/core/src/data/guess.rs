//! What the columns of a file mean that no dataset_info.json describes.

use super::dataset::DEFAULT_QUESTION;
use super::dataset_info::{Columns, Formatting, Tags};
use super::layout::{CaptionColumns, Layout};
use super::parquet::{ColumnKind, ParquetTable};
use anyhow::bail;

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
pub(super) fn guess_layout(keys: &[String]) -> anyhow::Result<Layout> {
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
