//! `lightbox-engine train`: LoRA or full fine-tuning, as LLaMA-Factory's `sft` stage runs it. Reads top to bottom.
//!
//! An update is G micro-batches of B samples: forward, backward, … ; clip; AdamW; schedule. Order of samples, grouping,
//! loss weighting and files are LLaMA-Factory's (tests: the LLaMA-Factory run in tests/golden/llamafactory, step by
//! step). The loop itself is [`lightbox_core::runs::drive`]; here is what it drives: [`trainer`] (an update), [`step`]
//! (one micro-batch), [`batches`] (where it comes from), [`memory`] (when it does not fit).

pub mod batches;
pub mod checkpoint;
pub mod data;
pub mod evaluate;
mod memory;
pub mod optim;
pub mod step;
pub mod trainer;
pub mod vision_stage;

pub use data::{dataset_options, encode_options};

use crate::config::Config;
use crate::guard::guarded;
use crate::lora::{self, Freeze, LoraConfig};
use crate::model::loader::Source;
use crate::model::{Loader, Qwen2Vl};
use crate::setup;
use crate::weights::Weights;
use anyhow::Result;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::{FinetuningType, Profile, Stage};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::checkpoints::{About, settings_of};
use lightbox_core::runs::drive::{self, Beat, Flow, Session, Task, Trouble, resume};
use lightbox_core::runs::record::{Header, Phase};
use lightbox_core::runs::report::{ModelFacts, Report};
use lightbox_core::runs::schedule::LrSchedule;
use lightbox_core::runs::steps::StepPlan;
use std::path::PathBuf;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};
use torch_shim::optim::AdamW;
use trainer::Trainer;

const APP: &str = concat!("lightbox-engine ", env!("CARGO_PKG_VERSION"));

/// What a run trains, and so what it saves.
pub enum Trained {
    Lora(LoraConfig),
    Full,
}

/// Trains as `profile` says. Everything about the run is left in its `output_dir`.
///
/// # Errors
/// With an exit code ([`Exit`]) for the cause; `state.json` then says `failed` and why. [`Exit::Locked`]: another worker
/// has the run, and nothing was touched.
pub fn train(profile: &Profile) -> Result<Exit> {
    let dir = RunDir::create(&profile.output_dir).because(Exit::Disk)?;
    let lock = drive::lock(&dir)?;
    let found = resume::find(profile, &dir).because(Exit::Config);
    let mut header = Header::new(APP);
    header.resumed_from = found.as_ref().ok().and_then(|r| r.as_ref().map(|r| r.path.display().to_string()));
    let session = Session::open(&dir, profile, lock, header)?;
    let mut report = Report::new(profile, &dir, session.records.clone());
    let outcome = found.and_then(|resume| guarded(|| run(profile, &dir, resume, &session, &mut report)));
    if let Err(error) = &outcome {
        report.failed(error);
    }
    outcome
}

fn run(
    profile: &Profile,
    dir: &RunDir,
    resume: Option<resume::Resume>,
    session: &Session,
    report: &mut Report,
) -> Result<Exit> {
    if let Some(n) = profile.num_threads {
        tch::set_num_threads(n as i32);
    }
    let device = setup::device(profile.effective_device()).because(Exit::Device)?;
    if profile.full_determinism {
        // SAFETY: before the first kernel; the threads that run already do not compute.
        unsafe { torch_shim::set_deterministic(true) }?;
    }

    // ---- data: before the model, because it is what is wrong more often
    let model_dir = PathBuf::from(profile.model_name_or_path.as_deref().unwrap_or_default());
    let config = Config::from_dir(&model_dir).because(Exit::Model)?;
    let (tokenizer, processor) = setup::text_and_pictures(&model_dir, &config).because(Exit::Model)?;
    session.enter(report, Phase::PreparingData);
    let samples = data::load(profile, &tokenizer, &processor, &mut |done, total| {
        session.heartbeat.progress(0, done as u64, Phase::PreparingData);
        report.preparing(done, total);
    })
    .because(Exit::Data)?;
    let truncated = samples.train.iter().filter(|s| s.encoded.truncated > 0).count();
    report.data(&samples.problems, samples.train.len(), samples.eval.len(), truncated);
    let plan = StepPlan::new(profile, samples.train.len()).map_err(anyhow::Error::msg).because(Exit::Config)?;
    LrSchedule::new(
        profile.lr_scheduler_type,
        profile.learning_rate,
        plan.total_steps,
        plan.warmup_steps,
        profile.lr_scheduler_kwargs.as_ref(),
    )
    .map_err(anyhow::Error::msg)
    .because(Exit::Config)?;

    // ---- model
    session.enter(report, Phase::LoadingModel);
    let (model, trained) = load_model(profile, config, &model_dir, device).because(Exit::Model)?;
    let parameters = trainable(&model, &trained, profile);
    for (_, t) in &parameters {
        let _ = t.set_requires_grad(true);
    }
    let adamw = AdamW {
        lr: profile.learning_rate,
        beta1: profile.adam_beta1,
        beta2: profile.adam_beta2,
        eps: profile.adam_epsilon,
        weight_decay: profile.weight_decay,
        fused: profile.optim == lightbox_core::profile::Optim::AdamwTorchFused,
    };
    let optimizer = optim::Optimizer::new(parameters, adamw);
    let attributes = match profile.stage {
        Stage::Vision => Some(vision_stage::Attributes::new(&samples.train, &tokenizer, device).because(Exit::Data)?),
        Stage::Sft => None,
    };
    let facts = facts(&model, &optimizer, device);
    let about = About { settings: settings_of(profile), world_size: 1, app: APP.into(), ..About::default() };

    // ---- the loop
    let budget = data::pixel_budget(profile);
    let source = |samples| batches::Source {
        samples,
        tokenizer: &tokenizer,
        processor: &processor,
        budget,
        multiple: 8,
        on_bad: profile.on_bad_sample,
    };
    let (train, eval) = (source(&samples.train), source(&samples.eval));
    let order = Arc::new(batches::Order::new(plan, profile));
    std::thread::scope(|scope| {
        let feeder = batches::Feeder::new(scope, train, order.clone(), profile.dataloader_num_workers);
        let limits = memory::Limits::default();
        let mut trainer = Trainer {
            profile,
            plan,
            model,
            trained,
            optimizer,
            device,
            attributes,
            train,
            eval,
            order,
            feeder,
            limits,
        };
        session.enter(report, Phase::ProbingMemory);
        let first = resume.as_ref().map_or(0, resume::Resume::step);
        trainer.probe(first, &mut Probe { session, report })?;
        drive::drive(Task { profile, dir, plan, about, facts, resume }, session, report, &mut trainer)
    })
}

