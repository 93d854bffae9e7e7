//! `lightbox-engine train`: LoRA or full fine-tuning, as LLaMA-Factory's `sft` stage runs it. Reads top to bottom.
//!
//! An update is G micro-batches of B samples: forward, backward, … ; clip; AdamW; schedule. Order of samples, grouping,
//! loss weighting and files are LLaMA-Factory's (tests: the LLaMA-Factory run in tests/golden/llamafactory, step by
//! step). Next: [`step`] (one micro-batch), [`batches`] (where it comes from), [`report`] (what is written down).

pub mod batches;
pub mod checkpoint;
pub mod data;
pub mod evaluate;
pub mod optim;
pub mod report;
pub mod step;
pub mod vision_stage;

pub use data::{dataset_options, encode_options};

use crate::config::Config;
use crate::guard::guarded;
use crate::lora::{self, Freeze, LoraConfig};
use crate::model::loader::Source;
use crate::model::{Ctx, Loader, Qwen2Vl};
use crate::setup;
use crate::weights::Weights;
use anyhow::{Context, Result, anyhow};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::{FinetuningType, LossWeighting, Profile, Stage};
use lightbox_core::runs::record::{Phase, StepTime};
use lightbox_core::runs::schedule::LrSchedule;
use lightbox_core::runs::state::Status;
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::runs::{RunDir, checkpoints};
use lightbox_core::seed;
use report::{Report, Update};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use step::{MicroBatch, Share, target_tokens};
use tch::{Device, Kind, Tensor};
use torch_shim::optim::AdamW;

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
    let resume_from = find_checkpoint(profile, &dir).because(Exit::Config)?;
    if profile.overwrite_output_dir && resume_from.is_none() {
        remove_old_checkpoints(&dir).because(Exit::Disk)?;
    }
    let mut report = Report::open(profile, &dir, resume_from.as_deref()).because(Exit::Disk)?;
    match guarded(|| run(profile, &dir, resume_from, &mut report)) {
        Ok(exit) => Ok(exit),
        Err(error) => {
            report.failed(&error);
            Err(error)
        }
    }
}

