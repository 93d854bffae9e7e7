//! The training loop, without the mathematics: what a worker does between two updates. Signals and commands, logs,
//! evaluation, checkpoints, a full disk, numbers that are not finite. Whatever computes is a [`Trainee`]: the engine over
//! libtorch, or the fake engine with which processes and screens are tested.
//!
//! [`lock`], [`resume::find`] and [`Session::open`] make this process the run's worker; [`drive`] is the loop.

mod control;
mod course;
mod pulse;
pub mod resume;
mod saving;
mod session;
mod signals;
mod the_loop;
mod verify;

pub use session::{Session, lock};
pub use the_loop::{Task, drive};

use super::commands::SampleNow;
use super::record::StepTime;
use super::results::EvalResults;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// What a safe point between micro-batches says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Give up the update that was begun: the run stops now. Weights change only in [`Trainee::apply`].
    Abandon,
}

/// The gradients of an update are there, clipped; weights are untouched.
#[derive(Debug, Clone, Default)]
pub struct Computed {
    pub loss: f32,
    /// Before clipping.
    pub grad_norm: f32,
    pub time: StepTime,
    /// Input tokens with padding, and without.
    pub tokens: u64,
    pub real_tokens: u64,
    pub images: u64,
    pub image_tokens: u64,
    /// Indices in the data set of the samples it saw, in order.
    pub samples: Vec<usize>,
}

/// What a trainee tells while it computes an update. Shown, counted and logged by the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A micro-batch did not fit into memory and was split; the mathematics is the same.
    Split { micro: u64, parts: u64, detail: String },
    /// A sample could not be read and was left out.
    Sample { index: usize, origin: String, kind: String, reason: String },
}

/// What a trainee may ask and tell in the middle of an update.
pub trait Beat {
    /// A safe point: micro-batch `micro` of this update (or of an evaluation) is done.
    fn micro(&mut self, micro: u64) -> Flow;
    /// So many of the evaluation's samples are answered.
    fn answered(&mut self, done: usize, total: usize) {
        let _ = (done, total);
    }
    fn trouble(&mut self, trouble: Trouble);
}

/// One answer of [`Trainee::sample`].
#[derive(Debug, Clone, Default)]
pub struct Sampled {
    pub prompt: String,
    pub images: Vec<String>,
    pub text: String,
    pub tokens: u64,
    pub dt_ms: u64,
}

/// What computes.
pub trait Trainee {
    /// Gradients of update `k` (0, 1, …), any k: a resumed or lengthened run asks for what it needs, nearly always the
    /// next one. `None`: abandoned at a safe point. Samples in `skip` (indices in the data set) are left out.
    ///
    /// If no sample is left, [`Computed::samples`] is empty and there is nothing to apply.
    ///
    /// # Errors
    /// With an exit code; gradients may be in any state, weights and optimizer are as before.
    fn gradients(&mut self, k: u64, skip: &BTreeSet<u64>, beat: &mut dyn Beat) -> Result<Option<Computed>>;

    /// The optimizer's step with the gradients of [`Trainee::gradients`]; then no gradients.
    fn apply(&mut self, lr: f64) -> Result<()>;

    /// Forgets the gradients: no update is made.
    fn discard(&mut self) -> Result<()>;

    /// The loss on the evaluation samples (the first `limit`), and with `predict_with_generate` answers to some of them;
    /// `None` if there are none, or if it was abandoned. Nothing that is trained may be another one afterwards.
    fn evaluate(&mut self, epoch: f64, limit: Option<usize>, beat: &mut dyn Beat) -> Result<Option<EvalResults>>;

    /// Lets the model write.
    fn sample(&mut self, request: &SampleNow) -> Result<Vec<Sampled>>;

    /// Writes weights and optimizer state into the folder of a checkpoint.
    fn save(&mut self, to: &Path) -> Result<()>;

    /// Puts weights and optimizer state of a checkpoint back.
    fn load(&mut self, from: &Path) -> Result<()>;

    /// Writes the finished adapter or model.
    fn save_final(&mut self, to: &Path) -> Result<()>;

    /// Bytes that [`Trainee::save`] will write, to a few percent.
    fn checkpoint_bytes(&self) -> u64;

    /// Memory held on the device (resident memory on a CPU), in bytes.
    fn memory(&self) -> u64;
}
