//! The engine as a [`Trainee`]: what the loop in core asks for, in terms of the model and its optimizer.

use super::answer::{self, Answering};
use super::batches::{Feed, HostBatch, Source, prefetch};
use super::checkpoint::Base;
use super::fit::{Fit, Piece};
use super::optim::Optimizer;
use super::step::{self, MicroBatch, Share, cross_entropy, target_tokens};
use super::vision_stage::Attributes;
use super::{Trained, ask, checkpoint, ms};
use crate::guard::guarded;
use crate::model::{Ctx, Qwen2Vl};
use anyhow::{Context, Result, anyhow};
use lightbox_core::data::{OnBad, Problem};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::profile::{LossWeighting, Profile};
use lightbox_core::runs::commands::SampleNow;
use lightbox_core::runs::drive::{Beat, Computed, Flow, Sampled, Trainee, Trouble};
use lightbox_core::runs::record::StepTime;
use lightbox_core::runs::results::EvalResults;
use lightbox_core::seed;
use lightbox_core::text::image_tokens;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;
use tch::{Device, Kind, Reduction, Tensor};

/// Model, optimizer and data of a run.
pub struct Trainer<'scope, 'env> {
    pub profile: &'env Profile,
    pub base: Base,
    pub model: Qwen2Vl,
    pub trained: Trained,
    pub optimizer: Optimizer,
    /// `stage: vision`.
    pub attributes: Option<Attributes>,
    /// The training samples.
    pub feed: Feed<'scope, 'env>,
    pub eval: Option<Source<'env>>,
    /// `predict_with_generate`.
    pub answering: Option<Answering>,
    pub threads: usize,
    /// What was learned about the memory.
    pub fit: Fit,
}

/// What is the same for all micro-batches of an update.
struct Update {
    k: u64,
    share: Share,
    /// Micro-batches that have samples.
    micro_batches: usize,
    has_dropout: bool,
}

impl Trainer<'_, '_> {
    /// Tries the largest micro-batches of the epoch of update `k` and of the next before the first update: what does not
    /// fit shows now, not in hour 30. Gradients are forgotten; nothing else has changed.
    ///
    /// # Errors
    /// As [`Trainee::gradients`].
    pub fn probe(&mut self, k: u64, last: u64, beat: &mut dyn Beat) -> Result<()> {
        let order = self.feed.order.clone();
        let source = self.feed.source;
        for i in self.fit.largest(&order, &source, k, last) {
            let host = source.readable(&order.rows(i)); // the feeders go on undisturbed
            if !host.rows.is_empty() && self.compute(k, &[host], beat)?.is_none() {
                break;
            }
        }
        self.discard()
    }

    /// The micro-batches of update `k`, without the samples that cannot be read or are not wanted.
    fn hosts(&mut self, k: u64, skip: &BTreeSet<u64>, beat: &mut dyn Beat) -> Result<Vec<HostBatch>> {
        let samples = self.feed.source.samples;
        let unwanted = |row: &usize| skip.contains(&(samples.index(*row) as u64));
        let mut hosts = Vec::new();
        for i in self.feed.order.of_update(k) {
            let mut host = self.feed.get(i)?;
            host.lost.retain(|p| !skip.contains(&(p.index as u64)));
            self.tell_lost(&host.lost, beat)?;
            if host.rows.iter().any(unwanted) {
                let wanted: Vec<usize> = host.rows.iter().copied().filter(|row| !unwanted(row)).collect();
                host = self.feed.source.readable(&wanted);
                self.tell_lost(&host.lost, beat)?;
            }
            hosts.push(host);
        }
        Ok(hosts)
    }

    fn tell_lost(&self, lost: &[Problem], beat: &mut dyn Beat) -> Result<()> {
        for problem in lost {
            let Problem { index, origin, kind, reason } = problem.clone();
            if self.profile.on_bad_sample == OnBad::Refuse {
                return Err(anyhow!(
                    "sample {index} ({origin}) cannot be read any more: {reason}. on_bad_sample is refuse, so the run ends here; put the picture back and start again, or set on_bad_sample: skip"
                ))
                .because(Exit::Data);
            }
            beat.trouble(Trouble::Sample { index, origin, kind: kind.to_owned(), reason });
        }
        Ok(())
    }

