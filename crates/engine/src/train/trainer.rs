//! The engine as the loop sees it ([`Trainee`]): gradients of an update, the optimizer's step, evaluation, samples, files.

use super::batches::{Feeder, HostBatch, Order, Source};
use super::optim::Optimizer;
use super::step::{self, MicroBatch, Share, target_tokens};
use super::{Trained, checkpoint, evaluate, memory, vision_stage};
use crate::generate::{Options, Prompt, generate};
use crate::guard::guarded;
use crate::model::{Ctx, Qwen2Vl};
use crate::{commands, lora};
use anyhow::{Context, Result, anyhow, bail};
use lightbox_core::data::{ImageRef, Prepared};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::fault;
use lightbox_core::profile::{LossWeighting, Profile};
use lightbox_core::runs::commands::SampleNow;
use lightbox_core::runs::drive::{Beat, Computed, Flow, Sampled, Trainee, Trouble};
use lightbox_core::runs::record::StepTime;
use lightbox_core::runs::results::EvalResults;
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::seed;
use lightbox_core::text::{Conversation, Message, Role, encode_prompt, image_tokens};
use lightbox_core::vision::Grid;
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// Everything that computes.
pub struct Trainer<'scope, 'env> {
    pub profile: &'env Profile,
    pub plan: StepPlan,
    pub model: Qwen2Vl,
    pub trained: Trained,
    pub optimizer: Optimizer,
    pub device: Device,
    /// `stage: vision`.
    pub attributes: Option<vision_stage::Attributes>,
    pub train: Source<'env>,
    pub eval: Source<'env>,
    pub order: Arc<Order>,
    pub feeder: Feeder<'scope, 'env>,
    pub limits: memory::Limits,
}

/// A micro-batch that did not fit, and which part of it.
struct TooLarge {
    micro: usize,
    part: Range<usize>,
    error: anyhow::Error,
}

impl Trainer<'_, '_> {
    /// Forward and backward of the largest micro-batches of the run, so that memory trouble shows in its first minute. The
    /// gradients are forgotten; nothing of what is trained depends on it.
    pub fn probe(&mut self, first: u64, beat: &mut dyn Beat) -> Result<()> {
        let numbers =
            self.plan.micro_batch_numbers(first).start..self.plan.epochs.min(3) * self.plan.batches_per_epoch();
        let sizes = |i: &u64| memory::size(self.train.samples, &self.order.rows(*i));
        let longest = numbers.clone().max_by_key(|i| sizes(i).0);
        let widest = numbers.max_by_key(|i| sizes(i).1);
        let chosen: BTreeSet<u64> = longest.into_iter().chain(widest).collect();
        for i in chosen {
            let host = self.train.assemble(&self.order.rows(i))?;
            if host.rows.is_empty() {
                continue;
            }
            self.summed_loss(first, std::slice::from_ref(&host), beat)?;
            self.optimizer.forget_gradients()?;
        }
        Ok(())
    }

    /// Gradients of one update's micro-batches; its loss, still on the device. `None`: abandoned.
    fn summed_loss(&mut self, k: u64, hosts: &[HostBatch], beat: &mut dyn Beat) -> Result<Option<Tensor>> {
        loop {
            match self.attempt(k, hosts, beat)? {
                Ok(loss) => return Ok(loss),
                Err(TooLarge { micro, part, error }) => {
                    // Some gradients of this update may be there already: the whole of it is made again.
                    self.optimizer.forget_gradients()?;
                    if matches!(self.device, Device::Cuda(_)) {
                        torch_shim::cuda::empty_cache()?;
                    }
                    let what = memory::describe(&hosts[micro], &part, self.train.samples);
                    if !self.limits.lower(&hosts[micro], &part) || self.attributes.is_some() {
                        return Err(anyhow!(
                            "out of memory on {what}, which cannot be split any further: {error:#}. To avoid it: image_max_pixels below {}, cutoff_len below {}",
                            self.profile.image_max_pixels,
                            hosts[micro].batch.len
                        ))
                        .because(Exit::OutOfMemory);
                    }
                    let parts = self.limits.parts(&hosts[micro]).len() as u64;
                    let said = format!("{error:#}");
                    let detail = format!("{what} did not fit ({}).", said.split(" Lower ").next().unwrap_or(&said));
                    beat.trouble(Trouble::Split { micro: micro as u64, parts, detail });
                }
            }
        }
    }