/// The loop's place while memory is probed, before there is a loop.
struct Probe<'a, 'r> {
    session: &'a Session,
    report: &'a mut Report<'r>,
}

impl Beat for Probe<'_, '_> {
    fn micro(&mut self, micro: u64) -> Flow {
        self.session.heartbeat.progress(0, micro, Phase::ProbingMemory);
        Flow::Continue
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.report.trouble(0, trouble);
    }
}

fn facts(model: &Qwen2Vl, optimizer: &optim::Optimizer, device: Device) -> ModelFacts {
    let base: usize =
        model.named_weights().iter().filter(|(n, _)| n != "model.embed_tokens.weight").map(|(_, t)| t.numel()).sum();
    let adapter: usize = lora::named_parameters(model).iter().map(|(_, t)| t.numel()).sum();
    ModelFacts {
        trainable: optimizer.parameter_count(),
        flos_per_token: 6.0 * (base + adapter) as f64,
        device: match device {
            Device::Cuda(i) => format!("cuda:{i}"),
            _ => format!("the CPU, {} threads", tch::get_num_threads()),
        },
    }
}

/// The `freeze_*` keys.
fn freeze(p: &Profile) -> Freeze {
    Freeze {
        vision_tower: p.freeze_vision_tower,
        multi_modal_projector: p.freeze_multi_modal_projector,
        language_model: p.freeze_language_model,
    }
}

/// Loads the base model and prepares it for what the profile trains.
fn load_model(p: &Profile, config: Config, dir: &std::path::Path, device: Device) -> Result<(Qwen2Vl, Trained)> {
    let freeze = freeze(p);
    let asked = (p.bf16 || p.pure_bf16).then_some(Kind::BFloat16);
    let kind = setup::kind(asked, config.dtype.as_deref(), device);
    let full = p.finetuning_type == FinetuningType::Full;
    // Trained weights are fp32 masters, but in pure_bf16 everything is bf16, the optimizer too.
    let masters = full && !p.pure_bf16;
    let source = if p.train_from_scratch {
        Source::Scratch { seed: p.seed, std: config.text.initializer_range }
    } else {
        Source::Files(Weights::open_model(dir)?)
    };
    let loader = Loader { source, kind, device, trained: Box::new(move |name| masters && freeze.trains(name)) };
    let mut model = Qwen2Vl::load(config, &loader)?;
    let adapters: Vec<PathBuf> = p.adapter_name_or_path.iter().map(PathBuf::from).collect();
    if full {
        return Ok((model, Trained::Full));
    }
    setup::attach(&mut model, &adapters)?;
    let config = if adapters.is_empty() || p.create_new_adapter {
        lora::merge(&mut model);
        let config = LoraConfig {
            rank: p.lora_rank as i64,
            alpha: p.effective_lora_alpha() as f64,
            dropout: p.lora_dropout,
            rslora: p.use_rslora,
            target: p.lora_target.clone(),
        };
        lora::attach_new(&mut model, &config, freeze, p.seed)?;
        config
    } else {
        // LLaMA-Factory: the adapter's own rank, alpha and modules win over the profile's.
        lora::saved_config(&adapters[adapters.len() - 1])?
    };
    if p.pure_bf16 {
        lora::to_kind(&mut model, Kind::BFloat16);
    }
    Ok((model, Trained::Lora(config)))
}

/// The tensors that the optimizer changes.
fn trainable(model: &Qwen2Vl, trained: &Trained, p: &Profile) -> Vec<(String, Tensor)> {
    match trained {
        Trained::Lora(_) => lora::named_parameters(model),
        Trained::Full => {
            let freeze = freeze(p);
            model.named_weights().into_iter().filter(|(name, _)| freeze.trains(name)).collect()
        }
    }
}
