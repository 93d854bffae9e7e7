//! `lightbox-engine train`: LoRA or full fine-tuning, as LLaMA-Factory's `sft` stage runs it. Reads top to bottom.
//!
//! An update is G micro-batches of B samples: forward, backward, … ; clip; AdamW; schedule. Order of samples, grouping,
//! loss weighting and files are LLaMA-Factory's (tests: the LLaMA-Factory run in tests/golden/llamafactory, step by
//! step). The loop itself is [`lightbox_core::runs::drive`]. Next: [`trainer`] (what it drives), [`step`] (one
//! micro-batch), [`order`] and [`batches`] (where it comes from), [`fit`] (what if it does not fit).

pub mod answer;
pub mod ask;
pub mod batches;
pub mod checkpoint;
pub mod data;
pub mod fit;
pub mod optim;
pub mod order;
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
use checkpoint::Base;
use lightbox_core::data::{Encoder, Samples};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::{FinetuningType, Profile, Stage};
use lightbox_core::runs::checkpoints::{About, settings_of};
use lightbox_core::runs::drive::resume::{self, Resume};
use lightbox_core::runs::drive::{self, Beat, Flow, Session, Task, Trouble};
use lightbox_core::runs::record::{Header, Phase};
use lightbox_core::runs::report::{ModelFacts, Report};
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::runs::{RunDir, identity};
use std::time::Instant;
use tch::{Device, Kind, Tensor};
use torch_shim::optim::AdamW;
use trainer::Trainer;

/// What a run trains, and so what it saves.
pub enum Trained {
    Lora(LoraConfig),
    Full,
}

/// Trains as `profile` says. Everything about the run is left in its `output_dir`.
///
/// # Errors
/// With an exit code ([`Exit`]) for the cause; `state.json` then says `failed` and why.
pub fn train(profile: &Profile) -> Result<Exit> {
    let dir = RunDir::create(&profile.output_dir).because(Exit::Disk)?;
    let lock = drive::lock(&dir)?;
    let found = resume::find(profile, &dir).because(Exit::Config);
    let mut header = Header::new(APP);
    header.resumed_from = found.as_ref().ok().and_then(|r| r.as_ref().map(|r| r.path.display().to_string()));
    let session = Session::open(&dir, profile, lock, header)?;
    let mut report = Report::new(profile, &dir, session.records.clone());
    let outcome = guarded(|| found.and_then(|resume| run(profile, &dir, resume, &session, &mut report)));
    if let Err(error) = &outcome {
        report.failed(error);
    }
    outcome
}

/// Program and version, as logs and checkpoints name them.
const APP: &str = concat!("lightbox-engine ", env!("CARGO_PKG_VERSION"));

fn run(
    profile: &Profile,
    dir: &RunDir,
    resume: Option<Resume>,
    session: &Session,
    report: &mut Report,
) -> Result<Exit> {
    if let Some(n) = profile.num_threads {
        tch::set_num_threads(n as i32);
    }
    let device = setup::device(profile.effective_device()).because(Exit::Device)?;
    if profile.full_determinism {
        // SAFETY: `main` has set the only variable it would set, before there were other threads.
        unsafe { torch_shim::set_deterministic(true) }?;
    }

    // ---- data: before the model, because it is what is wrong more often
    let base = Base::of(profile).because(Exit::Model)?;
    let model_dir = base.folder.clone();
    let config = Config::from_dir(&model_dir).because(Exit::Model)?;
    let (tokenizer, processor) = setup::text_and_pictures(&model_dir, &config).because(Exit::Model)?;
    report.phase(Phase::PreparingData);
    let options = encode_options(profile);
    let encoder = Encoder {
        tokenizer: &tokenizer,
        processor: &processor,
        budget: data::pixel_budget(profile),
        options: &options,
    };
    let samples = data::load(profile, &encoder, &mut |step| {
        session.heartbeat.progress(0, step.done as u64, Phase::PreparingData);
        report.preparing(step);
    })
    .because(Exit::Data)?;
    report.data(&samples.train, samples.eval.as_ref().map_or(0, Samples::len));
    let plan = StepPlan::new(profile, samples.train.len()).map_err(anyhow::Error::msg).because(Exit::Config)?;
    let about = About {
        settings: settings_of(profile),
        data: samples.train.fingerprint(),
        model: identity::model(&model_dir).because(Exit::Model)?,
        world_size: 1,
        app: APP.to_owned(),
        ..About::default()
    };

    // ---- model
    report.phase(Phase::LoadingModel);
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
    let answering = match profile.predict_with_generate {
        true => Some(answer::Answering::new(profile, &model_dir, &model, &tokenizer)?),
        false => None,
    };
    let facts = facts(&model, optimizer.parameter_count(), device);

    // ---- the loop is core's; here is what it drives
    let threads = profile.dataloader_num_workers.max(1);
    let source = |samples| batches::Source { samples, encoder, multiple: 8 };
    std::thread::scope(|scope| {
        let mut trainer = Trainer {
            profile,
            base,
            model,
            trained,
            optimizer,
            attributes,
            feed: batches::Feed::new(scope, source(&samples.train), order::Order::new(profile, &plan), threads),
            eval: samples.eval.as_ref().map(source),
            answering,
            threads,
            fit: fit::Fit::default(),
        };
        report.phase(Phase::ProbingMemory);
        let first = resume.as_ref().map_or(0, Resume::step);
        if first < plan.total_steps {
            trainer.probe(first, plan.total_steps, &mut Probing { step: first, session, report })?;
        }
        drive::drive(Task { profile, dir, plan, about, facts, resume }, session, report, &mut trainer)
    })
    .inspect(|exit| {
        if *exit == Exit::Finished
            && let Err(e) = data::forget_checked(dir)
        {
            report.warning("leftover", &format!("{e:#}"), Some("it can be deleted by hand"));
        }
    })
}

/// What the memory probe tells, before there is a loop to tell it.
struct Probing<'a, 'r> {
    step: u64,
    session: &'a Session,
    report: &'a mut Report<'r>,
}

impl Beat for Probing<'_, '_> {
    fn micro(&mut self, micro: u64) -> Flow {
        self.session.heartbeat.progress(self.step, micro, Phase::ProbingMemory);
        Flow::Continue // a stop ends the process at once here: there is nothing to save
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.report.trouble(self.step + 1, trouble);
    }
}

/// What is known of the model before the first update.
fn facts(model: &Qwen2Vl, trainable: usize, device: Device) -> ModelFacts {
    // transformers counts every weight but the input embedding.
    let base = model.named_weights().into_iter().filter(|(name, _)| name != "model.embed_tokens.weight");
    let numbers: usize = base.chain(lora::named_parameters(model)).map(|(_, t)| t.numel()).sum();
    let device = match device {
        Device::Cuda(i) => format!("cuda:{i}"),
        _ => format!("the CPU, {} threads", tch::get_num_threads()),
    };
    ModelFacts { trainable, flos_per_token: 6.0 * numbers as f64, device }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
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
    let adapters = p.adapter_folders()?;
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