    /// Outside: an error that ends the run. Inside: a part that did not fit.
    fn attempt(&self, k: u64, hosts: &[HostBatch], beat: &mut dyn Beat) -> Result<Result<Option<Tensor>, TooLarge>> {
        let used = hosts.iter().filter(|h| !h.rows.is_empty()).count();
        let has_dropout = self.model.linears().iter().any(|l| l.lora.as_ref().is_some_and(|a| a.dropout > 0.0));
        let all_targets = hosts.iter().map(|h| target_tokens(&h.batch)).sum::<usize>().max(1);
        let mut loss = Tensor::zeros([], (Kind::Float, self.device));
        for (micro, host) in hosts.iter().enumerate().filter(|(_, h)| !h.rows.is_empty()) {
            let parts = self.limits.parts(host);
            let whole = parts.len() == 1;
            for (n, part) in parts.into_iter().enumerate() {
                let share = match self.profile.loss_weighting {
                    LossWeighting::Token => Share::SumOver { target_tokens: all_targets },
                    LossWeighting::MicroBatch if whole => Share::MeanOver { micro_batches: used },
                    LossWeighting::MicroBatch => {
                        Share::PartOf { target_tokens: target_tokens(&host.batch).max(1), micro_batches: used }
                    }
                };
                let place: &[u64] = if whole { &[k, micro as u64] } else { &[k, micro as u64, n as u64 + 1] };
                let ctx = Ctx { dropout_seed: has_dropout.then(|| seed::at(self.profile.seed, "dropout", place)) };
                match guarded(|| self.forward_backward(host, part.clone(), share, used, &ctx)) {
                    Ok(part_loss) => loss += part_loss,
                    Err(error) if exit::code(&error) == Exit::OutOfMemory => {
                        return Ok(Err(TooLarge { micro, part, error }));
                    }
                    Err(error) => return Err(error),
                }
            }
            if beat.micro(micro as u64 + 1) == Flow::Abandon {
                self.optimizer.forget_gradients()?;
                return Ok(Ok(None));
            }
        }
        Ok(Ok(Some(loss)))
    }

    fn forward_backward(
        &self,
        host: &HostBatch,
        part: Range<usize>,
        share: Share,
        micro_batches: usize,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        match fault::at("micro").as_deref() {
            Some("oom") => bail!("CUDA out of memory. Tried to allocate 3.80 GiB (injected)"),
            Some("device") => bail!("CUDA error: the device is lost (injected)"),
            _ => {}
        }
        let mb = MicroBatch::upload_rows(host, part, self.device, self.model.config.vision.patch_len());
        match (&self.attributes, &mb.pictures) {
            (Some(attributes), Some(pictures)) => {
                attributes.forward_backward(&self.model, host, pictures, micro_batches, ctx)
            }
            _ => {
                let checkpointing = !self.profile.disable_gradient_checkpointing;
                step::forward_backward(&self.model, &mb, share, ctx, checkpointing)
            }
        }
    }

    /// The micro-batches of update `k`, without the samples in `skip`; what could not be read is told.
    fn hosts(&mut self, k: u64, skip: &BTreeSet<u64>, beat: &mut dyn Beat) -> Result<Vec<HostBatch>> {
        let mut hosts = Vec::new();
        for i in self.plan.micro_batch_numbers(k) {
            let mut host = self.feeder.get(i).because(Exit::Data)?;
            for lost in host.lost.drain(..) {
                let sample = &self.train.samples[lost.row];
                beat.trouble(Trouble::Sample {
                    index: sample.index,
                    origin: sample.origin.clone(),
                    kind: lost.kind,
                    reason: lost.reason,
                });
            }
            let wanted = |row: &usize| !skip.contains(&(self.train.samples[*row].index as u64));
            if !host.rows.iter().all(wanted) {
                let rows: Vec<usize> = host.rows.iter().copied().filter(wanted).collect();
                host = self.train.assemble(&rows).because(Exit::Data)?;
            }
            hosts.push(host);
        }
        Ok(hosts)
    }
}

