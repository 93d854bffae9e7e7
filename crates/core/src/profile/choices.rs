//! The keys whose value is one of a few words.
use super::setting::{Kind, Setting, read_bool};
use crate::data::OnBad;
use crate::runs::schedule::SchedulerKwargs;
use serde_yaml::Value;
use std::fmt;

/// Declares an enum, its words in a profile, and its [`Setting`].
macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $vdoc])* $variant),+ }

        impl $name {
            /// The word in a profile.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("{word:?} is not allowed; needs {}", Self::KIND)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Setting for $name {
            const KIND: Kind = Kind::Choice(&[$($word),+]);
            fn read(value: &Value) -> Option<Self> {
                let find = |word: &str| word.parse().ok();
                // An unquoted `no` is a boolean to YAML 1.1 (LLaMA-Factory then stops with "False is not a valid
                // SaveStrategy"); where `no` and `all` are words of the key, the booleans mean them.
                value.as_str().and_then(find).or_else(|| find(if read_bool(value)? { "all" } else { "no" }))
            }
            fn write(&self) -> Value {
                Value::String(self.as_str().to_owned())
            }
        }
    )+};
}

choices! {
    /// What is trained.
    Stage {
        /// Supervised fine-tuning: conversations, loss on the answers.
        Sft = "sft",
        /// Lightbox's own: teaches a new vision tower to name attributes (column `image_labels`).
        Vision = "vision",
    }
    /// Which weights are trained.
    FinetuningType {
        /// Low-rank adapters beside frozen weights.
        Lora = "lora",
        /// The weights themselves, less the frozen parts.
        Full = "full",
    }
    /// How a conversation becomes text.
    Template {
        /// Qwen2-VL's, with the default system text "You are a helpful assistant."
        Qwen2Vl = "qwen2_vl",
    }
    /// Attention kernel.
    FlashAttn {
        /// The best the device has.
        Auto = "auto",
        /// PyTorch's scaled_dot_product_attention.
        Sdpa = "sdpa",
    }
    /// The course of the learning rate; formulas in [`crate::runs::schedule`].
    SchedulerType {
        Linear = "linear",
        Cosine = "cosine",
        CosineWithRestarts = "cosine_with_restarts",
        Polynomial = "polynomial",
        Constant = "constant",
        ConstantWithWarmup = "constant_with_warmup",
        InverseSqrt = "inverse_sqrt",
        CosineWithMinLr = "cosine_with_min_lr",
        CosineWarmupWithMinLr = "cosine_warmup_with_min_lr",
        WarmupStableDecay = "warmup_stable_decay",
    }
    /// When something is done while training.
    IntervalStrategy { No = "no", Steps = "steps", Epoch = "epoch" }
    /// Optimizer. Both are AdamW with the same mathematics; "fused" asks for one kernel over all tensors.
    Optim { AdamwTorchFused = "adamw_torch_fused", AdamwTorch = "adamw_torch" }
    /// Which input tokens are counted (`include_num_input_tokens_seen`; true means all, false no).
    TokenCount {
        No = "no",
        /// With padding, as LLaMA-Factory counts for `true`.
        All = "all",
        NonPadding = "non_padding",
    }
    /// How several data sets are mixed.
    MixStrategy {
        /// One after the other; the order of an epoch shuffles them together.
        Concat = "concat",
        /// In turns, until the first of them has ended.
        InterleaveUnder = "interleave_under",
        /// In turns; those that end begin again, until every one has ended once.
        InterleaveOver = "interleave_over",
        /// In turns; those that have ended drop out, so that every sample comes once.
        InterleaveOnce = "interleave_once",
    }
    /// Experiment trackers: none; the run directory holds everything.
    ReportTo { None = "none" }
    /// Weight type while generating.
    InferDtype { Auto = "auto", Float16 = "float16", Bfloat16 = "bfloat16", Float32 = "float32" }
    /// How the losses of an update's micro-batches are put together.
    LossWeighting {
        /// LLaMA-Factory's: the mean over micro-batches of each one's token mean.
        MicroBatch = "micro_batch",
        /// Every answer token of the update weighs the same.
        Token = "token",
    }
}

impl Setting for OnBad {
    const KIND: Kind = Kind::Choice(&["skip", "refuse"]);
    fn read(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "skip" => Some(Self::Skip),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }
    fn write(&self) -> Value {
        Value::from(match self {
            Self::Skip => "skip",
            Self::Refuse => "refuse",
        })
    }
}

/// Where the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// The first GPU if there is one, else the CPU.
    Auto,
    Cpu,
    /// The GPU with this index among the visible ones.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("{text:?} is not a device; needs {}", Kind::Device)),
        }
    }
}

impl Setting for Device {
    const KIND: Kind = Kind::Device;
    fn read(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for SchedulerKwargs {
    const KIND: Kind = Kind::SchedulerKwargs;
    fn read(value: &Value) -> Option<Self> {
        match value {
            // transformers reads JSON from a text here.
            Value::String(text) => serde_yaml::from_str(text).ok(),
            Value::Mapping(_) => serde_yaml::from_value(value.clone()).ok(),
            _ => None,
        }
    }
    fn write(&self) -> Value {
        // Numbers and words only: this cannot fail.
        serde_yaml::to_value(self).unwrap_or_default()
    }
}

/// A text that must not be shown, logged or written: an access token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Setting for Secret {
    const KIND: Kind = Kind::Text;
    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(Self)
    }
    /// Never written: profiles are copied into run folders.
    fn write(&self) -> Value {
        Value::Null
    }
}
