//! several models on the same samples. No libtorch and no model in here.
//!
//! [`predictions`] is the file, [`similarity`] BLEU and ROUGE, [`classes`] what an answer names, [`interval`] how sure a mean

pub mod classes;
pub mod comparison;
pub mod interval;
pub mod journal;
pub mod measures;
pub mod predictions;
pub mod similarity;
