//! The fine-tuning data of the demo: head phantoms in the layout of MedTrinity-25M's `25M_demo`, so that conversion
//! to training conversations works on it as on the real set, and text-only chat beside it.

use super::phantom::{self, Lesion};
use super::rng::Rng;
use super::words::Lang;
use super::{chat, parallel, report, sharegpt_entry, sharegpt_row};
use anyhow::{Context, Result};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::path::Path;
use std::sync::Arc;

/// Rows of a row group, as `datasets` wrote picture data when MedTrinity was published.
const ROW_GROUP: usize = 100;

/// A set of phantoms: its name seeds the pictures and is part of the ids.
#[derive(Debug, Clone, Copy)]
pub struct PhantomSet<'a> {
    pub name: &'a str,
    pub rows: usize,
    /// Parquet files.
    pub shards: usize,
    /// The caption of row i is in language `i % len`; the id ends in its code.
    pub languages: &'a [Lang],
    pub seed: u64,
}

/// One phantom without its picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `<set>-<index>-<language>`, for example `train-000012-en`.
    pub id: String,
    pub caption: String,
    pub truth: Option<Lesion>,
}

impl Row {
    pub fn at(seed: u64, set: &str, index: usize, languages: &[Lang]) -> Self {
        let lang = languages[index % languages.len()];
        let truth = phantom::truth(seed, set, index as u64);
        let mut rng = Rng::new(seed, &format!("phantom caption {set}"), index as u64);
        Self { id: format!("{set}-{index:06}-{}", lang.code()), caption: report::caption(truth, lang, &mut rng), truth }
    }
}

impl PhantomSet<'_> {
    pub fn row(&self, index: usize) -> Row {
        Row::at(self.seed, self.name, index, self.languages)
    }

    /// Writes `dir/train-0000i-of-0000n.parquet`, each whole or not at all. `progress(done, total)` counts rows.
    pub fn write_parquet(&self, dir: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let per_shard = self.rows.div_ceil(self.shards.max(1));
        for shard in 0..self.shards {
            let path = dir.join(format!("train-{shard:05}-of-{:05}.parquet", self.shards));
            let rows = (shard * per_shard).min(self.rows)..((shard + 1) * per_shard).min(self.rows);
            self.write_shard(&path, rows, progress).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn write_shard(
        &self,
        path: &Path,
        rows: std::ops::Range<usize>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let schema = Arc::new(schema());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_key_value_metadata(Some(vec![parquet::file::metadata::KeyValue::new(
                "huggingface".to_owned(),
                HUGGINGFACE.to_owned(),
            )]))
            .build();
        let dir = path.parent().context("a parquet file needs a folder")?;
        let file = tempfile::NamedTempFile::new_in(dir)?;
        let mut writer = ArrowWriter::try_new(file.as_file(), schema.clone(), Some(properties))?;
        for start in rows.clone().step_by(ROW_GROUP) {
            let group = start..rows.end.min(start + ROW_GROUP);
            writer.write(&self.batch(&schema, group.clone())?)?;
            progress(group.end, self.rows);
        }
        writer.close()?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    fn batch(&self, schema: &Arc<Schema>, rows: std::ops::Range<usize>) -> Result<RecordBatch> {
        let pngs = parallel(rows.clone(), |i| phantom::draw(self.seed, self.name, i as u64).png())
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<Row> = rows.map(|i| self.row(i)).collect();
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(pngs));
        let paths: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| format!("{}.png", r.id))));
        let images = StructArray::new(image_fields(), vec![bytes, paths], None);
        let ids = StringArray::from_iter_values(rows.iter().map(|r| &r.id));
        let captions = StringArray::from_iter_values(rows.iter().map(|r| &r.caption));
        Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(images), Arc::new(ids), Arc::new(captions)])?)
    }
}

/// What `datasets` puts beside the Arrow schema so that it reads `image` as pictures.
const HUGGINGFACE: &str = r#"{"info": {"features": {"image": {"_type": "Image"}, "id": {"dtype": "string", "_type": "Value"}, "caption": {"dtype": "string", "_type": "Value"}}}}"#;

fn image_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)])
}

fn schema() -> Schema {
    let fields = vec![
        Field::new("image", DataType::Struct(image_fields()), true),
        Field::new("id", DataType::Utf8, true),
        Field::new("caption", DataType::Utf8, true),
    ];
    Schema::new_with_metadata(fields, [("huggingface".to_owned(), HUGGINGFACE.to_owned())])
}

/// Writes `rows` text-only conversations as `dir/NAME.json` (sharegpt) and names it in `dir`/dataset_info.json, where
/// other entries stay as they are.
pub fn write_chat(dir: &Path, name: &str, rows: usize, seed: u64) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let conversation =
        |i: usize| chat::conversation(Lang::ALL[i % Lang::ALL.len()], &mut Rng::new(seed, "chat", i as u64));
    let rows: Vec<serde_json::Value> = (0..rows)
        .map(|i| serde_json::json!({ "messages": sharegpt_row(&conversation(i), None)["messages"] }))
        .collect();
    let file_name = format!("{name}.json");
    write_json(&dir.join(&file_name), &rows)?;
    register(dir, name, sharegpt_entry(&file_name, &[]))
}

