//! A line `y = w·x` through invented points, by AdamW with dropout: cheap, never the same loss twice, and exact to the bit
//! when it is repeated. Everything random is a function of seed and position, as in the real engine.

use anyhow::{Context, Result, anyhow};
use lightbox_core::evaluate::predictions::Prediction;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::fault;
use lightbox_core::fs::OutFile;
use lightbox_core::profile::{IntervalStrategy, Profile};
use lightbox_core::runs::commands::SampleNow;
use lightbox_core::runs::drive::{Beat, Computed, Flow, Sampled, Trainee, Trouble};
use lightbox_core::runs::results::{EvalResults, Generated};
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::seed;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Coordinates of a point; a larger model repeats them.
const WIDTH: usize = 16;
const EVAL_SAMPLES: usize = 8;
const TOKENS: u64 = 100;

pub struct Line {
    seed: u64,
    data_seed: u64,
    shuffles: bool,
    has_eval: bool,
    /// Which evaluation points it also describes in words (`predict_with_generate`).
    answered: Vec<usize>,
    plan: StepPlan,
    micro_time: Duration,
    /// The permutation of the epoch that was asked for last.
    order: (u64, Vec<u32>),
    w: Vec<f32>,
    gradient: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    updates: u64,
}

impl Line {
    pub fn new(p: &Profile, plan: StepPlan, weights: usize, micro_time: Duration) -> Self {
        let zeros = || vec![0.0; weights];
        Self {
            seed: p.seed,
            data_seed: p.data_seed.unwrap_or(p.seed),
            shuffles: !p.disable_shuffling,
            has_eval: p.val_size > 0.0 || !p.eval_dataset.is_empty() || p.eval_strategy != IntervalStrategy::No,
            answered: p.rows_to_answer(EVAL_SAMPLES),
            plan,
            micro_time,
            order: (u64::MAX, Vec::new()),
            w: zeros(),
            gradient: zeros(),
            mean: zeros(),
            square: zeros(),
            updates: 0,
        }
    }

    /// Coordinate `i` of sample `n`, in [-1, 1).
    fn x(&self, n: usize, i: usize) -> f32 {
        unit(seed::at(self.seed, "fake point", &[n as u64, i as u64]))
    }

    /// Error of sample `n`: w·x - y, with y = Σ x.
    fn error(&self, n: usize) -> f32 {
        (0..WIDTH.min(self.w.len())).map(|i| self.x(n, i) * (self.w[i] - 1.0)).sum()
    }

    fn rows(&mut self, epoch: u64, range: std::ops::Range<usize>) -> Vec<usize> {
        if self.order.0 != epoch {
            let order = match self.shuffles {
                true => seed::torch_randperm(self.plan.samples as u32, self.data_seed.wrapping_add(epoch)),
                false => (0..self.plan.samples as u32).collect(),
            };
            self.order = (epoch, order);
        }
        self.order.1[range].iter().map(|&row| row as usize).collect()
    }
}

/// Tokens of an answer.
const WORDS: usize = 5;

impl Line {
    /// What it says about evaluation points below `samples`; the outer `None`: abandoned.
    fn answers(&self, samples: usize, beat: &mut dyn Beat) -> Option<Option<Generated>> {
        if self.answered.is_empty() {
            return Some(None);
        }
        let started = Instant::now();
        let mut generated = Generated::default();
        let rows = self.answered.iter().filter(|n| **n < samples);
        for (done, &n) in rows.enumerate() {
            for token in 0..WORDS {
                std::thread::sleep(self.micro_time);
                if beat.micro((samples + n * WORDS + token) as u64) == Flow::Abandon {
                    return None;
                }
            }
            let point = 1_000_000 + n;
            let says = |y: f32| format!("The line is at {y:.1} there.");
            let truth: f32 = (0..WIDTH).map(|i| self.x(point, i)).sum();
            generated.rows.push(Prediction {
                prompt: format!("<|im_start|>user\nWhere is the line at point {n}?<|im_end|>\n<|im_start|>assistant\n"),
                predict: says(truth + self.error(point)),
                label: says(truth) + "\n",
                index: Some(n),
                images: Vec::new(),
                loss_sum: None,
                n_target_tokens: None,
            });
            beat.answered(done + 1, self.answered.len());
        }
        generated.runtime = started.elapsed();
        Some(Some(generated))
    }
}

/// 24 bits of a random number as a number in [-1, 1).
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

impl Trainee for Line {
    fn gradients(&mut self, k: u64, skip: &BTreeSet<u64>, beat: &mut dyn Beat) -> Result<Option<Computed>> {
        let started = Instant::now();
        let position = self.plan.position(k);
        let group = position.micro_batches.len();
        let mut c = Computed::default();
        self.gradient.fill(0.0);
        for (micro, range) in position.micro_batches.into_iter().enumerate() {
            match fault::at("micro").as_deref() {
                Some("oom") => {
                    let detail = format!("{} samples did not fit.", range.len());
                    beat.trouble(Trouble::Split { micro: micro as u64, parts: 2, detail });
                }
                Some("device") => {
                    return Err(anyhow!("CUDA error: the device is lost (injected)")).because(Exit::Device);
                }
                _ => {}
            }
            let mut rows = self.rows(position.epoch, range);
            rows.retain(|n| !skip.contains(&(*n as u64)));
            std::thread::sleep(self.micro_time);
            // Dropout: a tenth of the coordinates is left out, by position.
            let kept: [bool; WIDTH] = std::array::from_fn(|i| {
                !seed::at(self.seed, "dropout", &[k, micro as u64, i as u64]).is_multiple_of(10)
            });
            for &n in &rows {
                let scale = 1.0 / (rows.len() * group) as f32;
                let error = self.error(n);
                c.loss += 0.5 * error * error * scale;
                for i in 0..self.gradient.len() {
                    if kept[i % WIDTH] {
                        self.gradient[i] += error * self.x(n, i % WIDTH) * scale;
                    }
                }
            }
            c.tokens += TOKENS * rows.len() as u64;
            c.samples.extend(rows);
            if beat.micro(micro as u64 + 1) == Flow::Abandon {
                return Ok(None);
            }
        }
        c.real_tokens = c.tokens;
        c.images = c.samples.len() as u64;
        c.time.total = started.elapsed().as_secs_f64() * 1e3;
        c.grad_norm = self.gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        Ok(Some(c))
    }