fn run(profile: &Profile, dir: &RunDir, resume_from: Option<PathBuf>, report: &mut Report) -> Result<Exit> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    if let Some(n) = profile.num_threads {
        tch::set_num_threads(n as i32);
    }
    let device = setup::device(profile.effective_device()).because(Exit::Device)?;
    if profile.full_determinism {
        // SAFETY: before other threads are started and before the first kernel.
        unsafe { torch_shim::set_deterministic(true) }?;
    }

    // ---- data: before the model, because it is what is wrong more often
    let model_dir = PathBuf::from(profile.model_name_or_path.as_deref().unwrap_or_default());
    let config = Config::from_dir(&model_dir).because(Exit::Model)?;
    let (tokenizer, processor) = setup::text_and_pictures(&model_dir, &config).because(Exit::Model)?;
    report.phase(Phase::PreparingData);
    let samples = data::load(profile, &tokenizer, &processor, &mut |done, total| report.preparing(done, total))
        .because(Exit::Data)?;
    report.data(&samples);
    let plan = StepPlan::new(profile, samples.train.len()).map_err(anyhow::Error::msg).because(Exit::Config)?;
    let schedule = LrSchedule::new(
        profile.lr_scheduler_type,
        profile.learning_rate,
        plan.total_steps,
        plan.warmup_steps,
        profile.lr_scheduler_kwargs.as_ref(),
    )
    .map_err(anyhow::Error::msg)
    .because(Exit::Config)?;

    // ---- model
    report.phase(Phase::LoadingModel);
    let (mut model, trained) = load_model(profile, config, &model_dir, device).because(Exit::Model)?;
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
    let mut optimizer = optim::Optimizer::new(parameters, adamw);
    let mut first_step = 0;
    if let Some(path) = &resume_from {
        let (state, progress) = checkpoint::load(path, &mut model, &trained, &mut optimizer).because(Exit::Config)?;
        first_step = state.global_step;
        report.resume(state, progress);
    }
    report.begin(&plan, &model, optimizer.parameter_count(), device)?;

    // ---- what every micro-batch needs
    let patch_len = model.config.vision.patch_len();
    let attributes = match profile.stage {
        Stage::Vision => Some(vision_stage::Attributes::new(&samples.train, &tokenizer, device).because(Exit::Data)?),
        Stage::Sft => None,
    };
    let checkpointing = !profile.disable_gradient_checkpointing;
    let has_dropout = model.linears().iter().any(|l| l.lora.as_ref().is_some_and(|a| a.dropout > 0.0));
    let threads = profile.dataloader_num_workers.max(1);
    let budget = data::pixel_budget(profile);
    let source =
        |samples| batches::Source { samples, tokenizer: &tokenizer, processor: &processor, budget, multiple: 8 };
    let eval = |report: &mut Report, step: u64| -> Result<()> {
        report.phase(Phase::Evaluating);
        let results = evaluate::evaluate(
            &model,
            source(&samples.eval),
            profile.per_device_eval_batch_size,
            threads,
            plan.epoch_after(step),
        )
        .because(Exit::Data)?;
        report.evaluated(step, &results);
        report.phase(Phase::Training);
        Ok(())
    };
    if profile.eval_on_start && first_step == 0 && !samples.eval.is_empty() {
        eval(report, 0)?;
    }

    // ---- the loop: update k takes its samples from a pure function of k, so resuming costs nothing
    report.phase(Phase::Training);
    let micro_batches = upcoming(profile, &plan, first_step);
    let mut stopped = false;
    std::thread::scope(|scope| -> Result<()> {
        let mut prepared = batches::prefetch(scope, source(&samples.train), micro_batches, threads);
        for k in first_step..plan.total_steps {
            let started = Instant::now();
            let mut time = StepTime::default();
            let group = plan.position(k).micro_batches.len();
            let mut hosts = Vec::with_capacity(group);
            for _ in 0..group {
                hosts.push(
                    prepared
                        .next()
                        .context("the samples ended before the steps did")
                        .and_then(|h| h)
                        .because(Exit::Data)?,
                );
            }
            time.data = ms(started);

            let share = match profile.loss_weighting {
                LossWeighting::MicroBatch => Share::MeanOver { micro_batches: group },
                LossWeighting::Token => Share::SumOver {
                    target_tokens: hosts.iter().map(|h| target_tokens(&h.batch)).sum::<usize>().max(1),
                },
            };
            let mut loss = Tensor::zeros([], (Kind::Float, device));
            for (micro, host) in hosts.iter().enumerate() {
                let ctx =
                    Ctx { dropout_seed: has_dropout.then(|| seed::at(profile.seed, "dropout", &[k, micro as u64])) };
                let mb = MicroBatch::upload(host, device, patch_len);
                loss += match (&attributes, &mb.pictures) {
                    (Some(attributes), Some(pictures)) => {
                        attributes.forward_backward(&model, host, pictures, group, &ctx)?
                    }
                    _ => step::forward_backward(&model, &mb, share, &ctx, checkpointing)?,
                };
            }
            let backward = Instant::now();
            time.fwd = ms(started) - time.data; // forward and backward together: separating them would cost a wait

            // The step's two waits for the device: is everything finite? Only then are weights touched.
            let grad_norm = optimizer.clip(profile.max_grad_norm)?;
            let loss = loss.double_value(&[]) as f32;
            let lr = schedule.lr(k);
            let indices: Vec<usize> =
                hosts.iter().flat_map(|h| h.rows.iter().map(|r| samples.train[*r].index)).collect();
            if !loss.is_finite() || !grad_norm.is_finite() {
                return Err(report.nonfinite(k, loss, grad_norm, &indices)).because(Exit::NonFinite);
            }
            optimizer.step(lr, profile.weight_decay)?;
            time.opt = ms(backward);
            time.total = ms(started);

            // ---- what is due after it
            let step = k + 1;
            let due = plan.due(profile, step);
            let signalled = interrupted.load(Ordering::Relaxed);
            report.update(Update {
                step,
                epoch: plan.epoch_after(step),
                loss,
                grad_norm,
                lr,
                time,
                hosts: &hosts,
                indices,
                log: due.log,
            });
            if due.evaluate && !samples.eval.is_empty() {
                eval(report, step)?;
            }
            if due.save || signalled {
                report.phase(Phase::Checkpointing);
                let started = Instant::now();
                report.log_state(step >= plan.total_steps);
                match checkpoint::save(
                    dir,
                    step,
                    profile,
                    &model,
                    &trained,
                    &optimizer,
                    &report.trainer_state,
                    &report.progress(),
                ) {
                    Ok(path) => report.saved(step, &path, started),
                    // The run is worth more than one checkpoint: it goes on, and says so.
                    Err(error) if !signalled => report.not_saved(step, &error),
                    Err(error) => return Err(error).because(Exit::Disk),
                }
                report.phase(Phase::Training);
            }
            if signalled && step < plan.total_steps {
                stopped = true;
                break;
            }
        }
        Ok(())
    })?;
    if stopped {
        report.stopped();
        return Ok(Exit::Stopped);
    }

    // ---- the end
    report.status(Status::Finishing);
    checkpoint::save_final(dir, profile, &model, &trained).because(Exit::Disk)?;
    if profile.do_eval && !samples.eval.is_empty() {
        eval(report, plan.total_steps)?;
    }
    report.finished(&plan).because(Exit::Disk)?;
    Ok(Exit::Finished)
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The micro-batches from update `first` on, as positions in the training samples.
fn upcoming(profile: &Profile, plan: &StepPlan, first: u64) -> Vec<Vec<usize>> {
    let mut out = Vec::new();
    let mut order: (u64, Vec<usize>) = (u64::MAX, vec![]);
    for k in first..plan.total_steps {
        let position = plan.position(k);
        if order.0 != position.epoch {
            let seed = profile.data_seed.unwrap_or(profile.seed).wrapping_add(position.epoch);
            let shuffled = if profile.disable_shuffling {
                (0..plan.samples).collect()
            } else {
                seed::torch_randperm(plan.samples, seed)
            };
            order = (position.epoch, shuffled);
        }
        out.extend(position.micro_batches.into_iter().map(|range| order.1[range].to_vec()));
    }
    out
}

