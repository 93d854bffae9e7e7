//! LLaMA-Factory's `dataset_info.json`: which file, which layout, which columns (`data/parser.py` at v0.9.5).
//!
//! Two of its rules surprise people and are kept, because files in the wild rely on them: where `columns` is present,
//! a column it does not name does not exist (no default applies); and where `tags` is present, a role it does not
//! name does not exist. The stock multimodal entry names no system tag, so system messages are bad roles there.
//!
//! Entries are parsed one by one when they are used: a broken or unsupported entry hurts only those who name it.

use super::captions::CaptionChoice;
use super::media::open_regular;
use super::slice::Slice;
use crate::hub::{DataPart, Repo, Source, Wanted, What};
use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file's name inside `dataset_dir`.
pub const FILE_NAME: &str = "dataset_info.json";

/// LLaMA-Factory's own list of a hundred data sets has 20 KB.
const MAX_BYTES: u64 = 16 << 20;
/// Most samples that an entry can draw: each takes four bytes of memory at once.
const MAX_SAMPLES: usize = 100_000_000;

/// Keys of LLaMA-Factory's entries, and `captions`, which is ours; others are named in [`Entry::notes`].
const KEYS: [&str; 17] = [
    "file_name",
    "captions",
    "formatting",
    "ranking",
    "subset",
    "split",
    "folder",
    "num_samples",
    "columns",
    "tags",
    "hf_hub_url",
    "ms_hub_url",
    "om_hub_url",
    "script_url",
    "cloud_file_name",
    "revision",
    "file_sha1",
];

/// The whole file.
#[derive(Debug, Clone)]
pub struct DatasetInfo {
    path: PathBuf,
    entries: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formatting {
    Alpaca,
    Sharegpt,
    Openai,
}

impl Formatting {
    pub fn name(self) -> &'static str {
        match self {
            Self::Alpaca => "alpaca",
            Self::Sharegpt => "sharegpt",
            Self::Openai => "openai",
        }
    }
}

/// Names of the columns; `None`: there is no such column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    pub prompt: Option<String>,
    pub query: Option<String>,
    pub response: Option<String>,
    pub history: Option<String>,
    pub messages: Option<String>,
    pub system: Option<String>,
    pub tools: Option<String>,
    pub images: Option<String>,
    pub videos: Option<String>,
    pub audios: Option<String>,
    /// Ours (stage `vision`): words per picture token. Always the column of this name.
    pub image_labels: String,
}

impl Default for Columns {
    fn default() -> Self {
        let name = |s: &str| Some(s.to_owned());
        Self {
            prompt: name("instruction"),
            query: name("input"),
            response: name("output"),
            history: None,
            messages: name("conversations"),
            system: None,
            tools: None,
            images: None,
            videos: None,
            audios: None,
            image_labels: "image_labels".into(),
        }
    }
}

/// The words that name roles; `None`: there is no such role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    pub role: String,
    pub content: String,
    pub user: Option<String>,
    pub assistant: Option<String>,
    pub observation: Option<String>,
    pub function: Option<String>,
    pub system: Option<String>,
}

impl Default for Tags {
    fn default() -> Self {
        let tag = |s: &str| Some(s.to_owned());
        Self {
            role: "from".into(),
            content: "value".into(),
            user: tag("human"),
            assistant: tag("gpt"),
            observation: tag("observation"),
            function: tag("function_call"),
            system: tag("system"),
        }
    }
}

/// Where an entry's rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntrySource {
    /// `file_name` as written: a file or a folder, relative to `dataset_dir`.
    File(String),
    /// `hf_hub_url` or `ms_hub_url`.
    Hub(Wanted),
}

/// One data set of the file.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub source: EntrySource,
    pub formatting: Formatting,
    pub columns: Columns,
    pub tags: Tags,
    /// Captioned pictures in parquet; then layout, columns and tags have no effect.
    pub captions: Option<CaptionChoice>,
    /// Only this part of the split.
    pub slice: Option<Slice>,
    /// Draw exactly this many.
    pub num_samples: Option<usize>,
    /// What was read but has no effect.
    pub notes: Vec<String>,
}

