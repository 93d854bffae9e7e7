//! `data select`: chosen rows as a data set of their own, or as the parts of a split.

mod groups;
mod harm;
mod rows;

use crate::rig::{data, s};
use std::path::Path;
use std::process::Output;

fn select(dir: &Path, out: &Path, more: &[&str]) -> Output {
    data(["select", "d", "--dataset-dir", s(dir), "--out", s(out), "--json"].iter().chain(more))
}