/// Adds or replaces one entry of `dir`/dataset_info.json.
pub(super) fn register(dir: &Path, name: &str, entry: serde_json::Value) -> Result<()> {
    let path = dir.join("dataset_info.json");
    let mut info: serde_json::Map<String, serde_json::Value> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not a JSON object; it was left as it is", path.display()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => serde_json::Map::new(),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    info.insert(name.to_owned(), entry);
    write_json(&path, &info)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    crate::fs::write_atomic(path, &text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn set(rows: usize, shards: usize) -> PhantomSet<'static> {
        PhantomSet { name: "train", rows, shards, languages: Lang::ALL, seed: 42 }
    }

    /// id, caption, PNG, path
    type Cells = (String, String, Vec<u8>, String);

    /// Every row of a shard, and its row group sizes.
    fn read(path: &Path) -> (Vec<Cells>, Vec<i64>) {
        let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        let groups = builder.metadata().row_groups().iter().map(|g| g.num_rows()).collect();
        let mut rows = Vec::new();
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
            let image = batch.column_by_name("image").unwrap().as_struct();
            let (bytes, paths) = (image.column(0).as_binary::<i32>(), image.column(1).as_string::<i32>());
            for i in 0..batch.num_rows() {
                assert!(image.is_valid(i));
                rows.push((
                    text("id").value(i).to_owned(),
                    text("caption").value(i).to_owned(),
                    bytes.value(i).to_vec(),
                    paths.value(i).to_owned(),
                ));
            }
        }
        (rows, groups)
    }

    #[test]
    fn shards_hold_all_rows_in_order_in_small_row_groups() {
        let dir = tempfile::tempdir().unwrap();
        let set = set(250, 2);
        let mut seen = Vec::new();
        set.write_parquet(dir.path(), &mut |done, total| seen.push((done, total))).unwrap();
        assert_eq!(seen, [(100, 250), (125, 250), (225, 250), (250, 250)]);
        let (mut rows, groups) = read(&dir.path().join("train-00000-of-00002.parquet"));
        assert_eq!(groups, [100, 25]);
        rows.extend(read(&dir.path().join("train-00001-of-00002.parquet")).0);
        assert_eq!(rows.len(), 250);
        for (i, (id, caption, png, path)) in rows.iter().enumerate() {
            assert_eq!(
                (id.as_str(), caption),
                (format!("train-{i:06}-{}", ["en", "zh"][i % 2]).as_str(), &set.row(i).caption)
            );
            assert_eq!(path, &format!("{id}.png"));
            assert_eq!(caption.is_ascii(), i % 2 == 0, "{caption}");
            if i % 50 == 0 {
                assert_eq!(
                    image::load_from_memory(png).unwrap().as_bytes(),
                    phantom::draw(42, "train", i as u64).pixels
                );
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn parquet_says_to_datasets_that_the_column_holds_pictures() {
        let dir = tempfile::tempdir().unwrap();
        set(3, 1).write_parquet(dir.path(), &mut |_, _| ()).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(
            std::fs::File::open(dir.path().join("train-00000-of-00001.parquet")).unwrap(),
        )
        .unwrap();
        let info: serde_json::Value = serde_json::from_str(&builder.schema().metadata()["huggingface"]).unwrap();
        assert_eq!(info["info"]["features"]["image"]["_type"], "Image");
        let plain = builder.metadata().file_metadata().key_value_metadata().unwrap();
        assert_eq!(plain.iter().filter(|kv| kv.key == "huggingface").count(), 1, "{plain:?}");
    }

    #[test]
    fn chat_rows_are_text_only_and_other_data_sets_keep_their_entries() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dataset_info.json"), r#"{"mine": {"file_name": "mine.json"}}"#).unwrap();
        write_chat(dir.path(), "chat", 30, 42).unwrap();
        let rows: Vec<serde_json::Value> =
            serde_json::from_slice(&std::fs::read(dir.path().join("chat.json")).unwrap()).unwrap();
        assert_eq!(rows.len(), 30);
        assert!(rows.iter().all(|r| r.get("images").is_none() && !r.to_string().contains("<image>")));
        let info: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("dataset_info.json")).unwrap()).unwrap();
        assert_eq!(info["mine"]["file_name"], "mine.json");
        assert_eq!(info["chat"]["columns"], serde_json::json!({ "messages": "messages" }));
    }

    #[test]
    fn a_broken_dataset_info_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dataset_info.json"), "{broken").unwrap();
        let error = format!("{:#}", write_chat(dir.path(), "chat", 3, 42).unwrap_err());
        assert!(error.contains("dataset_info.json") && error.contains("left as it is"), "{error}");
        assert_eq!(std::fs::read_to_string(dir.path().join("dataset_info.json")).unwrap(), "{broken");
    }
}
