//! How much memory training takes at its highest moment, from sizes alone.
//!
//! It follows what the engine does (crates/engine: `train/step.rs`, `model/`), tensor by tensor where they are large:
//!
//! ```text
//! weights + adapter, gradients, AdamW's two moments
//!   + what the backward pass needs    (gradient checkpointing: only the input of every block)
//!   + the larger of: logits           (they live while the loss goes backward)
//!                    one block        (computed again, with what it needs for its own backward pass)
//!   + the process itself
//! ```
//! Bytes of an activation: e (2 in bf16, 4 in fp32). c hidden · f MLP width · q, kv attention widths · d vision width
use super::model::{Linear, ModelShape, Part};
use crate::profile::{FinetuningType, Profile, Stage};
use serde::Serialize;

/// The largest micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    pub rows: u64,
    /// Padded length of a row, in tokens.
    pub len: u64,
    /// Of all pictures.
    pub patches: u64,
}

/// What lies in main memory beside the tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Host {
    pub samples: u64,
    pub tokens_per_sample: f64,
    /// Patches of all pictures of an update, and of what is prepared ahead.
    pub patches_at_hand: f64,
}

/// Bytes, by what takes them; `total` is their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub weights: u64,
    /// The adapter (or, without one, what trained weights need beside themselves): gradients and AdamW's moments too.
    pub trained: u64,
    /// What the backward pass needs, and what a block takes beyond the logits' room.
    pub activations: u64,
    pub logits: u64,
    /// The process, its libraries and, on a CPU, the data; on a GPU the CUDA context and what the allocator cannot use.
    pub workspace: u64,
    pub total: u64,
}

/// A process with libtorch before it has a model (measured, x86-64, libtorch 2.11 for CPUs).
const PROCESS: u64 = 300 << 20;
/// CUDA context, cuBLAS' and cuDNN's workspaces (measured by others for an H100: 0.5 to 0.9 GB).
const CUDA: u64 = 900 << 20;
/// A sample that waits: its struct, the paths of its pictures, the grids.
const WAITING: f64 = 400.0;

/// Bytes of a number in frozen weights and activations, as the engine chooses (`setup::kind`).
pub fn element(p: &Profile, shape: &ModelShape, gpu: bool) -> u64 {
    match (p.bf16 || p.pure_bf16, gpu, shape.dtype.as_deref()) {
        (true, ..) => 2,
        (_, false, _) | (_, true, Some("float32")) => 4,
        _ => 2,
    }
}

/// Numbers that are trained.
pub fn trained_numbers(p: &Profile, shape: &ModelShape, saved_adapter: Option<u64>) -> u64 {
    if p.finetuning_type == FinetuningType::Full {
        return parts(p).into_iter().map(|part| shape.numbers_of(part)).sum();
    }
    let new = |l: &Linear| p.lora_rank as u64 * (l.inputs + l.outputs);
    saved_adapter.unwrap_or_else(|| shape.lora_targets(p).iter().map(new).sum())
}

/// What full fine-tuning trains.
fn parts(p: &Profile) -> Vec<Part> {
    let frozen = [
        (Part::Vision, p.freeze_vision_tower),
        (Part::Projector, p.freeze_multi_modal_projector),
        (Part::Language, p.freeze_language_model),
        (Part::Head, p.freeze_language_model),
    ];
    frozen.into_iter().filter(|(_, frozen)| !frozen).map(|(part, _)| part).collect()
}

impl Memory {
    pub fn of(
        p: &Profile,
        shape: &ModelShape,
        saved_adapter: Option<u64>,
        gpu: bool,
        batch: Batch,
        host: Host,
    ) -> Self {
        let e = element(p, shape, gpu);
        let full = p.finetuning_type == FinetuningType::Full;
        let trained = trained_numbers(p, shape, saved_adapter);
        // Bytes of a trained number, of its gradient, and of each of its moments.
        let t = if p.pure_bf16 { 2 } else { 4 };
        let (frozen, own) = if full { (shape.numbers() - trained, trained * t) } else { (shape.numbers(), 0) };
        let layer = Needs::new(p, shape, e);
        let (kept, peak, logits) = layer.of(p, shape, batch);
        let mut memory = Self {
            weights: frozen * e + own,
            trained: if full { 3 * trained * t } else { 4 * trained * t },
            activations: kept + peak.saturating_sub(logits),
            logits,
            workspace: 0,
            total: 0,
        };
        memory.workspace = if gpu {
            // Blocks of the caching allocator that fit nothing: a few per cent of what comes and goes.
            CUDA + (memory.activations + memory.logits) / 20
        } else {
            let pixels = host.patches_at_hand * shape.vision.patch_len as f64 * 4.0;
            PROCESS + (host.samples as f64 * (16.0 * host.tokens_per_sample + WAITING) + pixels) as u64
        };
        memory.total = memory.weights + memory.trained + memory.activations + memory.logits + memory.workspace;
        memory
    }
}

/// What the backward pass of a block needs, in bytes a token (language) or a patch (vision).
struct Needs {
    e: u64,
    language: u64,
    /// Beside that, while the block is computed.
    language_passing: u64,
    /// 0 where nothing is trained in the tower.
    vision: u64,
    vision_passing: u64,
    projector: u64,
    /// Copies in the activations' dtype of trained weights: of one block, of the head, and of all.
    casts: [u64; 3],
}