    fn apply(&mut self, lr: f64) -> Result<()> {
        self.updates += 1;
        let correction = |beta: f32| 1.0 - beta.powi(self.updates.min(1 << 20) as i32);
        for i in 0..self.w.len() {
            let g = self.gradient[i];
            self.mean[i] = 0.9 * self.mean[i] + 0.1 * g;
            self.square[i] = 0.999 * self.square[i] + 0.001 * g * g;
            let (m, v) = (self.mean[i] / correction(0.9), self.square[i] / correction(0.999));
            self.w[i] -= lr as f32 * m / (v.sqrt() + 1e-8);
        }
        Ok(())
    }

    fn discard(&mut self) -> Result<()> {
        self.gradient.fill(0.0);
        Ok(())
    }

    fn evaluate(&mut self, epoch: f64, limit: Option<usize>, beat: &mut dyn Beat) -> Result<Option<EvalResults>> {
        if !self.has_eval {
            return Ok(None);
        }
        let started = Instant::now();
        let samples = EVAL_SAMPLES.min(limit.unwrap_or(EVAL_SAMPLES));
        let mut sum = 0.0;
        for n in 0..samples {
            std::thread::sleep(self.micro_time);
            let error = f64::from(self.error(1_000_000 + n));
            sum += 0.5 * error * error;
            if beat.micro(n as u64 + 1) == Flow::Abandon {
                return Ok(None);
            }
        }
        let eval_loss = sum / samples.max(1) as f64;
        let Some(generated) = self.answers(samples, beat) else { return Ok(None) };
        let runtime = started.elapsed();
        Ok(Some(EvalResults { epoch: Some(epoch), eval_loss, runtime, samples, steps: samples, generated }))
    }

    fn sample(&mut self, request: &SampleNow) -> Result<Vec<Sampled>> {
        let prompts = match &request.prompt {
            Some(prompt) => vec![prompt.clone()],
            None => (0..request.n.max(1)).map(|i| format!("What is at point {i}?")).collect(),
        };
        let text = format!("A line of slope {:.4}.", self.w.first().copied().unwrap_or_default());
        let answer =
            |prompt| Sampled { prompt, images: request.images.clone(), text: text.clone(), tokens: 6, dt_ms: 1 };
        Ok(prompts.into_iter().map(answer).collect())
    }

    fn save(&mut self, to: &Path) -> Result<()> {
        self.save_final(to)?;
        let step = self.updates.to_le_bytes();
        let (mean, square) = (bytes(&self.mean), bytes(&self.square));
        let tensors = [
            ("w.exp_avg", TensorView::new(Dtype::F32, vec![self.w.len()], &mean)?),
            ("w.exp_avg_sq", TensorView::new(Dtype::F32, vec![self.w.len()], &square)?),
            ("step", TensorView::new(Dtype::U64, vec![1], &step)?),
        ];
        write(&to.join("optimizer.safetensors"), &safetensors::serialize(tensors, None)?)
    }

    fn load(&mut self, from: &Path) -> Result<()> {
        let read = |name: &str| std::fs::read(from.join(name)).with_context(|| from.join(name).display().to_string());
        let (adapter, optimizer) = (read("adapter_model.safetensors")?, read("optimizer.safetensors")?);
        let (adapter, optimizer) = (SafeTensors::deserialize(&adapter)?, SafeTensors::deserialize(&optimizer)?);
        self.w = floats(adapter.tensor("w")?.data());
        self.mean = floats(optimizer.tensor("w.exp_avg")?.data());
        self.square = floats(optimizer.tensor("w.exp_avg_sq")?.data());
        self.gradient = vec![0.0; self.w.len()];
        self.updates = u64::from_le_bytes(optimizer.tensor("step")?.data().try_into()?);
        Ok(())
    }

    fn save_final(&mut self, to: &Path) -> Result<()> {
        let w = bytes(&self.w);
        let tensors = [("w", TensorView::new(Dtype::F32, vec![self.w.len()], &w)?)];
        write(&to.join("adapter_model.safetensors"), &safetensors::serialize(tensors, None)?)?;
        let config = serde_json::json!({"peft_type": "LORA", "r": 1, "base_model_name_or_path": "nothing"});
        Ok(lightbox_core::fs::write_atomic(&to.join("adapter_config.json"), config.to_string().as_bytes())?)
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.w.len() as u64 * 12
    }

    fn memory(&self) -> u64 {
        self.w.len() as u64 * 16
    }
}

/// As the real engine writes large files: beside their place, piece by piece, fsync, rename.
fn write(path: &Path, data: &[u8]) -> Result<()> {
    let partial = path.with_extension("safetensors.partial");
    let put = || -> std::io::Result<()> {
        let mut file = OutFile::create(&partial)?;
        for piece in data.chunks(1 << 20) {
            file.write_all(piece)?;
        }
        file.finish()?;
        lightbox_core::fs::rename(&partial, path)
    };
    put().with_context(|| format!("{}: cannot be written", path.display()))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
