//! Where a module's tensors come from: a model folder, or the initialisation of a new model.

use crate::weights::Weights;
use anyhow::Result;
use lightbox_core::seed;
use tch::{Device, Kind, Tensor};

/// How a tensor of a new model begins (transformers' `_init_weights`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// normal(0, `initializer_range`)
    Normal,
    Zeros,
    Ones,
}

pub enum Source {
    Files(Weights),
    /// `train_from_scratch`: every tensor is a pure function of the seed and its own name.
    Scratch {
        seed: u64,
        std: f64,
    },
    /// The files are asked for names and shapes and nothing is read: a model that takes no memory and computes nothing.
    Shapes(Weights),
}

pub struct Loader {
    pub source: Source,
    /// The dtype that activations and frozen weights have.
    pub kind: Kind,
    pub device: Device,
    /// Weights that are trained themselves (full fine-tuning), by Hub name: kept in fp32 whatever `kind` is.
    pub trained: Box<dyn Fn(&str) -> bool>,
}

impl Loader {
    /// # Errors
    /// A missing tensor or another shape, with file and name.
    pub fn get(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let kind = if (self.trained)(name) { Kind::Float } else { self.kind };
        match &self.source {
            Source::Files(weights) => weights.get(name, shape, kind, self.device),
            // Zeros of stride 0: one number, whatever the shape.
            Source::Shapes(weights) => {
                weights.check(name, shape)?;
                Ok(Tensor::zeros([1], (kind, self.device)).expand(shape, false))
            }
            Source::Scratch { seed, std } => {
                let mut t = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
                match init {
                    Init::Zeros => {}
                    Init::Ones => t = t.ones_like(),
                    Init::Normal => {
                        tch::manual_seed(seed::at(*seed, name, &[]) as i64);
                        t = t.normal_(0.0, *std);
                    }
                }
                Ok(t.to_device(self.device).to_kind(kind))
            }
        }
    }

    /// True when both tensors are in the file and are not the same numbers.
    pub fn differs(&self, a: &str, b: &str) -> Result<bool> {
        match &self.source {
            Source::Files(w) | Source::Shapes(w) if w.contains(a) && w.contains(b) => {
                Ok(!w.get_any(a)?.equal(&w.get_any(b)?))
            }
            _ => Ok(false),
        }
    }
}
