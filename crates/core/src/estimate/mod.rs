//! Memory, steps, tokens, disk and time of a training before it starts, without libtorch.
//!
//! [`Facts::read`] does all the reading (once, off the screen's thread); [`Estimate::of`] is arithmetic on a profile and
//! those facts, instant enough for every key press in a form. What a figure rests on is said beside it ([`Basis`]): steps
//! are counted, tokens are those of a sample of the data, memory is computed from the model's sizes ([`memory`]), and time
//! is never guessed: it comes from earlier runs on this machine, or is not known.
//!
//! Not here: whether the profile is sound (that is [`Profile::load`]), and words for people (the callers have them).
//! Read next: [`facts`], then [`memory`].

pub mod facts;
pub mod memory;
pub mod model;
pub mod pace;
#[cfg(test)]
mod tests;

pub use facts::{DataFacts, Facts, ModelFacts, SampleFacts};
pub use memory::Memory;
pub use pace::Pace;

use crate::profile::{Device, FinetuningType, IntervalStrategy, Profile};
use crate::runs::steps::{StepPlan, interval};
use crate::text::infer_seqlen;
use crate::vision::PixelBudget;
use memory::{Batch, Host};
use serde::Serialize;

/// What a figure rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Follows from profile and data alone.
    Counted,
    /// The mean of samples of the data that were looked at.
    Sampled,
    /// Arithmetic on the model's sizes; see `uncertainty`.
    Computed,
    /// What earlier runs on this machine took.
    Measured,
}

/// Room that is wanted against room that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Fits,
    /// Within the estimate's uncertainty of what is there.
    Tight,
    TooLarge,
    /// What is there is not known.
    Unknown,
}

/// All figures; a part that cannot be known is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub device: Place,
    pub memory: Option<MemoryNeed>,
    pub steps: Option<Steps>,
    pub tokens: Option<Tokens>,
    pub disk: Option<Disk>,
    /// `None`: not known before the first run.
    pub time: Option<Time>,
    /// Numbers of the base model, and those that are trained.
    pub model_numbers: Option<u64>,
    pub trained_numbers: Option<u64>,
}

