//! What an estimate is made from, read once from disk: the model's sizes, a sample of the data, this machine, earlier
//! runs. A form keeps the facts and asks [`super::Estimate::of`] at each key press; [`Facts::fits`] says when a change
//! (another model, other data) makes them stale.
use super::model::{self, ModelShape};
use super::pace::{self, Pace};
use crate::data::{Dataset, DatasetOptions, Encoder, ImageRef, Problem};
use crate::profile::Profile;
use crate::runs::record::Gpu;
use crate::runs::system::{self, Monitor};
use crate::text::{EncodeOptions, IGNORE_INDEX, Tokenizer, image_tokens};
use crate::vision::{ImageProcessor, PixelBudget, Size};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub model: Option<ModelFacts>,
    pub data: Option<DataFacts>,
    pub machine: Machine,
    pub paces: Vec<Pace>,
    /// Why model or data are not known, in words.
    pub missing: Vec<String>,
    /// The keys that were read from ([`Facts::fits`]).
    pub(super) read_from: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct ModelFacts {
    /// The folder, with links resolved.
    pub folder: PathBuf,
    pub shape: ModelShape,
    /// Bytes of numbers in its safetensors files; `None`: there are none.
    pub file_bytes: Option<u64>,
    /// Numbers of the saved adapter that training goes on with.
    pub saved_adapter: Option<u64>,
    pub processor: ImageProcessor,
}

#[derive(Debug, Clone, Default)]
pub struct DataFacts {
    /// Samples of the data sets to train on, `max_samples` counted in.
    pub samples: usize,
    /// Samples of `eval_dataset`.
    pub eval_samples: usize,
    /// Some of them, spread over the set.
    pub looked_at: Vec<SampleFacts>,
    /// Of those that were looked at, how many cannot be used, and the first of them.
    pub bad: usize,
    pub first_bad: Option<String>,
}

/// One sample, before any picture is resized and any text is cut.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleFacts {
    /// Tokens of the first question without its pictures, of the first answer, and of all further turns.
    pub question: u32,
    pub answer: u32,
    pub later: u32,
    /// Of the question, up to the end of its last picture.
    pub before_picture_ends: u32,
    pub pictures: Vec<Size>,
}

/// What this machine has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    pub memory_total: Option<u64>,
    pub memory_free: Option<u64>,
    pub disk_free: Option<u64>,
    pub gpus: Vec<Gpu>,
}

/// Samples that are looked at, at most.
const SAMPLES: usize = 200;
/// A slow disk gives fewer samples, not a longer wait.
const PATIENCE: Duration = Duration::from_secs(5);

impl Facts {
    /// Reads all that can be read. Takes seconds at most; for a thread of its own where a screen waits.
    ///
    /// # Errors
    /// Neither the model nor the data could be read. One that is missing alone is in `missing`.
    pub fn read(p: &Profile) -> Result<Self> {
        let mut facts = Self { machine: Machine::look(&p.output_dir), read_from: keys(p), ..Self::default() };
        match ModelFacts::read(p) {
            Ok(model) => facts.model = Some(model),
            Err(e) => facts.missing.push(format!("model: {e:#}")),
        }
        match DataFacts::read(p, facts.model.as_ref()) {
            Ok(data) => facts.data = Some(data),
            Err(e) => facts.missing.push(format!("data: {e:#}")),
        }
        if facts.model.is_none() && facts.data.is_none() {
            bail!("nothing to estimate from: {}", facts.missing.join("; "));
        }
        facts.paces = pace::earlier();
        Ok(facts)
    }

    /// The facts still hold for this profile: it names the same model, data and folder.
    pub fn fits(&self, p: &Profile) -> bool {
        self.read_from == keys(p)
    }
}

/// What [`Facts::read`] reads by.
fn keys(p: &Profile) -> Vec<String> {
    vec![
        format!("{:?} {:?} {}", p.model_name_or_path, p.adapter_name_or_path, p.create_new_adapter),
        format!("{} {:?}", p.model_revision, p.cache_dir),
        format!("{:?} {:?} {:?} {:?}", p.dataset_dir, p.media_dir, p.dataset, p.eval_dataset),
        format!("{:?} {:?} {}", p.max_samples, p.default_system, p.seed),
        p.output_dir.display().to_string(),
    ]
}

impl Machine {
    /// `folder`: where the run will write; it may not be there yet.
    pub fn look(folder: &Path) -> Self {
        let there = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let seen = Monitor::new(system::nearest(&there)).look();
        Self {
            memory_total: seen.memory_total_bytes,
            memory_free: seen
                .memory_total_bytes
                .zip(seen.memory_used_bytes)
                .map(|(all, used)| all.saturating_sub(used)),
            disk_free: seen.disk_free_bytes,
            gpus: seen.gpus,
        }
    }
}

impl ModelFacts {
    fn read(p: &Profile) -> Result<Self> {
        let name = p.model_name_or_path.as_deref().filter(|name| !name.is_empty());
        name.context("the profile names no model (model_name_or_path)")?;
        let folder = p.model_folder()?;
        let shape = ModelShape::read(&folder)?;
        let adapters = p.adapter_folders()?;
        let saved = adapters.last().filter(|_| !p.create_new_adapter);
        let saved_adapter = saved.map(|adapter| {
            let file = adapter.join("adapter_model.safetensors");
            // PEFT and the engine save adapters in fp32.
            model::tensor_bytes(&file)
                .map(|bytes| bytes / 4)
                .with_context(|| format!("{}: cannot be read", file.display()))
        });
        Ok(Self {
            file_bytes: model::weight_bytes(&folder),
            shape,
            saved_adapter: saved_adapter.transpose()?,
            processor: ImageProcessor::from_dir(&folder)?,
            folder: std::fs::canonicalize(&folder).unwrap_or(folder),
        })
    }
}

