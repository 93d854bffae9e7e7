//! The table of all keys: name, type, default, range and effect, each written once. The struct [`Profile`], its
//! defaults, its reader and writer, and the help of forms and screens all come from it.
//!
//! Names, meanings and defaults are LLaMA-Factory's (0.9.5, `hparams/*_args.py`, and transformers' TrainingArguments).
//! Keys marked "Lightbox's own" have no counterpart there. Checks that concern several keys are in [`super::check`].
use super::choices::*;
use super::setting::{Kind, Range, Setting};
use crate::data::OnBad;
use crate::runs::schedule::SchedulerKwargs;
use serde_yaml::Value;
use std::path::PathBuf;

/// The part of a form that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    Task,
    Model,
    Data,
    Images,
    Lora,
    Training,
    Optimizer,
    Evaluation,
    Output,
    Generation,
    Machine,
}

/// One key of a profile, as a form, a help screen or an error message needs it.
pub struct Key {
    pub name: &'static str,
    pub group: Group,
    pub kind: Kind,
    /// `null` is allowed.
    pub optional: bool,
    pub range: Range,
    doc: &'static str,
    /// Why setting it changes nothing here, for keys that tune LLaMA-Factory's own machinery.
    pub note: Option<&'static str>,
    /// Sets the field; `None`: the value is not of this kind or out of range.
    pub(super) read: fn(&mut Profile, &Value) -> Option<()>,
    /// The field's value.
    pub write: fn(&Profile) -> Value,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Key {
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The value is of this key's kind and in its range. Whether it goes with the other keys, [`Profile::parse`] says.
    pub fn accepts(&self, value: &Value) -> bool {
        (self.read)(&mut Profile::default(), value).is_some()
    }

    /// The key has no counterpart in LLaMA-Factory.
    pub fn is_our_own(&self) -> bool {
        self.doc.trim_start().starts_with("Lightbox's own")
    }

    /// The value must not be shown, logged or copied.
    pub fn is_secret(&self) -> bool {
        self.name == "hf_hub_token"
    }

    /// The value that holds when the profile does not name the key.
    pub fn default(&self) -> Value {
        (self.write)(&Profile::default())
    }

    /// Effect and unit, in a few sentences.
    pub fn doc(&self) -> String {
        self.doc.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What may be written: `a whole number, 1 or more, or null`.
    pub fn allowed(&self) -> String {
        let range = self.range.to_string();
        let comma = if range.is_empty() { "" } else { ", " };
        format!("{}{comma}{range}{}", self.kind, if self.optional { ", or null" } else { "" })
    }
}

macro_rules! optional {
    ($default:expr) => {
        $default
    };
    ($default:expr, $given:expr) => {
        $given
    };
}

macro_rules! keys {
    ($($group:ident { $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr $(, in $range:expr)? $(, note $note:literal)?;)+ })+) => {
        /// A checked training profile. Field names are the keys of the YAML file.
        #[derive(Debug, Clone)]
        pub struct Profile {
            $($(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                pub $name: $type,
            )+)+
            /// Which keys were set, and where.
            pub origins: super::Origins,
        }

        impl Default for Profile {
            fn default() -> Self {
                Self { $($($name: $default,)+)+ origins: Default::default() }
            }
        }

        /// All keys, in the order in which a form shows them and [`Profile::to_yaml`] writes them.
        pub static KEYS: &[Key] = &[$($(Key {
            name: stringify!($name),
            group: Group::$group,
            kind: <$type as Setting>::KIND,
            optional: <$type as Setting>::OPTIONAL,
            range: optional!(Range::ANY $(, $range)?),
            doc: concat!($($doc, "\n"),+),
            note: optional!(None $(, Some($note))?),
            read: |profile, value| {
                let read = <$type as Setting>::read(value)?;
                let range: Range = optional!(Range::ANY $(, $range)?);
                if read.number().is_some_and(|x| !range.contains(x)) {
                    return None;
                }
                profile.$name = read;
                Some(())
            },
            write: |profile| profile.$name.write(),
        },)+)+];
    };
}

keys! {
    Task {
        /// What is trained: `sft` (conversations) or `vision` (Lightbox's own: a new vision tower learns to name attributes).
        stage: Stage = Stage::Sft;
        /// Train. Needs `dataset`.
        do_train: bool = false;
        /// Evaluate after training. Needs `eval_dataset` or `val_size`.
        do_eval: bool = false;
        /// What is trained: an adapter (`lora`) or the weights (`full`).
        finetuning_type: FinetuningType = FinetuningType::Lora;
        /// Text layout of a conversation; Qwen2-VL needs `qwen2_vl`.
        template: Option<Template> = None;
    }
    Model {
        /// Base model: a folder, or a repository name on the hub (`Qwen/Qwen2-VL-2B-Instruct`).
        model_name_or_path: Option<String> = None;
        /// Adapters on top of the base model, in order. All but the last are merged into it; the last is trained on (its
        /// own rank, alpha and modules win). With `create_new_adapter` all are merged. Folders, or names on the hub.
        adapter_name_or_path: Vec<String> = Vec::new();
        /// Merge the given adapters into the base model and start a new one.
        create_new_adapter: bool = false;
        /// Start from random weights; the model folder gives only its configuration and tokenizer.
        train_from_scratch: bool = false;
        /// Attention kernel.
        flash_attn: FlashAttn = FlashAttn::Auto;
        /// Do not train the vision tower.
        freeze_vision_tower: bool = true;
        /// Do not train the projector between vision tower and language model (Qwen2-VL's merger).
        freeze_multi_modal_projector: bool = true;
        /// Do not train the language model.
        freeze_language_model: bool = false;
        /// Where downloaded models are kept, instead of the Hub's usual cache.
        cache_dir: Option<PathBuf> = None;
        /// Branch, tag or commit of a model on the hub.
        model_revision: String = String::from("main");
        /// Access token of the model hub. Better set in the environment: profiles are copied and shown.
        hf_hub_token: Option<Secret> = None;
        /// LLaMA-Factory: run code that comes with a model.
        trust_remote_code: bool = false, note "no code from a model folder is ever run here";
        /// LLaMA-Factory: the Rust tokenizer and torchvision's image processor rather than the slow ones.
        use_fast_tokenizer: bool = true, note "there is one tokenizer and one image processor here, equal to the fast ones";
    }
    Data {
        /// Folder of `dataset_info.json` and the data files.
        dataset_dir: PathBuf = PathBuf::from("data");
        /// Names in `dataset_info.json` of the data sets to train on; or files, or data sets of the hub (`ORG/NAME`, `ORG/NAME:CONFIG`).
        dataset: Vec<String> = Vec::new();
        /// Names in `dataset_info.json` of the data sets to evaluate on. Excludes `val_size`.
        eval_dataset: Vec<String> = Vec::new();
        /// Folder that picture paths are relative to; `dataset_dir` if not set.
        media_dir: Option<PathBuf> = None;
        /// Part of the training data held out for evaluation: a share below 1, or a number of samples above 1.
        val_size: f64 = 0.0, in Range::from(0.0);
        /// The longest training sample, in tokens, pictures included. Longer text is cut; a sample whose picture would be
        /// cut is left out and reported.
        cutoff_len: usize = 2048, in Range::from(1.0);
        /// Use only the first so many samples of each data set.
        max_samples: Option<usize> = None, in Range::from(1.0);
        /// How several data sets are mixed.
        mix_strategy: MixStrategy = MixStrategy::Concat;
        /// How often each data set is drawn, as shares that add up to 1, in the order of `dataset`; without them they come
        /// in turns. `0.9,0.1` with scans and chat keeps a tenth of the samples for chat. Needs an interleaving `mix_strategy`.
        interleave_probs: Vec<f64> = Vec::new();
        /// Take the loss on the prompt, too. Excludes `mask_history`.
        train_on_prompt: bool = false;
        /// Take the loss on the last answer only. Excludes `train_on_prompt`.
        mask_history: bool = false;
        /// System text for samples without their own; an empty text means no system block.
        default_system: Option<String> = None;
        /// Give padding the label -100 (no loss). False trains on padding.
        ignore_pad_token_for_loss: bool = true;
        /// Go through the data in file order rather than a new random order in each epoch.
        disable_shuffling: bool = false;
        /// Several samples in one row. Only `false` is supported.
        packing: bool = false;
        /// Begin at once, and check each sample when its turn comes, rather than all of them first. Needs `max_steps`.
        streaming: bool = false;
        /// With `streaming`, samples change places with others that are no further away in the data than this.
        buffer_size: usize = 16384, in Range::from(1.0);
        /// Lightbox's own. A bad sample (missing picture, odd turns, …) is left out and reported (`skip`), or training
        /// does not start (`refuse`).
        on_bad_sample: OnBad = OnBad::Skip;
        /// LLaMA-Factory: processes that tokenise the data.
        preprocessing_num_workers: Option<usize> = None, note "only text and picture headers are read beforehand, in one process";
        /// LLaMA-Factory: tokenise again rather than use the cache.
        overwrite_cache: bool = false, note "no tokenised data is cached here";
        /// Threads that prepare pictures while the model computes; 0 and 1 are one thread.
        dataloader_num_workers: usize = 0;
        /// LLaMA-Factory: page-locked memory for batches.
        dataloader_pin_memory: bool = true, note "Lightbox decides how batches reach the GPU";
    }
    Images {
        /// Larger pictures are shrunk to so many pixels before the model's own processor (about 28*28 pixels a token).
        image_max_pixels: u64 = 768 * 768, in Range::from(1.0);
        /// Smaller pictures are enlarged to so many pixels.
        image_min_pixels: u64 = 32 * 32, in Range::from(1.0);
    }
    Lora {
        /// Rank r of the adapter: its size and capacity.
        lora_rank: usize = 8, in Range::from(1.0);
        /// The adapter's output is scaled by alpha / rank; not set or 0 means 2 * rank (see [`Profile::effective_lora_alpha`]).
        lora_alpha: Option<u64> = None;
        /// Share of the adapter's inputs set to zero while training.
        lora_dropout: f64 = 0.0, in Range::SHARE;
        /// Names of the modules that get an adapter; `all` means every linear layer of the parts that are not frozen.
        lora_target: Vec<String> = vec![String::from("all")];
        /// Scale by alpha / sqrt(rank) rather than alpha / rank.
        use_rslora: bool = false;
    }
    Training {
        /// Times the data is gone through; may be fractional.
        num_train_epochs: f64 = 3.0, in Range::POSITIVE;
        /// Number of updates, instead of `num_train_epochs`; below 0: not set.
        max_steps: i64 = -1;
        /// Samples in one forward pass.
        per_device_train_batch_size: usize = 8, in Range::from(1.0);
        /// Forward passes in one update. Samples in an update = batch size * this.
        gradient_accumulation_steps: usize = 1, in Range::from(1.0);
        /// Compute in bfloat16; adapters, their gradients and the optimizer stay in 32 bits.
        bf16: bool = false;
        /// Everything in bfloat16, adapters and optimizer too. Excludes `bf16`.
        pure_bf16: bool = false;
        /// Keep all intermediate results: faster, needs much more memory.
        disable_gradient_checkpointing: bool = false;
        /// LLaMA-Factory: PyTorch's older way of gradient checkpointing.
        use_reentrant_gc: bool = true, note "both ways compute the same";
        /// Lightbox's own. How the micro-batches of an update are weighted: `micro_batch` (LLaMA-Factory's) or `token`.
        loss_weighting: LossWeighting = LossWeighting::MicroBatch;
        /// Seed of everything random: adapter initialisation, sample order, dropout.
        seed: u64 = 42;
        /// Seed of the sample order alone; `seed` if not set.
        data_seed: Option<u64> = None;
        /// Lightbox's own. Updates in a row whose loss or gradient is not finite: each is left out and reported; after so
        /// many the run fails.
        max_nonfinite_steps: u64 = 3, in Range::from(1.0);
        /// Only deterministic kernels: the same run gives the same bits, more slowly.
        full_determinism: bool = false;
        /// Continue from this `checkpoint-N` folder. Not set: from the newest one in `output_dir`, if there is any.
        resume_from_checkpoint: Option<PathBuf> = None;
    }
    Optimizer {
        /// Optimizer.
        optim: Optim = Optim::AdamwTorchFused;
        /// Peak learning rate.
        learning_rate: f64 = 5e-5, in Range::from(0.0);
        /// The course of the learning rate.
        lr_scheduler_type: SchedulerType = SchedulerType::Linear;
        /// Parameters of that course, e.g. `{min_lr: 1e-6}`.
        lr_scheduler_kwargs: Option<SchedulerKwargs> = None;
        /// Updates in which the learning rate rises from 0; a number below 1 is a share of all updates.
        warmup_steps: f64 = 0.0, in Range::from(0.0);
        /// Old spelling of `warmup_steps` as a share; wins over it, as in transformers.
        warmup_ratio: Option<f64> = None, in Range::UNIT;
        /// Gradients with a larger norm are scaled down to it; 0: never.
        max_grad_norm: f64 = 1.0, in Range::from(0.0);
        /// Pulls weights towards 0 (AdamW's decoupled decay); biases and norms are exempt.
        weight_decay: f64 = 0.0, in Range::from(0.0);
        /// Decay of AdamW's mean of gradients.
        adam_beta1: f64 = 0.9, in Range::SHARE;
        /// Decay of AdamW's mean of squared gradients.
        adam_beta2: f64 = 0.999, in Range::SHARE;
        /// Added to AdamW's denominator.
        adam_epsilon: f64 = 1e-8, in Range::from(0.0);
    }
    Evaluation {
        /// When to evaluate while training. Needs `eval_dataset` or `val_size`.
        eval_strategy: IntervalStrategy = IntervalStrategy::No;
        /// Updates between evaluations; a number below 1 is a share of all updates; `logging_steps` if not set.
        eval_steps: Option<f64> = None, in Range::POSITIVE;
        /// Evaluate before the first update, too.
        eval_on_start: bool = false;
        /// Samples in one forward pass of an evaluation.
        per_device_eval_batch_size: usize = 8, in Range::from(1.0);
        /// At each evaluation let the model answer, too, and compare its answers with the data's: BLEU-4, ROUGE, exact match.
        /// Needs `eval_dataset` or `val_size`. The most likely token is taken, unless the profile sets keys of drawing.
        predict_with_generate: bool = false;
        /// Lightbox's own. Evaluation samples that `predict_with_generate` has answered, spread evenly over all of them and
        /// the same ones each time; 0: all. Every evaluation keeps its answers in `samples/step-N/`, up to 10 KB for each picture.
        eval_generate_samples: usize = 32;
    }
    Output {
        /// The run's folder: adapter, checkpoints, logs.
        output_dir: PathBuf = PathBuf::from("trainer_output");
        /// Start afresh in a folder that holds an older run.
        overwrite_output_dir: bool = false;
        /// A name for the run.
        run_name: Option<String> = None;
        /// Updates between log lines (the loss is the mean since the last one); below 1: a share of all updates.
        logging_steps: f64 = 500.0, in Range::POSITIVE;
        /// Log the first update, too.
        logging_first_step: bool = false;
        /// When to write a checkpoint. The end of a run always writes the adapter.
        save_strategy: IntervalStrategy = IntervalStrategy::Steps;
        /// Updates between checkpoints; below 1: a share of all updates.
        save_steps: f64 = 500.0, in Range::POSITIVE;
        /// Keep only so many checkpoints, the newest ones, at least two; the best one and pinned ones stay as well.
        save_total_limit: Option<usize> = None, in Range::from(1.0);
        /// At the end, load the best checkpoint (lowest loss on the evaluation samples): it becomes the finished adapter.
        load_best_model_at_end: bool = false;
        /// Checkpoints without the optimizer: smaller, cannot be resumed.
        save_only_model: bool = false;
        /// Draw the loss curve (`training_loss.png`).
        plot_loss: bool = false;
        /// Count input tokens and log tokens per second.
        include_num_input_tokens_seen: TokenCount = TokenCount::No;
        /// Experiment trackers. Only `none` is supported.
        report_to: ReportTo = ReportTo::None;
    }
    Generation {
        /// Draw the next token at random rather than take the most likely one.
        do_sample: bool = true;
        /// Below 1 sharper, above 1 flatter; 0 takes the most likely token.
        temperature: f64 = 0.95, in Range::from(0.0);
        /// Draw among the most likely tokens that together reach this probability.
        top_p: f64 = 0.7, in Range { above_min: true, ..Range::UNIT };
        /// Draw among so many most likely tokens; 0: among all.
        top_k: usize = 50;
        /// The longest answer, in tokens.
        max_new_tokens: usize = 1024, in Range::from(1.0);
        /// Above 1 makes tokens that already occurred less likely.
        repetition_penalty: f64 = 1.0, in Range::POSITIVE;
        /// Leave special tokens out of the answer's text.
        skip_special_tokens: bool = true;
        /// Weight type while generating; `auto`: the one the model was saved in.
        infer_dtype: InferDtype = InferDtype::Auto;
    }
    Machine {
        /// Lightbox's own. `auto` (first GPU, else CPU), `cpu`, `cuda` or `cuda:N`.
        device: Device = Device::Auto;
        /// Stay on the CPU even if there is a GPU.
        use_cpu: bool = false;
        /// Lightbox's own. CPU threads for the model; not set: as many as libtorch takes.
        num_threads: Option<usize> = None, in Range::from(1.0);
        /// Lightbox's own. How often the supervisor starts the worker again, from the newest checkpoint, after the GPU was lost.
        max_restarts: u64 = 1;
        /// LLaMA-Factory: seconds that processes wait for each other.
        ddp_timeout: u64 = 1800, note "it matters only with several processes";
    }
}

impl Profile {
    /// `lora_alpha`, or 2 * `lora_rank` where it is not set or 0 (LLaMA-Factory, `finetuning_args.py`).
    pub fn effective_lora_alpha(&self) -> u64 {
        self.lora_alpha.filter(|&alpha| alpha > 0).unwrap_or_else(|| (self.lora_rank as u64).saturating_mul(2))
    }

    /// `max_steps` if it is set.
    pub fn max_steps_set(&self) -> Option<u64> {
        u64::try_from(self.max_steps).ok().filter(|&steps| steps > 0)
    }

    /// Samples in one full update.
    pub fn samples_per_update(&self) -> usize {
        self.per_device_train_batch_size.saturating_mul(self.gradient_accumulation_steps)
    }

    /// Which of `n` evaluation samples the model answers at each evaluation: spread evenly, in their order, and the same
    /// ones each time, so that points of a curve compare.
    pub fn rows_to_answer(&self, n: usize) -> Vec<usize> {
        let answered = match (self.predict_with_generate, self.eval_generate_samples) {
            (false, _) => 0,
            (true, 0) => n,
            (true, most) => n.min(most),
        };
        (0..answered).map(|i| i * n / answered).collect()
    }

    /// Where the model shall run, `use_cpu` counted in.
    pub fn effective_device(&self) -> Device {
        if self.use_cpu { Device::Cpu } else { self.device }
    }
}
