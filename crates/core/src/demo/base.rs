//! Data that the base model in assets/demo-model is trained on, in three stages over one folder of pictures
//! (profiles demo-base-1-vision, -2-language and -3-mixed; script scripts/train-demo-model.sh):
//!
//! 1. `demo_vision`: every picture token names what lies there (own stage `vision`, column `image_labels`). Labels on
//!    *all* tokens are what makes it work: with labels only at the token that holds the shape, the language model was
//!    still guessing after 400 steps.
//! 2. `demo_language`: conversations about pictures with at most one shape.
//! 3. `demo_mixed`: pictures with up to two shapes; every fifth row is text only (chat, and report writing, from which
//!    the model learns the wording of reports without ever seeing a phantom).

use super::rng::Rng;
use super::shapes::{Object, Scene};
use super::words::Lang;
use super::{Turn, captions, chat, dataset, parallel, report, sharegpt_entry, sharegpt_row, turn};
use anyhow::{Context, Result};
use std::io::Write;
use std::path::Path;

/// Pictures of the shipped model's recipe.
pub const PICTURES: usize = 26_400;

/// Picture tokens along one side of a demo picture.
const TOKENS: usize = super::draw::SIDE / 28;

/// Rows of `demo_mixed`: one text-only row after this many with a picture.
const PICTURES_PER_TEXT: usize = 4;

/// Writes pictures, three JSONL files and dataset_info.json into `dir`. `progress(done, total)` counts pictures.
///
/// An interrupted run is repeated from the start; the result depends on `seed` and `pictures` alone.
pub fn write(dir: &Path, seed: u64, pictures: usize, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let image_dir = dir.join("images");
    std::fs::create_dir_all(&image_dir).with_context(|| format!("cannot make the folder {}", image_dir.display()))?;
    let mut files = Files::create(dir)?;
    // Blocks keep all cores busy and the pictures in memory few.
    for start in (0..pictures).step_by(256) {
        let block = start..pictures.min(start + 256);
        let drawn = parallel(block.clone(), |i| {
            let scene = Scene::at(seed, SET, i as u64);
            scene.draw(seed, SET, i as u64).png().map(|png| (scene, png))
        });
        for (i, drawn) in block.clone().zip(drawn) {
            let (scene, png) = drawn?;
            let name = format!("images/{i:06}.png");
            std::fs::write(dir.join(&name), png)
                .with_context(|| format!("cannot write {}", dir.join(&name).display()))?;
            files.write_rows(seed, i, &scene.objects, &name)?;
        }
        progress(block.end, pictures);
    }
    files.finish()?;
    dataset::register(dir, "demo_vision", sharegpt_entry("demo_vision.jsonl", &["images"]))?;
    dataset::register(dir, "demo_language", sharegpt_entry("demo_language.jsonl", &["images"]))?;
    dataset::register(dir, "demo_mixed", sharegpt_entry("demo_mixed.jsonl", &["images"]))
}

/// Name of the random streams of the base data.
const SET: &str = "base";

/// The three JSONL files, under temporary names until all is written.
struct Files {
    files: [(std::io::BufWriter<tempfile::NamedTempFile>, std::path::PathBuf); 3],
}

impl Files {
    fn create(dir: &Path) -> Result<Self> {
        let create = |name: &str| -> Result<_> {
            let file =
                tempfile::NamedTempFile::new_in(dir).with_context(|| format!("cannot write into {}", dir.display()))?;
            Ok((std::io::BufWriter::new(file), dir.join(name)))
        };
        Ok(Self { files: [create("demo_vision.jsonl")?, create("demo_language.jsonl")?, create("demo_mixed.jsonl")?] })
    }

    /// All rows that picture `i` gives.
    fn write_rows(&mut self, seed: u64, i: usize, objects: &[Object], image: &str) -> Result<()> {
        self.write(
            0,
            &serde_json::json!({ "messages": [], "images": [image], "image_labels": image_labels(objects) }),
        )?;
        if objects.len() < 2 {
            let turns = conversation(objects, &mut Rng::new(seed, "base language", i as u64));
            self.write(1, &sharegpt_row(&turns, Some(image)))?;
        }
        let turns = conversation(objects, &mut Rng::new(seed, "base mixed", i as u64));
        self.write(2, &sharegpt_row(&turns, Some(image)))?;
        if i % PICTURES_PER_TEXT == PICTURES_PER_TEXT - 1 {
            let rng = &mut Rng::new(seed, "base text", i as u64);
            let lang = *rng.pick(Lang::ALL);
            let turns =
                if rng.chance(0.4) { chat::conversation(lang, rng) } else { report::report_conversation(lang, rng) };
            self.write(2, &sharegpt_row(&turns, None))?;
        }
        Ok(())
    }

    fn write(&mut self, file: usize, row: &serde_json::Value) -> Result<()> {
        let (file, path) = &mut self.files[file];
        writeln!(file, "{row}").with_context(|| format!("cannot write {}", path.display()))
    }