/// The checkpoint to go on from: the one named, else the newest in `output_dir` unless it is to be overwritten.
fn find_checkpoint(profile: &Profile, dir: &RunDir) -> Result<Option<PathBuf>> {
    if let Some(path) = &profile.resume_from_checkpoint {
        if !path.is_dir() {
            return Err(anyhow!("resume_from_checkpoint: {} is no folder", path.display()));
        }
        return Ok(Some(path.clone()));
    }
    if profile.overwrite_output_dir {
        return Ok(None);
    }
    let (newest, skipped) = checkpoints::newest_complete(dir)?;
    for reason in skipped {
        eprintln!("warning: {reason}; an older checkpoint is used");
    }
    let newest = newest.map(|c| c.path);
    let finished = ["adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"]
        .iter()
        .any(|f| dir.join(f).exists());
    if newest.is_none() && finished {
        return Err(anyhow!(
            "{}: holds a finished run but no checkpoint to go on from; choose another output_dir, or set overwrite_output_dir: true to replace it",
            dir.path().display()
        ));
    }
    Ok(newest)
}

/// `overwrite_output_dir`: LLaMA-Factory leaves old checkpoints, which a later run resumes from and which
/// `save_total_limit` would keep instead of the new ones.
fn remove_old_checkpoints(dir: &RunDir) -> Result<()> {
    let old = checkpoints::list(dir)?;
    for checkpoint in &old {
        std::fs::remove_dir_all(&checkpoint.path).with_context(|| checkpoint.path.display().to_string())?;
    }
    if !old.is_empty() {
        eprintln!("overwrite_output_dir: {} checkpoints of an older run were removed", old.len());
    }
    Ok(())
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