impl Trainee for Trainer<'_, '_> {
    fn gradients(&mut self, k: u64, skip: &BTreeSet<u64>, beat: &mut dyn Beat) -> Result<Option<Computed>> {
        let started = Instant::now();
        let hosts = self.hosts(k, skip, beat)?;
        let mut time = StepTime { data: ms(started), ..StepTime::default() };
        let with_pictures = || hosts.iter().filter(|h| !h.batch.fake_image);
        let computed = Computed {
            tokens: hosts.iter().map(|h| (h.batch.rows * h.batch.len) as u64).sum(),
            real_tokens: hosts.iter().map(|h| h.batch.attention_mask.iter().sum::<i64>() as u64).sum(),
            images: with_pictures().map(|h| h.grids.len() as u64).sum(),
            image_tokens: with_pictures().flat_map(|h| &h.grids).filter_map(image_tokens).sum::<usize>() as u64,
            samples: hosts.iter().flat_map(|h| h.rows.iter().map(|r| self.train.samples[*r].index)).collect(),
            ..Computed::default()
        };
        if computed.samples.is_empty() {
            return Ok(Some(computed));
        }
        let Some(loss) = self.summed_loss(k, &hosts, beat)? else { return Ok(None) };
        time.fwd = ms(started) - time.data; // forward and backward together: separating them would cost a wait
        // The step's two waits for the device: is everything finite? Only then are weights touched.
        let before = Instant::now();
        let grad_norm = self.optimizer.clip(self.profile.max_grad_norm)?;
        let loss = loss.double_value(&[]) as f32;
        time.opt = ms(before);
        time.total = ms(started);
        Ok(Some(Computed { loss, grad_norm, time, ..computed }))
    }

    fn apply(&mut self, lr: f64) -> Result<()> {
        self.optimizer.step(lr, self.profile.weight_decay)
    }

    fn discard(&mut self) -> Result<()> {
        self.optimizer.forget_gradients()
    }

    fn evaluate(&mut self, epoch: f64, limit: Option<usize>, beat: &mut dyn Beat) -> Result<Option<EvalResults>> {
        let mut source = self.eval;
        source.samples = &source.samples[..limit.unwrap_or(usize::MAX).min(source.samples.len())];
        if source.samples.is_empty() {
            return Ok(None);
        }
        let (batch, threads) = (self.profile.per_device_eval_batch_size, self.profile.dataloader_num_workers);
        evaluate::evaluate(&self.model, source, batch, threads, epoch, beat)
    }

    fn sample(&mut self, request: &SampleNow) -> Result<Vec<Sampled>> {
        let questions = match &request.prompt {
            Some(prompt) => {
                let images: Vec<ImageRef> = request.images.iter().map(|p| ImageRef::File(PathBuf::from(p))).collect();
                // Pictures without a mark stand before the question, as in `lightbox chat`.
                let marks = prompt.matches("<image>").count();
                let content = format!("{}{prompt}", "<image>".repeat(images.len().saturating_sub(marks)));
                let messages = vec![Message { role: Role::User, content }];
                vec![self.question(&Conversation { messages, ..Conversation::default() }, &images)?]
            }
            None => {
                let source = if self.eval.samples.is_empty() { self.train } else { self.eval };
                source.samples.iter().take(request.n.max(1)).map(|s| self.own_question(s)).collect::<Result<_>>()?
            }
        };
        let options = Options {
            max_new_tokens: request.max_new_tokens.unwrap_or(128),
            ..commands::options_for(
                &Profile { do_sample: false, ..self.profile.clone() },
                &self.model,
                self.train.tokenizer,
            )
        };
        let mut answers = Vec::new();
        for prompt in questions {
            let started = Instant::now();
            let go_on = &mut |_, _| ControlFlow::Continue(());
            let answer = generate(&self.model, self.train.tokenizer, &[&prompt.0], &options, go_on)?;
            let ids = answer.into_iter().next().map(|a| a.ids).unwrap_or_default();
            answers.push(Sampled {
                prompt: self.train.tokenizer.decode(&prompt.0.ids, true)?,
                images: prompt.1,
                text: self.train.tokenizer.decode(&ids, true)?,
                tokens: ids.len() as u64,
                dt_ms: started.elapsed().as_millis() as u64,
            });
        }
        Ok(answers)
    }