/// Where the run would compute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `cpu`, `cuda:0`, …
    pub name: String,
    /// The GPU's.
    pub model: Option<String>,
    /// The profile asks for a GPU that is not there.
    pub missing: bool,
    pub free_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MemoryNeed {
    pub basis: Basis,
    /// How much less and how much more than `parts.total` it may be, as shares of it.
    pub uncertainty: (f64, f64),
    /// With the longest micro-batch among the samples that were looked at.
    pub parts: Memory,
    /// `parts.total` if every sample of a micro-batch had `cutoff_len` tokens: it is never more.
    pub at_cutoff_bytes: u64,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Steps {
    pub basis: Basis,
    /// Samples to train on and to evaluate on; without those that cannot be used, as far as the sample shows.
    pub samples: usize,
    pub eval_samples: usize,
    pub samples_per_update: usize,
    pub per_epoch: u64,
    pub total: u64,
    pub warmup: u64,
    pub epochs: f64,
    /// Evaluations in the whole run, and samples that the model answers at each (`predict_with_generate`).
    pub evaluations: u64,
    pub answers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tokens {
    pub basis: Basis,
    /// Samples that were looked at.
    pub looked_at: usize,
    /// Of a sample after the cut, without padding.
    pub mean: f64,
    pub longest: u64,
    /// Of them, in pictures.
    pub mean_in_pictures: f64,
    /// Standard error of `mean` as a share of it.
    pub uncertainty: f64,
    /// With padding, as the log counts them.
    pub per_update: f64,
    pub total: f64,
    /// Samples whose text is cut at `cutoff_len`, and samples that are left out because a picture would be: shares.
    pub cut_share: f64,
    pub left_out_share: f64,
    /// Samples that cannot be used for another reason: a share.
    pub bad_share: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Disk {
    pub basis: Basis,
    pub checkpoint_bytes: u64,
    pub checkpoints_written: u64,
    /// At most at one time, the one being written counted.
    pub checkpoints_held: u64,
    /// The finished adapter or model.
    pub result_bytes: u64,
    pub logs_bytes: u64,
    pub total_bytes: u64,
    pub free_bytes: Option<u64>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Time {
    pub basis: Basis,
    /// Of the updates alone: loading, evaluations and checkpoints come on top.
    pub seconds: f64,
    /// By the fastest and by the slowest of the runs.
    pub between: (f64, f64),
    pub tokens_per_second: f64,
    pub seconds_per_update: f64,
    /// The runs that it is from.
    pub runs: Vec<String>,
    /// Keys that change the pace and that those runs had otherwise.
    pub differ: Vec<&'static str>,
}

/// How far computed memory was from the peaks of real runs, as shares down and up (docs/benchmarks/2026-11-25-estimate.md).
/// On a CPU the tensors are right within 10 %, but the C library's allocator keeps up to half as much again of what was freed.
const OFF_CPU: (f64, f64) = (0.1, 0.45);
/// Nothing has been compared on a GPU yet.
const OFF_GPU: (f64, f64) = (0.3, 0.3);
/// Tensors on disk have the size they have.
const OFF_DISK: (f64, f64) = (0.02, 0.02);

impl Estimate {
    pub fn of(p: &Profile, facts: &Facts) -> Self {
        let device = place(p, facts);
        let lengths = Lengths::of(p, facts);
        let steps = steps(p, facts, lengths.as_ref());
        let tokens = lengths.as_ref().zip(steps).map(|(lengths, steps)| lengths.tokens(p, &steps));
        let trained_numbers =
            facts.model.as_ref().map(|model| memory::trained_numbers(p, &model.shape, model.saved_adapter));
        Self {
            memory: memory_need(p, facts, &device, lengths.as_ref(), steps.as_ref()),
            disk: trained_numbers.zip(steps).map(|(trained, steps)| disk(p, facts, trained, &steps)),
            time: tokens.as_ref().zip(steps).and_then(|(tokens, steps)| time(p, facts, &device, tokens, &steps)),
            model_numbers: facts.model.as_ref().map(|model| model.shape.numbers()),
            device,
            steps,
            tokens,
            trained_numbers,
        }
    }
}

fn verdict(need: f64, free: Option<u64>, (less, more): (f64, f64)) -> Verdict {
    match free.map(|free| free as f64) {
        None => Verdict::Unknown,
        Some(free) if need * (1.0 + more) <= free => Verdict::Fits,
        Some(free) if need * (1.0 - less) <= free => Verdict::Tight,
        Some(_) => Verdict::TooLarge,
    }
}

fn place(p: &Profile, facts: &Facts) -> Place {
    let machine = &facts.machine;
    let wanted = match p.effective_device() {
        Device::Cpu => None,
        Device::Auto => (!machine.gpus.is_empty()).then_some(0),
        Device::Cuda(index) => Some(index),
    };
    let Some(index) = wanted else {
        let (free_bytes, total_bytes) = (machine.memory_free, machine.memory_total);
        return Place { name: "cpu".into(), model: None, missing: false, free_bytes, total_bytes };
    };
    let gpu = machine.gpus.get(index);
    let total_bytes = gpu.and_then(|gpu| gpu.mem_total_bytes);
    Place {
        name: format!("cuda:{index}"),
        model: gpu.map(|gpu| gpu.name.clone()),
        missing: gpu.is_none(),
        free_bytes: total_bytes.zip(gpu.and_then(|gpu| gpu.mem_used_bytes)).map(|(all, used)| all.saturating_sub(used)),
        total_bytes,
    }
}

/// The samples that were looked at as this profile would train on them, the shortest first.
struct Lengths {
    /// Tokens after the cut, sorted.
    kept: Vec<u64>,
    /// Most patches of one sample, and their mean.
    most_patches: u64,
    mean_patches: f64,
    mean_in_pictures: f64,
    cut: usize,
    left_out: usize,
    bad: usize,
}

impl Lengths {
    fn of(p: &Profile, facts: &Facts) -> Option<Self> {
        let (data, model) = (facts.data.as_ref()?, facts.model.as_ref()?);
        let budget = PixelBudget { min: p.image_min_pixels, max: p.image_max_pixels };
        let mut found = Self {
            kept: Vec::with_capacity(data.looked_at.len()),
            most_patches: 0,
            mean_patches: 0.0,
            mean_in_pictures: 0.0,
            cut: 0,
            left_out: 0,
            bad: data.bad,
        };
        let cutoff = p.cutoff_len as u64;
        for sample in &data.looked_at {
            let (patches, in_pictures) = sample.pictures(&model.processor, budget);
            let question = u64::from(sample.question) + in_pictures;
            let tokens = question + u64::from(sample.answer) + u64::from(sample.later);
            if tokens > cutoff {
                // As the encoder cuts the first turn, where the pictures are.
                let (question, _) = infer_seqlen(question as usize, sample.answer as usize, p.cutoff_len);
                if in_pictures > 0 && u64::from(sample.before_picture_ends) + in_pictures > question as u64 {
                    found.left_out += 1;
                    continue;
                }
                found.cut += 1;
            }
            found.kept.push(tokens.min(cutoff));
            found.most_patches = found.most_patches.max(patches);
            found.mean_patches += patches as f64;
            found.mean_in_pictures += in_pictures as f64;
        }
        let n = found.kept.len() as f64;
        if n == 0.0 {
            return None;
        }
        (found.mean_patches, found.mean_in_pictures) = (found.mean_patches / n, found.mean_in_pictures / n);
        found.kept.sort_unstable();
        Some(found)
    }

    fn looked_at(&self) -> usize {
        self.kept.len() + self.left_out + self.bad
    }

    fn usable_share(&self) -> f64 {
        self.kept.len() as f64 / self.looked_at() as f64
    }

    fn mean(&self) -> f64 {
        self.kept.iter().sum::<u64>() as f64 / self.kept.len() as f64
    }

    /// Expected padded length of a micro-batch of `rows`: the longest of so many, up to the next multiple of 8.
    fn padded(&self, rows: usize) -> f64 {
        let n = self.kept.len() as f64;
        let chance = |i: usize| (i as f64 / n).powi(i32::try_from(rows).unwrap_or(i32::MAX));
        let weighted = |(i, tokens): (usize, &u64)| tokens.next_multiple_of(8) as f64 * (chance(i + 1) - chance(i));
        self.kept.iter().enumerate().map(weighted).sum()
    }

    fn tokens(&self, p: &Profile, steps: &Steps) -> Tokens {
        let (n, mean) = (self.kept.len() as f64, self.mean());
        let variance = self.kept.iter().map(|t| (*t as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let share = |count: usize| count as f64 / self.looked_at() as f64;
        // The last update of an epoch can be shorter.
        let per_sample = self.padded(p.per_device_train_batch_size);
        let total = match p.max_steps_set() {
            Some(updates) => updates as f64 * per_sample * steps.samples_per_update.min(steps.samples) as f64,
            None => steps.epochs * per_sample * steps.samples as f64,
        };
        Tokens {
            basis: Basis::Sampled,
            looked_at: self.looked_at(),
            mean,
            longest: self.kept.last().copied().unwrap_or(0),
            mean_in_pictures: self.mean_in_pictures,
            uncertainty: if mean > 0.0 { (variance / n).sqrt() / mean } else { 0.0 },
            per_update: total / steps.total.max(1) as f64,
            total,
            cut_share: share(self.cut),
            left_out_share: share(self.left_out),
            bad_share: share(self.bad),
        }
    }
}

fn steps(p: &Profile, facts: &Facts, lengths: Option<&Lengths>) -> Option<Steps> {
    let data = facts.data.as_ref()?;
    let usable = lengths.map_or(1.0, Lengths::usable_share);
    let mut samples = (data.samples as f64 * usable).round() as usize;
    let mut eval_samples = data.eval_samples;
    if p.val_size > 0.0 && eval_samples == 0 {
        // As `seed::train_test_split` counts.
        let held = if p.val_size > 1.0 { p.val_size.trunc() } else { (p.val_size * samples as f64).ceil() };
        eval_samples = (held as usize).min(samples);
        samples -= eval_samples;
    }
    let plan = StepPlan::new(p, samples).ok()?;
    let (total, per_epoch) = (plan.total_steps, plan.updates_per_epoch());
    let on_the_way = times(p.eval_strategy, p.eval_steps.unwrap_or(p.logging_steps), total, per_epoch);
    Some(Steps {
        basis: if usable < 1.0 { Basis::Sampled } else { Basis::Counted },
        samples,
        eval_samples,
        samples_per_update: p.samples_per_update(),
        per_epoch,
        total,
        warmup: plan.warmup_steps,
        epochs: p.max_steps_set().map_or(p.num_train_epochs, |steps| steps as f64 / per_epoch as f64),
        evaluations: on_the_way + u64::from(p.eval_on_start) + u64::from(p.do_eval),
        answers: p.rows_to_answer(eval_samples).len(),
    })
}

/// How often something happens in `total` updates: every so many, and at the end.
fn times(strategy: IntervalStrategy, every: f64, total: u64, per_epoch: u64) -> u64 {
    match strategy {
        IntervalStrategy::No => 0,
        IntervalStrategy::Steps => total.div_ceil(interval(every, total).max(1)),
        IntervalStrategy::Epoch => total.div_ceil(per_epoch.max(1)),
    }
}

fn memory_need(
    p: &Profile,
    facts: &Facts,
    device: &Place,
    lengths: Option<&Lengths>,
    steps: Option<&Steps>,
) -> Option<MemoryNeed> {
    let model = facts.model.as_ref()?;
    let gpu = device.name != "cpu";
    let samples = steps.map_or(p.per_device_train_batch_size, |steps| steps.samples.max(1));
    let rows = p.per_device_train_batch_size.min(samples) as u64;
    // The engine holds the pictures of an update, and each of its threads a micro-batch ahead.
    let at_hand = p.samples_per_update().min(samples) as u64 + rows * (p.dataloader_num_workers.max(1) as u64 + 1);
    let host = Host {
        samples: samples as u64,
        tokens_per_sample: lengths.map_or(0.0, Lengths::mean),
        patches_at_hand: at_hand as f64 * lengths.map_or(0.0, |l| l.mean_patches),
    };
    let of = |len: u64| {
        let patches = rows * lengths.map_or(0, |l| l.most_patches);
        let batch = Batch { rows, len: len.next_multiple_of(8), patches };
        Memory::of(p, &model.shape, model.saved_adapter, gpu, batch, host)
    };
    let cutoff = p.cutoff_len as u64;
    let parts = of(lengths.and_then(|l| l.kept.last().copied()).unwrap_or(cutoff));
    let uncertainty = if gpu { OFF_GPU } else { OFF_CPU };
    Some(MemoryNeed {
        basis: Basis::Computed,
        uncertainty,
        parts,
        at_cutoff_bytes: of(cutoff).total,
        verdict: verdict(parts.total as f64, device.free_bytes, uncertainty),
    })
}

fn disk(p: &Profile, facts: &Facts, trained: u64, steps: &Steps) -> Disk {
    /// A line of metrics.jsonl and one of trainer_log.jsonl; system.jsonl and worker.log are rings.
    const STEP: u64 = 600;
    const RINGS: u64 = 2 * (crate::runs::rings::OLDER as u64 + 1) * crate::runs::rings::MAX_BYTES;
    /// Beside the tensors: configurations; a whole model has its tokenizer, too.
    const SMALL: u64 = 64 << 10;
    const TOKENIZER: u64 = 16 << 20;
    let full = p.finetuning_type == FinetuningType::Full;
    let t = if p.pure_bf16 { 2 } else { 4 };
    let all = facts.model.as_ref().map_or(trained, |model| model.shape.numbers());
    // A checkpoint keeps trained weights as they are in memory; the result is written in the model's own type.
    let frozen = facts.model.as_ref().map_or(2, |model| memory::element(p, &model.shape, false));
    let weights = if full { trained * t + (all - trained.min(all)) * frozen + TOKENIZER } else { trained * t };
    let moments = if p.save_only_model { 0 } else { 2 * trained * t };
    let checkpoint_bytes = weights + moments + SMALL;
    let result_bytes = if full {
        facts.model.as_ref().and_then(|model| model.file_bytes).unwrap_or(all * 2) + TOKENIZER
    } else {
        weights + SMALL
    };
    let written = times(p.save_strategy, p.save_steps, steps.total, steps.per_epoch);
    // At least two are kept, the best one stays as well, and the new one is there before the oldest goes.
    let limit = p.save_total_limit.map(|limit| limit.max(2) as u64 + 1 + u64::from(p.load_best_model_at_end));
    let held = written.min(limit.unwrap_or(written));
    let logs_bytes = steps.total.saturating_mul(STEP) + RINGS;
    let total_bytes = checkpoint_bytes.saturating_mul(held).saturating_add(result_bytes).saturating_add(logs_bytes);
    Disk {
        basis: Basis::Computed,
        checkpoint_bytes,
        checkpoints_written: written,
        checkpoints_held: held,
        result_bytes,
        logs_bytes,
        total_bytes,
        free_bytes: facts.machine.disk_free,
        verdict: verdict(total_bytes as f64, facts.machine.disk_free, OFF_DISK),
    }
}

/// From the runs with the same model on the same device; those with the same settings before all others.
fn time(p: &Profile, facts: &Facts, device: &Place, tokens: &Tokens, steps: &Steps) -> Option<Time> {
    let folder = &facts.model.as_ref()?.folder;
    let now = pace::settings(p);
    let differ = |pace: &Pace| -> Vec<&'static str> {
        now.iter().filter(|setting| !pace.settings.contains(setting)).map(|setting| setting.0).collect()
    };
    let fitting: Vec<(&Pace, Vec<&'static str>)> = facts
        .paces
        .iter()
        .filter(|pace| pace.model == *folder && pace.device == device.name)
        .map(|pace| (pace, differ(pace)))
        .collect();
    let fewest = fitting.iter().map(|(_, differ)| differ.len()).min()?;
    let nearest: Vec<&(&Pace, Vec<&'static str>)> = fitting.iter().filter(|(_, d)| d.len() == fewest).collect();
    let rates = || nearest.iter().map(|(pace, _)| pace.tokens_per_second);
    let rate = rates().sum::<f64>() / nearest.len() as f64;
    let (slowest, fastest) = rates().fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
    Some(Time {
        basis: Basis::Measured,
        seconds: tokens.total / rate,
        between: (tokens.total / fastest, tokens.total / slowest),
        tokens_per_second: rate,
        seconds_per_update: tokens.total / rate / steps.total.max(1) as f64,
        runs: nearest.iter().map(|(pace, _)| pace.run.clone()).collect(),
        differ: nearest
            .iter()
            .flat_map(|(_, differ)| differ.clone())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect(),
    })
}