impl DataFacts {
    fn read(p: &Profile, model: Option<&ModelFacts>) -> Result<Self> {
        let open = |names: &[String]| Dataset::open(&DatasetOptions::of(p, names));
        let dataset = open(&p.dataset)?;
        let eval_samples = if p.eval_dataset.is_empty() { 0 } else { open(&p.eval_dataset)?.len() };
        let mut facts = Self { samples: dataset.len(), eval_samples, ..Self::default() };
        // Without a model there is no tokenizer, and lengths stay unknown.
        let Some(model) = model else { return Ok(facts) };
        let tokenizer = Tokenizer::from_dir(&model.folder)?;
        // Nothing is cut, and labels show where a question ends.
        let options = EncodeOptions {
            cutoff_len: usize::MAX >> 1,
            train_on_prompt: false,
            mask_history: false,
            default_system: p.default_system.clone(),
        };
        let budget = PixelBudget { min: p.image_min_pixels, max: p.image_max_pixels };
        let encoder = Encoder { tokenizer: &tokenizer, processor: &model.processor, budget, options: &options };
        let begun = Instant::now();
        for index in spread(dataset.len(), SAMPLES) {
            match dataset.get(index).and_then(|sample| SampleFacts::of(index, sample, &encoder)) {
                Ok(sample) => facts.looked_at.push(sample),
                Err(problem) => {
                    facts.bad += 1;
                    facts.first_bad.get_or_insert_with(|| problem.to_string());
                }
            }
            if begun.elapsed() > PATIENCE {
                break;
            }
        }
        Ok(facts)
    }
}

/// `count` of `0..n` (all, if there are no more), evenly spread, in an order whose beginning is spread as well.
fn spread(n: usize, count: usize) -> Vec<usize> {
    let count = count.min(n);
    let bits = count.next_power_of_two().trailing_zeros();
    let reversed =
        (0..count.next_power_of_two()).map(|i| if bits == 0 { 0 } else { i.reverse_bits() >> (usize::BITS - bits) });
    reversed.filter(|i| *i < count).map(|i| (i as u128 * n as u128 / count as u128) as usize).collect()
}

impl SampleFacts {
    fn of(index: usize, sample: crate::data::Sample, encoder: &Encoder<'_>) -> Result<Self, Problem> {
        let prepared = encoder.encode(index, sample)?;
        let size = |image: &ImageRef| {
            let bytes = image.load().ok()?;
            crate::vision::inspect(&bytes).ok().map(|info| Size { width: info.width, height: info.height })
        };
        // The encoder has just read the same headers.
        let pictures: Vec<Size> = prepared.images.iter().filter_map(size).collect();
        Ok(Self { pictures, ..Self::measure(&prepared.encoded, encoder.tokenizer.image_pad) })
    }

    /// Lengths, pictures left out.
    fn measure(encoded: &crate::text::Encoded, image_pad: i64) -> Self {
        let (ids, labels) = (&encoded.input_ids, &encoded.labels);
        let text = |range: std::ops::Range<usize>| ids[range].iter().filter(|id| **id != image_pad).count() as u32;
        let learned = |label: &i64| *label != IGNORE_INDEX;
        let question = labels.iter().position(learned).unwrap_or(labels.len());
        let answer = labels[question..].iter().position(|l| !learned(l)).map_or(labels.len(), |n| question + n);
        let last = ids[..question].iter().rposition(|id| *id == image_pad);
        Self {
            question: text(0..question),
            answer: text(question..answer),
            later: text(answer..ids.len()),
            // With the mark that closes the picture.
            before_picture_ends: last.map_or(0, |last| text(0..(last + 2).min(question))),
            pictures: Vec::new(),
        }
    }

    /// Patches and tokens of its pictures under a budget.
    pub fn pictures(&self, processor: &ImageProcessor, budget: PixelBudget) -> (u64, u64) {
        let grids = self.pictures.iter().filter_map(|size| processor.grid_of(*size, Some(budget)).ok());
        grids.fold((0, 0), |(patches, tokens), grid| {
            (patches + grid.iter().product::<i64>() as u64, tokens + image_tokens(&grid).unwrap_or(0) as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looked_at_samples_are_spread_from_the_first_few_on() {
        assert_eq!(spread(0, 200), [0; 0]);
        assert_eq!(spread(1, 200), [0]);
        let all = spread(25_000_000, 200);
        assert_eq!((all.len(), all.iter().max()), (200, Some(&24_875_000)));
        let mut some = all[..8].to_vec();
        some.sort_unstable();
        assert!(some.windows(2).all(|w| w[1] - w[0] > 1_000_000), "{some:?}");
        let mut three = spread(3, 200);
        three.sort_unstable();
        assert_eq!(three, [0, 1, 2]);
    }

    #[test]
    fn a_samples_parts_are_measured_without_its_pictures() {
        let pad = 9;
        let encoded = crate::text::Encoded {
            input_ids: vec![1, 2, pad, pad, pad, pad, 3, 4, 5, 6, 7, 8],
            labels: vec![-100, -100, -100, -100, -100, -100, -100, -100, 5, 6, -100, 8],
            grids: vec![[1, 4, 4]],
            truncated: 0,
        };
        let facts = SampleFacts::measure(&encoded, pad);
        assert_eq!((facts.question, facts.answer, facts.later, facts.before_picture_ends), (4, 2, 2, 3));
    }
}