    fn finish(self) -> Result<()> {
        for (file, path) in self.files {
            let written = || -> std::io::Result<()> {
                let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|e| e.error)?;
                Ok(())
            };
            written().with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Mostly a caption and two or three questions, in one language.
fn conversation(objects: &[Object], rng: &mut Rng) -> Vec<Turn> {
    let lang = *rng.pick(Lang::ALL);
    let mut turns = captions::questions(objects, lang, rng);
    rng.shuffle(&mut turns);
    turns.truncate(2 + rng.below(2));
    if rng.chance(0.6) {
        turns.insert(0, turn(*rng.pick(captions::caption_prompts(lang)), captions::caption(objects, lang)));
    }
    turns
}

/// For each of the 16 picture tokens, row by row, one word for each attribute: colour, form, size, row and column of
/// the nearest shape (" no" five times when there is none), then the token's own row and column, named as on a
/// chess board.
///
/// Every word is one token of the demo's tokenizer, which for the names includes the space before them. The last two
/// have words of their own, for words shared by two attributes would be asked to mean both.
pub fn image_labels(objects: &[Object]) -> Vec<[String; 7]> {
    let centre = |i: usize| (i as f64 + 0.5) / TOKENS as f64 * 2.0 - 1.0;
    let label = |row: usize, column: usize| {
        let distance = |o: &&Object| (o.x - centre(column)).powi(2) + (o.y - centre(row)).powi(2);
        let nearest = objects.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let [color, shape, size, level, side] = match nearest {
            Some(o) => [o.color.en(), o.shape.en(), o.size.en(), o.row.en(), o.column.en()],
            None => ["no"; 5],
        }
        .map(|word| format!(" {word}"));
        [color, shape, size, level, side, ["1", "2", "3", "4"][row].to_owned(), ["A", "B", "C", "D"][column].to_owned()]
    };
    (0..TOKENS * TOKENS).map(|i| label(i / TOKENS, i % TOKENS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::words::{Color, Column, Level, Shape, Size};

    fn object(color: Color, x: f64, y: f64) -> Object {
        Object { color, shape: Shape::Bar, size: Size::Small, row: Level::Upper, column: Column::Left, x, y }
    }

    #[test]
    fn every_picture_token_names_the_nearest_shape_and_its_own_place() {
        let labels = image_labels(&[object(Color::Red, -0.5, -0.5), object(Color::Blue, 0.5, 0.5)]);
        assert_eq!(labels.len(), 16);
        assert_eq!(labels[0], [" red", " bar", " small", " upper", " left", "1", "A"].map(String::from));
        assert_eq!(labels[7][5..], ["2", "D"].map(String::from));
        assert_eq!(labels[15], [" blue", " bar", " small", " upper", " left", "4", "D"].map(String::from));
    }

    #[test]
    fn an_empty_picture_says_no() {
        assert_eq!(image_labels(&[])[5], [" no", " no", " no", " no", " no", "2", "B"].map(String::from));
    }

    #[test]
    fn every_label_is_one_token_of_the_demo_tokenizer() {
        let tokenizer = tokenizers::Tokenizer::from_file(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../assets/demo-model/tokenizer.json"
        ))
        .unwrap();
        let names = [
            Color::ALL.iter().map(|w| w.en()).collect::<Vec<_>>(),
            Shape::ALL.iter().map(|w| w.en()).collect(),
            Size::ALL.iter().map(|w| w.en()).collect(),
            Level::ALL.iter().map(|w| w.en()).collect(),
            Column::ALL.iter().map(|w| w.en()).collect(),
            vec!["no"],
        ];
        let words = names.concat().into_iter().map(|w| format!(" {w}")).chain("1234ABCD".chars().map(String::from));
        for word in words {
            assert_eq!(tokenizer.encode(word.as_str(), false).unwrap().len(), 1, "{word:?}");
        }
    }

    #[test]
    fn base_data_has_the_three_sets_with_the_promised_shares() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = (0, 0);
        write(dir.path(), 7, 300, &mut |done, total| last = (done, total)).unwrap();
        assert_eq!(last, (300, 300));
        let rows = |name: &str| -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let vision = rows("demo_vision.jsonl");
        assert_eq!(vision.len(), 300);
        assert_eq!(vision[299]["images"][0], "images/000299.png");
        assert!(
            vision
                .iter()
                .all(|r| r["messages"].as_array().unwrap().is_empty()
                    && r["image_labels"].as_array().unwrap().len() == 16)
        );

        let language = rows("demo_language.jsonl");
        assert!((150..250).contains(&language.len()), "{}", language.len());
        assert!(language.iter().all(|r| r["messages"][0]["content"].as_str().unwrap().starts_with("<image>")));
        assert!(language.iter().all(|r| !r.to_string().contains("two shapes")));

        let mixed = rows("demo_mixed.jsonl");
        let text_only = mixed.iter().filter(|r| r["images"].as_array().unwrap().is_empty()).count();
        assert_eq!((mixed.len(), text_only), (375, 75));
        for row in &mixed {
            let marks = row.to_string().matches("<image>").count();
            assert_eq!(marks, row["images"].as_array().unwrap().len(), "{row}");
        }

        let info: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("dataset_info.json")).unwrap()).unwrap();
        for name in ["demo_vision", "demo_language", "demo_mixed"] {
            assert!(dir.path().join(info[name]["file_name"].as_str().unwrap()).is_file());
            assert_eq!(info[name]["columns"], serde_json::json!({ "messages": "messages", "images": "images" }));
        }
        assert!(dir.path().join("images/000000.png").is_file());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5, "no temporary file is left");
    }

    #[test]
    fn conversations_never_repeat_a_question() {
        for index in 0..200 {
            let turns = conversation(&Scene::at(7, SET, index).objects, &mut Rng::new(7, "test", index));
            let mut questions: Vec<&String> = turns.iter().map(|t| &t.question).collect();
            assert!((2..=4).contains(&questions.len()));
            questions.sort();
            questions.dedup();
            assert_eq!(questions.len(), turns.len());
        }
    }
}
