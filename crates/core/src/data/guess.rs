//! What the columns of a file mean that no dataset_info.json describes.

use super::dataset_info::{Columns, Formatting, Tags};
use super::layout::Layout;
use anyhow::bail;

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