impl DatasetInfo {
    /// Reads `dataset_dir/dataset_info.json`.
    pub fn load(dataset_dir: &Path) -> anyhow::Result<Self> {
        let dir = dataset_dir.to_string_lossy();
        if dir == "ONLINE" || dir.starts_with("REMOTE:") {
            bail!(
                "dataset_dir \"{dir}\" asks for data from a hub; download the data set and set dataset_dir to its folder"
            );
        }
        let path = dataset_dir.join(FILE_NAME);
        let (file, len) = open_regular(&path).with_context(|| {
            format!("reading {}; dataset_dir must be the folder that holds {FILE_NAME}", path.display())
        })?;
        if len > MAX_BYTES {
            bail!("{} has {len} bytes, which no list of data sets has; is it the data itself?", path.display());
        }
        let mut bytes = Vec::with_capacity(len as usize);
        // `take`: the file may grow while it is read.
        file.take(MAX_BYTES).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&path, &bytes)
    }

    /// Parses the file's content; `path` is for messages.
    pub fn parse(path: &Path, bytes: &[u8]) -> anyhow::Result<Self> {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        match serde_json::from_slice(text) {
            Ok(Value::Object(entries)) => Ok(Self { path: path.to_owned(), entries }),
            Ok(_) => bail!("{}: not a JSON object of data sets", path.display()),
            Err(e) => bail!("{}:{}:{}: not JSON: {e}; mend the file", path.display(), e.line(), e.column()),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The entry as it stands in the file.
    pub fn raw(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// All entries as they stand in the file, in its order.
    pub fn into_entries(self) -> Map<String, Value> {
        self.entries
    }

    /// The entry called `name`, checked.
    ///
    /// # Errors
    /// No such entry; a source or layout that is not supported (with what to do instead); a key of a wrong type.
    pub fn entry(&self, name: &str) -> anyhow::Result<Entry> {
        let raw = self.entries.get(name).ok_or_else(|| {
            let known: Vec<_> = self.names().take(20).collect();
            let more = if self.entries.len() > known.len() { ", …" } else { "" };
            anyhow!("data set \"{name}\" is not in {}; it has: {}{more}", self.path.display(), known.join(", "))
        })?;
        let dir = self.path.parent().unwrap_or(Path::new(""));
        entry(name, raw, dir).with_context(|| format!("{}: data set \"{name}\"", self.path.display()))
    }
}

/// `dir`: what paths in it are relative to.
fn entry(name: &str, raw: &Value, dir: &Path) -> anyhow::Result<Entry> {
    let raw = raw.as_object().ok_or_else(|| anyhow!("not a JSON object"))?;
    let hub = on_a_hub(raw)?;
    for (key, what) in
        [("om_hub_url", "OpenMind"), ("script_url", "a Python loading script"), ("cloud_file_name", "cloud storage")]
    {
        if let Some(source) = raw.get(key).filter(|v| hub.is_none() && !v.is_null()) {
            bail!(
                "`{key}`: {source} is read from {what}, which is not done here; download its files, put them into dataset_dir and write `file_name` instead"
            );
        }
    }
    if raw.get("ranking").and_then(Value::as_bool) == Some(true) {
        bail!(
            "`ranking`: true marks preference data (chosen and rejected answers), which supervised fine-tuning cannot use; take a data set of plain answers"
        );
    }
    let mut notes = Vec::new();
    let (split, slice) = split(raw)?.unzip();
    if hub.is_none()
        && let Some(split) = split.filter(|split| split != "train")
    {
        bail!(
            "`split`: \"{split}\" is not there: local files have only the split \"train\"; remove the key, or write train[:10%] for a part"
        );
    }
    for key in ["subset", "folder"] {
        if hub.is_none() && text(raw, key)?.is_some() {
            notes.push(format!("`{key}` has no effect on local files"));
        }
    }
    let captions = match raw.get("captions").filter(|v| !v.is_null()) {
        None => None,
        Some(value) => {
            for key in ["formatting", "columns", "tags"].into_iter().filter(|key| raw.contains_key(*key)) {
                notes.push(format!("`{key}` has no effect beside `captions`"));
            }
            Some(CaptionChoice::of_entry(value, dir).context("`captions`")?)
        }
    };
    let unknown: Vec<&str> = raw.keys().map(String::as_str).filter(|key| !KEYS.contains(key)).collect();
    if !unknown.is_empty() {
        notes.push(format!("unknown keys have no effect: {}", unknown.join(", ")));
    }
    let formatting = match text(raw, "formatting")?.as_deref() {
        None | Some("alpaca") => Formatting::Alpaca,
        Some("sharegpt") => Formatting::Sharegpt,
        Some("openai") => Formatting::Openai,
        Some(other) => bail!("`formatting`: \"{other}\" is not one of alpaca, sharegpt, openai"),
    };
    let source = match hub {
        Some(wanted) => EntrySource::Hub(wanted),
        None => EntrySource::File(text(raw, "file_name")?.ok_or_else(|| anyhow!("`file_name` is missing"))?),
    };
    let num_samples = match raw.get("num_samples") {
        None | Some(Value::Null) => None,
        Some(v) => Some(
            v.as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|&n| n <= MAX_SAMPLES)
                .ok_or_else(|| anyhow!("`num_samples`: {v} is not a whole number of samples up to {MAX_SAMPLES}"))?,
        ),
    };
    Ok(Entry {
        name: name.to_owned(),
        source,
        formatting,
        columns: columns(raw)?,
        tags: tags(raw)?,
        captions,
        slice: slice.flatten(),
        num_samples,
        notes,
    })
}

/// The repository that an entry names, as LLaMA-Factory chooses it: ModelScope's if USE_MODELSCOPE_HUB says so or there is
/// no other. It counts before `file_name`.
fn on_a_hub(raw: &Map<String, Value>) -> anyhow::Result<Option<Wanted>> {
    let (hf, ms) = (text(raw, "hf_hub_url")?, text(raw, "ms_hub_url")?);
    let (key, source, id) = match (hf, ms) {
        (None, None) => return Ok(None),
        (Some(hf), None) => ("hf_hub_url", Source::HuggingFace, hf),
        (None, Some(ms)) => ("ms_hub_url", Source::ModelScope, ms),
        (Some(hf), Some(ms)) => match Source::preferred() {
            Source::HuggingFace => ("hf_hub_url", Source::HuggingFace, hf),
            Source::ModelScope => ("ms_hub_url", Source::ModelScope, ms),
        },
    };
    if !Repo::is_name(&id) {
        bail!("`{key}`: \"{id}\" is no name of a repository; it looks like UCSC-VLAA/MedTrinity-25M");
    }
    let split = split(raw)?.map(|(name, _)| name);
    let part = DataPart { subset: text(raw, "subset")?, split, folder: text(raw, "folder")? };
    let revision = text(raw, "revision")?;
    Ok(Some(Wanted::of(source, &id, What::Data(part), revision.as_deref(), None)))
}

/// The name in `split`, and which part of that split.
fn split(raw: &Map<String, Value>) -> anyhow::Result<Option<(String, Option<Slice>)>> {
    text(raw, "split")?.map(|spec| Slice::parse(&spec)).transpose().context("`split`")
}

fn columns(raw: &Map<String, Value>) -> anyhow::Result<Columns> {
    let Some(given) = object(raw, "columns")? else { return Ok(Columns::default()) };
    let column = |key: &str| text(given, key).context("`columns`");
    for key in ["chosen", "rejected", "kto_tag"] {
        if column(key)?.is_some() {
            bail!("`columns`: \"{key}\" belongs to preference data, which supervised fine-tuning cannot use");
        }
    }
    Ok(Columns {
        prompt: column("prompt")?,
        query: column("query")?,
        response: column("response")?,
        history: column("history")?,
        messages: column("messages")?,
        system: column("system")?,
        tools: column("tools")?,
        images: column("images")?,
        videos: column("videos")?,
        audios: column("audios")?,
        ..Columns::default()
    })
}

fn tags(raw: &Map<String, Value>) -> anyhow::Result<Tags> {
    let Some(given) = object(raw, "tags")? else { return Ok(Tags::default()) };
    let tag = |key: &str| text(given, key).context("`tags`");
    let needed = |key: &str| {
        tag(key)?.ok_or_else(|| anyhow!("`tags`: \"{key}\" is missing, and where `tags` is given it has no default"))
    };
    Ok(Tags {
        role: needed("role_tag")?,
        content: needed("content_tag")?,
        user: tag("user_tag")?,
        assistant: tag("assistant_tag")?,
        observation: tag("observation_tag")?,
        function: tag("function_tag")?,
        system: tag("system_tag")?,
    })
}

fn text(map: &Map<String, Value>, key: &str) -> anyhow::Result<Option<String>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.clone())),
        Some(other) => bail!("`{key}`: {other} is not a text"),
    }
}