impl Needs {
    fn new(p: &Profile, shape: &ModelShape, e: u64) -> Self {
        let full = p.finetuning_type == FinetuningType::Full;
        let targets = if full { Vec::new() } else { shape.lora_targets(p) };
        let trains = |part| full && parts(p).contains(&part);
        let (c, f, d) = (shape.hidden, shape.intermediate, shape.vision.dim);
        let (q, kv) = shape.attention_widths();
        let (wide, mlp) = (d * shape.vision.merged, d * shape.vision.mlp_ratio);

        // ---- a language layer: two norms in fp32; q, k, v, their product and its logarithms; gate, silu, up
        let inputs = Inputs { p, e, targets: &targets };
        let mut language = 2 * 4 * c + e * (q + 2 * kv) + e * q + 4 * shape.heads + 3 * e * f;
        language += inputs.bytes(
            "language_model.layers.0.",
            trains(Part::Language),
            &[
                (&["q_proj", "k_proj", "v_proj"], c, false),
                (&["o_proj"], q, true),
                (&["gate_proj", "up_proj"], c, false),
                (&["down_proj"], f, false),
            ],
        );
        let on_mlp = targets.iter().any(|l| l.path.contains("gate_proj") || l.path.contains("up_proj"));
        let language_passing = if on_mlp { (12 + 2 * e) * f } else { 3 * e * f };

        // ---- a vision block: two norms; q, k, v and their product; fc1, its sigmoid
        let vision_trained = trains(Part::Vision) || targets.iter().any(|l| l.part == Part::Vision);
        let mut vision = 0;
        if vision_trained {
            vision = 2 * e * d + 4 * e * d + 2 * e * mlp;
            vision += inputs.bytes(
                "visual.blocks.0.",
                trains(Part::Vision),
                &[(&["qkv"], d, false), (&["proj"], d, true), (&["fc1"], d, false), (&["fc2"], mlp, false)],
            );
        }
        let projector_trained = trains(Part::Projector) || targets.iter().any(|l| l.part == Part::Projector);
        let cast = |part| if trains(part) && e < 4 && !p.pure_bf16 { e } else { 0 };
        let blocks = |part, blocks: u64| cast(part) * shape.numbers_of(part) / blocks.max(1);
        Self {
            e,
            language,
            language_passing,
            vision,
            vision_passing: 4 * e * mlp + 2 * e * d,
            projector: if projector_trained || vision_trained { (2 * e + 8) * d } else { 0 },
            casts: [
                blocks(Part::Language, shape.layers).max(blocks(Part::Vision, shape.vision.depth)),
                cast(Part::Language) * shape.vocab * c,
                blocks(Part::Language, 1)
                    + blocks(Part::Vision, 1)
                    + blocks(Part::Projector, 1)
                    + blocks(Part::Head, 1),
            ],
        }
        .with_wide(wide)
    }

    /// The merger's inner width is four patches; its activations are small beside a block's, but not nothing.
    fn with_wide(mut self, wide: u64) -> Self {
        self.vision_passing = self.vision_passing.max(self.e * wide);
        self
    }

    /// What is kept until the backward pass, the most that comes and goes beside it, and the logits' room.
    fn of(&self, p: &Profile, shape: &ModelShape, b: Batch) -> (u64, u64, u64) {
        let e = self.e;
        let textless = p.stage == Stage::Vision;
        let checkpointing = !p.disable_gradient_checkpointing && !textless;
        let cells = if textless { 0 } else { b.rows * b.len };
        let (c, d, tokens) = (shape.hidden, shape.vision.dim, b.patches / shape.vision.merged.max(1));

        // Padded rows have a mask, and with one keys and values are repeated for every head; it is kept in each layer.
        let (q, kv) = shape.attention_widths();
        let masked = b.rows > 1 || !b.len.is_multiple_of(8);
        let mask = if masked { e * (2 * (q - kv.min(q)) + b.len) } else { 0 };
        let block = self.language + mask;

        let mut kept = b.patches * shape.vision.patch_len * 4; // the pictures themselves
        kept += tokens * e * c + b.patches * self.projector;
        kept += cells * (3 * e * c + 8 * c + 8 * 5); // embeddings, the last layer's output and gradient, the last norm, ids
        let vision_blocks = b.patches * shape.vision.depth;
        let peak;
        if checkpointing {
            kept += cells * shape.layers * e * c + vision_blocks * e * d;
            let language = cells * (block + self.language_passing);
            peak = language.max(b.patches * (self.vision + self.vision_passing)) + self.casts[0];
            kept += self.casts[1];
        } else {
            kept += cells * shape.layers * block + vision_blocks * self.vision + self.casts[2];
            peak = (cells * self.language_passing).max(b.patches * self.vision_passing);
        }
        // The log-probabilities, their gradient and that of the logits, all in fp32; without checkpointing the logits too.
        let logits = cells * shape.vocab * (12 + if checkpointing { 0 } else { e });
        (kept, peak, logits)
    }
}

/// What linear layers keep of their inputs.
struct Inputs<'a> {
    p: &'a Profile,
    e: u64,
    targets: &'a [Linear],
}

impl Inputs<'_> {
    /// `groups`: layers that share an input, its width, and whether that input is kept anyway.
    fn bytes(&self, block: &str, full: bool, groups: &[(&[&str], u64, bool)]) -> u64 {
        let group = |(names, width, kept): &(&[&str], u64, bool)| {
            let on = |name: &&&str| self.targets.iter().any(|l| l.path.contains(block) && l.path.ends_with(**name));
            let adapters = names.iter().filter(on).count() as u64;
            let once = if *kept { 0 } else { width * self.e };
            let dropout = if self.p.lora_dropout > 0.0 { adapters * width } else { 0 };
            match (full, adapters, self.e) {
                (true, ..) => once,
                (_, 0, _) => 0,
                // An fp32 adapter takes an fp32 copy of its own; with dropout a mask beside it.
                (.., 2) if !self.p.pure_bf16 => adapters * width * 4 + dropout,
                (_, _, e) => once + dropout * 2 * e,
            }
        };
        groups.iter().map(group).sum()
    }
}