    /// Adds up the gradients of `hosts`, in pieces that fit into memory. The update's loss, still on the device; `None`:
    /// abandoned.
    fn compute(&mut self, k: u64, hosts: &[HostBatch], beat: &mut dyn Beat) -> Result<Option<Tensor>> {
        let micro_batches = hosts.iter().filter(|h| !h.rows.is_empty()).count();
        let update = Update {
            k,
            share: match self.profile.loss_weighting {
                LossWeighting::MicroBatch => Share::MeanOver { micro_batches },
                LossWeighting::Token => Share::SumOver {
                    target_tokens: hosts.iter().map(|h| target_tokens(&h.batch)).sum::<usize>().max(1),
                },
            },
            micro_batches,
            has_dropout: self.model.linears().iter().any(|l| l.lora.as_ref().is_some_and(|a| a.dropout > 0.0)),
        };
        'again: loop {
            let mut loss = Tensor::zeros([], (Kind::Float, self.model.device()));
            for (micro, host) in hosts.iter().enumerate() {
                for piece in self.fit.pieces(host) {
                    match self.fit.attempt(|| self.piece(&update, micro as u64, host, &piece))? {
                        Ok(part) => loss += part,
                        Err(text) => {
                            // Gradients of a graph that broke off are worth nothing, nor is what they were added to.
                            self.discard()?;
                            self.fit.too_large(host, &piece, &text, &self.feed.source, self.model.device())?;
                            let parts = self.fit.pieces(host).len() as u64;
                            let detail = self.fit.detail(host, &piece, &text, &self.feed.source);
                            beat.trouble(Trouble::Split { micro: micro as u64, parts, detail });
                            continue 'again;
                        }
                    }
                }
                if beat.micro(micro as u64) == Flow::Abandon {
                    self.discard()?;
                    return Ok(None);
                }
            }
            return Ok(Some(loss));
        }
    }

    /// Adds the gradients of a piece of a micro-batch; its share of the update's loss.
    fn piece(&self, update: &Update, micro: u64, host: &HostBatch, piece: &Piece) -> Result<Tensor> {
        let whole = piece.len() == host.rows.len();
        // A pure function of the update, the micro-batch and the piece.
        let mut place = vec![update.k, micro];
        if !whole {
            place.extend([piece.start as u64, piece.len() as u64]);
        }
        let ctx = Ctx { dropout_seed: update.has_dropout.then(|| seed::at(self.profile.seed, "dropout", &place)) };
        let part = (!whole).then(|| host.part(piece.clone()));
        let part = part.as_ref().unwrap_or(host);
        let mb = MicroBatch::upload(part, self.model.device(), self.model.config.vision.patch_len());
        if let (Some(attributes), Some(pictures)) = (&self.attributes, &mb.pictures) {
            return attributes.forward_backward(&self.model, part, host, pictures, update.micro_batches, &ctx);
        }
        let share = match update.share {
            // The piece's part of the whole micro-batch's mean.
            Share::MeanOver { micro_batches } if !whole => {
                Share::SumOver { target_tokens: target_tokens(&host.batch) * micro_batches }
            }
            share => share,
        };
        step::forward_backward(&self.model, &mb, share, &ctx, !self.profile.disable_gradient_checkpointing)
    }
}

impl Trainee for Trainer<'_, '_> {
    fn gradients(&mut self, k: u64, skip: &BTreeSet<u64>, beat: &mut dyn Beat) -> Result<Option<Computed>> {
        let started = Instant::now();
        let mut time = StepTime::default();
        let hosts = self.hosts(k, skip, beat)?;
        time.data = ms(started);
        let rows = hosts.iter().flat_map(|h| &h.rows);
        let samples: Vec<usize> = rows.map(|row| self.feed.source.samples.index(*row)).collect();
        if samples.is_empty() {
            return Ok(Some(Computed { time, ..Computed::default() }));
        }
        let Some(loss) = self.compute(k, &hosts, beat)? else { return Ok(None) };
        time.fwd = ms(started) - time.data; // forward and backward together: separating them would cost a wait

        // The step's two waits for the device: is everything finite? Only then are weights touched.
        let clipping = Instant::now();
        let grad_norm = self.optimizer.clip(self.profile.max_grad_norm)?;
        let loss = loss.double_value(&[]) as f32;
        time.opt = ms(clipping);
        time.total = ms(started);
        let pictures = || hosts.iter().filter(|h| !h.batch.fake_image).flat_map(|h| &h.grids);
        Ok(Some(Computed {
            loss,
            grad_norm,
            time,
            tokens: hosts.iter().map(|h| h.batch.rows * h.batch.len).sum::<usize>() as u64,
            real_tokens: hosts.iter().flat_map(|h| &h.batch.attention_mask).sum::<i64>() as u64,
            images: pictures().count() as u64,
            image_tokens: pictures().filter_map(image_tokens).sum::<usize>() as u64,
            samples,
        }))
    }

    fn apply(&mut self, lr: f64) -> Result<()> {
        self.optimizer.step(lr, self.profile.weight_decay)
    }

    fn discard(&mut self) -> Result<()> {
        self.optimizer.forget_gradients()
    }