    fn save(&mut self, to: &Path) -> Result<()> {
        checkpoint::save(to, self.profile, &self.model, &self.trained, &self.optimizer)
    }

    fn load(&mut self, from: &Path) -> Result<()> {
        checkpoint::load(from, &mut self.model, &self.trained, &mut self.optimizer)
    }

    fn save_final(&mut self, to: &Path) -> Result<()> {
        checkpoint::save_final(to, self.profile, &self.model, &self.trained)
    }

    fn checkpoint_bytes(&self) -> u64 {
        let weights: usize = match self.trained {
            Trained::Lora(_) => lora::named_parameters(&self.model).iter().map(|(_, t)| bytes(t)).sum(),
            Trained::Full => self.model.named_weights().iter().map(|(_, t)| bytes(t)).sum(),
        };
        let moments = if self.profile.save_only_model { 0 } else { self.optimizer.bytes() };
        (weights + moments) as u64
    }

    fn memory(&self) -> u64 {
        match self.device {
            Device::Cuda(i) => torch_shim::cuda::memory_stats(i).map_or(0, |m| m.allocated_peak),
            _ => {
                let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
                let pages: u64 = statm.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
                pages * 4096
            }
        }
    }
}

impl Trainer<'_, '_> {
    /// A question with its pictures, and their names.
    fn question(&self, conversation: &Conversation, images: &[ImageRef]) -> Result<(Prompt, Vec<String>)> {
        let (pixel_values, grids) = self.pictures(images)?;
        let system = self.profile.default_system.as_deref();
        let ids = encode_prompt(self.train.tokenizer, conversation, &grids, system)?;
        Ok((Prompt { ids, grids, pixel_values }, images.iter().map(ImageRef::describe).collect()))
    }

    fn pictures(&self, images: &[ImageRef]) -> Result<(Vec<f32>, Vec<Grid>)> {
        let (mut pixel_values, mut grids) = (Vec::new(), Vec::new());
        for image in images {
            let name = || image.describe();
            let bytes = image.read().map_err(anyhow::Error::msg).with_context(name)?;
            let patches = self.train.processor.process(&bytes, Some(self.train.budget)).with_context(name)?;
            pixel_values.extend(patches.values);
            grids.push(patches.grid);
        }
        Ok((pixel_values, grids))
    }

    /// A sample up to its last answer: the tokens before the last stretch that is trained on.
    fn own_question(&self, sample: &Prepared) -> Result<(Prompt, Vec<String>)> {
        let labels = &sample.encoded.labels;
        let end = labels.iter().rposition(|l| *l != -100).unwrap_or(0);
        let start = labels[..end].iter().rposition(|l| *l == -100).map_or(0, |i| i + 1);
        let (pixel_values, grids) = self.pictures(&sample.images)?;
        let ids = sample.encoded.input_ids[..start].to_vec();
        Ok((Prompt { ids, grids, pixel_values }, sample.images.iter().map(ImageRef::describe).collect()))
    }
}

fn bytes(t: &Tensor) -> usize {
    t.numel() * t.kind().elt_size_in_bytes()
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
