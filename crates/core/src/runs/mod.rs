//! What a training run computes beside the model and leaves on disk.
pub mod schedule;
