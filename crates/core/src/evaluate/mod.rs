//! How good answers are: measures over the files of `lightbox predict` (and LLaMA-Factory's), and reports that compare
//! several models on the same samples. No libtorch and no model in here.
//!
//! [`predictions`] is the file, [`similarity`] BLEU and ROUGE, [`classes`] what an answer names, [`interval`] how sure a mean
//! is. [`measures`] puts them together for one model, [`comparison`] for several, and [`report`] writes what people read.
//! [`table`] is for answers without labels.

pub mod classes;
pub mod comparison;
pub mod interval;
pub mod journal;
pub mod measures;
pub mod predictions;
pub mod report;
pub mod similarity;
pub mod table;
mod words;