    /// As the HF Trainer's `evaluation_loop`: in order, the plain mean over batches of each batch's token mean. Then the
    /// answers, if they are wanted.
    fn evaluate(&mut self, epoch: f64, limit: Option<usize>, beat: &mut dyn Beat) -> Result<Option<EvalResults>> {
        let Some(source) = self.eval else { return Ok(None) };
        let n = source.samples.len().min(limit.unwrap_or(usize::MAX));
        if n == 0 {
            return Ok(None);
        }
        let _no_grad = tch::no_grad_guard();
        let started = Instant::now();
        let size = self.profile.per_device_eval_batch_size.max(1);
        let rows = move |i: u64| {
            let start = (i as usize).saturating_mul(size);
            (start < n).then(|| (start..(start + size).min(n)).collect())
        };
        let (mut sum, mut steps, mut samples) = (0.0, 0, 0);
        let finished = std::thread::scope(|scope| -> Result<bool> {
            for (i, host) in prefetch(scope, source, rows, 0, self.threads).enumerate() {
                let host = host?;
                self.tell_lost(&host.lost, beat)?;
                if !host.rows.is_empty() {
                    let loss = |host: &HostBatch, reduction| {
                        let patch_len = self.model.config.vision.patch_len();
                        let mb = MicroBatch::upload(host, self.model.device(), patch_len);
                        let logits = self.model.forward(&mb.tokens, mb.pictures.as_ref(), &Ctx::default())?;
                        Ok(cross_entropy(&logits, &mb.labels, reduction).double_value(&[]))
                    };
                    // A batch that does not fit into memory is taken row by row: its token sum over its token count.
                    sum += match guarded(|| loss(&host, Reduction::Mean)) {
                        Err(e) if exit::code(&e) == Exit::OutOfMemory && host.rows.len() > 1 => {
                            let row = |i| guarded(|| loss(&host.part(i..i + 1), Reduction::Sum));
                            (0..host.rows.len()).map(row).sum::<Result<f64>>()?
                                / target_tokens(&host.batch).max(1) as f64
                        }
                        other => other?,
                    };
                    steps += 1;
                    samples += host.rows.len();
                }
                if beat.micro(i as u64) == Flow::Abandon {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if !finished || steps == 0 {
            return Ok(None);
        }
        let generated = match &self.answering {
            None => None,
            Some(answering) => match answer::answer(self, &source, answering, n, steps as u64, beat)? {
                None => return Ok(None),
                generated => generated,
            },
        };
        let (eval_loss, runtime) = (sum / steps as f64, started.elapsed());
        Ok(Some(EvalResults { epoch: Some(epoch), eval_loss, runtime, samples, steps, generated }))
    }

    fn sample(&mut self, request: &SampleNow) -> Result<Vec<Sampled>> {
        ask::ask(self, request)
    }

    fn save(&mut self, to: &Path) -> Result<()> {
        checkpoint::save(to, &self.base, &self.model, &self.trained)?;
        match self.profile.save_only_model {
            true => Ok(()),
            false => self.optimizer.save(&to.join(checkpoint::OPTIMIZER)),
        }
    }

    fn load(&mut self, from: &Path) -> Result<()> {
        checkpoint::load(from, &self.model, &self.trained)?;
        let optimizer = from.join(checkpoint::OPTIMIZER);
        self.optimizer.load(&optimizer).with_context(|| optimizer.display().to_string())
    }

    fn save_final(&mut self, to: &Path) -> Result<()> {
        checkpoint::save_final(to, &self.base, &self.model, &self.trained)
    }

    fn checkpoint_bytes(&self) -> u64 {
        /// Configurations, the tokenizer's files, logs.
        const SMALL_FILES: u64 = 16 << 20;
        let bytes = |t: &Tensor| (t.numel() * t.kind().elt_size_in_bytes()) as u64;
        let weights: u64 = match self.trained {
            Trained::Lora(_) => self.optimizer.values().map(bytes).sum(),
            Trained::Full => self.model.named_weights().iter().map(|(_, t)| bytes(t)).sum(),
        };
        let moments = match self.profile.save_only_model {
            true => 0,
            false => 2 * self.optimizer.values().map(bytes).sum::<u64>(),
        };
        let full = matches!(self.trained, Trained::Full);
        weights + moments + if full { SMALL_FILES } else { 64 << 10 }
    }

    fn memory(&self) -> u64 {
        match self.model.device() {
            Device::Cuda(i) => torch_shim::cuda::memory_stats(i).map_or(0, |m| m.allocated_peak),
            _ => {
                let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
                let pages: u64 = statm.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
                pages * 4096
            }
        }
    }
}
