//! Conversations as rows of a data set: `NAME.jsonl` beside dataset_info.json, in the layout of OpenAI's messages.
use anyhow::{Context, Result};
use lightbox_core::data::{RegisterError, register};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Adds one row (a JSON object in one line). `None`: a data set of that name is there and is not one of ours.
///
/// # Errors
/// The folder or a file in it cannot be read or written; nothing was added then.
pub fn append(dir: &Path, name: &str, row: &str) -> Result<Option<PathBuf>> {
    let file_name = format!("{}.jsonl", file_stem(name));
    let path = dir.join(&file_name);
    lightbox_core::fs::create_dir_all(dir)?;
    match register(dir, name, entry(&file_name), false) {
        Err(RegisterError::Taken { .. }) => return Ok(None),
        other => other?,
    }
    let mut file = lightbox_core::fs::append_open(&path)?;
    file.append(format!("{row}\n").as_bytes()).with_context(|| path.display().to_string())?;
    file.sync()?;
    Ok(Some(path))
}

fn entry(file_name: &str) -> Value {
    json!({
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"},
    })
}

/// A data set may be called anything; its file is called by letters, digits and dashes.
fn file_stem(name: &str) -> String {
    let stem: String =
        name.chars().map(|c| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).take(60).collect();
    if stem.trim_matches('-').is_empty() { "chat".into() } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightbox_core::data::{Dataset, DatasetOptions, dataset_info::FILE_NAME};

    #[test]
    fn rows_that_were_added_can_be_trained_on() {
        let temp = tempfile::tempdir().unwrap();
        let row = |q: &str| {
            json!({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "好"}], "images": []})
                .to_string()
        };
        let path = append(temp.path(), "my chat", &row("一")).unwrap().unwrap();
        assert_eq!(path.file_name().unwrap(), "my-chat.jsonl");
        append(temp.path(), "my chat", &row("二")).unwrap().unwrap();
        let options = DatasetOptions {
            dataset_dir: temp.path().into(),
            media_dir: None,
            names: vec!["my chat".into()],
            max_samples: None,
            seed: 0,
            mix: Default::default(),
        };
        let set = Dataset::open(&options).unwrap();
        assert_eq!(set.len(), 2);
        assert_eq!(set.get(1).unwrap().conversation.messages[0].content, "二");
    }

    #[test]
    fn a_data_set_of_another_layout_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join(FILE_NAME), r#"{"mine": {"file_name": "mine.json"}}"#).unwrap();
        assert_eq!(append(temp.path(), "mine", "{}").unwrap(), None);
        assert!(!temp.path().join("mine.jsonl").exists());
    }
}