fn object<'a>(map: &'a Map<String, Value>, key: &str) -> anyhow::Result<Option<&'a Map<String, Value>>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(o)) => Ok(Some(o)),
        Some(other) => bail!("`{key}`: {other} is not a JSON object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: Value) -> anyhow::Result<Entry> {
        DatasetInfo::parse(Path::new("info.json"), json!({"d": value}).to_string().as_bytes())?.entry("d")
    }

    fn refusal(value: Value) -> String {
        format!("{:#}", parse(value).expect_err("a refusal"))
    }

    #[test]
    fn absent_columns_and_tags_have_llamafactorys_defaults() {
        let e = parse(json!({"file_name": "a.json"})).unwrap();
        assert_eq!(
            (e.formatting, e.columns.prompt.as_deref(), e.columns.messages.as_deref()),
            (Formatting::Alpaca, Some("instruction"), Some("conversations"))
        );
        assert_eq!((e.tags.role.as_str(), e.tags.system.as_deref()), ("from", Some("system")));
    }

    #[test]
    fn what_present_columns_and_tags_do_not_name_does_not_exist() {
        let e = parse(json!({"file_name": "a.json", "formatting": "sharegpt", "columns": {"messages": "m"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}))
        .unwrap();
        assert_eq!((e.columns.messages.as_deref(), e.columns.prompt, e.columns.images), (Some("m"), None, None));
        assert_eq!((e.tags.system, e.tags.function), (None, None));
    }

    #[test]
    fn sources_that_are_not_local_are_refused_with_what_to_do() {
        for key in ["om_hub_url", "script_url", "cloud_file_name"] {
            let message = refusal(json!({key: "a/b", "file_name": "a.json"}));
            assert!(message.contains(key) && message.contains("download"), "{message}");
        }
        assert!(refusal(json!({"file_name": "a", "ranking": true})).contains("preference"));
        assert!(refusal(json!({"file_name": "a", "columns": {"chosen": "c"}})).contains("preference"));
        assert!(refusal(json!({"file_name": "a", "split": "test"})).contains("train"));
    }

    #[test]
    fn entries_of_a_hub_name_a_part_of_a_repository() {
        let source = |value: Value| match parse(value).unwrap().source {
            EntrySource::Hub(wanted) => wanted.command(),
            EntrySource::File(name) => name,
        };
        let both =
            json!({"hf_hub_url": "a/b", "ms_hub_url": "c/d", "subset": "s", "folder": "f", "file_name": "x.json"});
        assert_eq!(source(both), "lightbox download dataset a/b --subset s --folder f");
        let scope = json!({"ms_hub_url": "c/d", "om_hub_url": "e/f", "split": "dev", "revision": "v2"});
        let command = "lightbox download dataset c/d --source modelscope --revision v2 --split dev";
        assert_eq!(source(scope), command);
        assert!(refusal(json!({"hf_hub_url": "../x"})).contains("hf_hub_url"));
        let part = json!({"hf_hub_url": "a/b", "split": "dev[:10%]"});
        assert_eq!(source(part.clone()), "lightbox download dataset a/b --split dev");
        assert_eq!(parse(part).unwrap().slice.unwrap().of(70), 0..7);
        assert!(refusal(json!({"hf_hub_url": "a/b", "split": "a+b"})).contains("an entry for each"));
    }

    #[test]
    fn wrong_types_name_the_key_and_the_file() {
        for (value, key) in [
            (json!({"file_name": 3}), "file_name"),
            (json!({"formatting": "chatml", "file_name": "a"}), "formatting"),
            (json!({"columns": [], "file_name": "a"}), "columns"),
            (json!({"columns": {"images": 1}, "file_name": "a"}), "images"),
            (json!({"tags": {"role_tag": "role"}, "file_name": "a"}), "content_tag"),
            (json!({"num_samples": -1, "file_name": "a"}), "num_samples"),
            (json!({"num_samples": 1u64 << 40, "file_name": "a"}), "num_samples"),
            (json!({}), "file_name"),
        ] {
            let message = refusal(value);
            assert!(message.contains(key) && message.starts_with("info.json: data set \"d\""), "{message}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones_and_broken_json_names_its_line() {
        let info = DatasetInfo::parse(Path::new("info.json"), b"\xEF\xBB\xBF{\"a\": {}, \"b\": {}}").unwrap();
        assert!(info.entry("c").unwrap_err().to_string().contains("a, b"));
        assert!(
            DatasetInfo::parse(Path::new("info.json"), b"{\n\"a\": }")
                .unwrap_err()
                .to_string()
                .starts_with("info.json:2:")
        );
    }

    #[test]
    fn captions_are_described_by_a_key_of_our_own() {
        let e = parse(json!({"file_name": "a", "captions": {}})).unwrap();
        assert_eq!((e.captions, e.notes.len()), (Some(CaptionChoice::default()), 0));
        let e = parse(json!({"file_name": "a", "formatting": "sharegpt", "captions": {"image": "i", "id": "n",
            "columns": ["en", "zh"], "both": true, "questions": "match", "seed": 7}}))
        .unwrap();
        let captions = e.captions.unwrap();
        assert_eq!((captions.image.as_deref(), captions.id.as_deref(), captions.seed), (Some("i"), Some("n"), 7));
        assert!(captions.both && captions.captions == ["en", "zh"] && captions.questions.goes_by_caption());
        assert!(e.notes[0].contains("formatting"));
        for (value, part) in [
            (json!(true), "object"),
            (json!({"columns": "caption"}), "`columns` must be a list"),
            (json!({"image": 3}), "`image`"),
            (json!({"both": 1}), "`both`"),
            (json!({"seed": -1}), "`seed`"),
            (json!({"questions": []}), "no questions"),
            (json!({"questions": "nowhere.yaml"}), "nowhere.yaml"),
            (json!({"column": ["a"]}), "`column` is no key"),
        ] {
            let message = refusal(json!({"file_name": "a", "captions": value}));
            assert!(message.contains("`captions`") && message.contains(part), "{message}");
        }
    }

    #[test]
    fn keys_without_effect_are_said() {
        let e = parse(json!({"file_name": "a", "subset": "x", "colums": {}})).unwrap();
        assert_eq!(e.notes.len(), 2);
        assert!(e.notes[1].contains("colums"));
    }
}
