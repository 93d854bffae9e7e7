//! `data check`: reads everything as strictly as it can be read, and lists what is wrong.

use super::parallel::in_order;
use super::prepare::Encoder;
use super::problem::Fault;
use super::{Dataset, ImageRef, Problem};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

/// What a check found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct CheckReport {
    pub samples: usize,
    /// Samples without any problem.
    pub good: usize,
    pub pictures: usize,
    /// How many problems of each kind.
    pub by_kind: BTreeMap<&'static str, usize>,
    /// In the order of the data set; a sample with two bad pictures stands here twice.
    pub problems: Vec<Problem>,
}

/// Checks samples `range`: structure, text, and every picture decoded to its last row; with an encoder, also the
/// number of tokens. `progress(done, total)` after each sample.
pub fn check(
    d: &Dataset,
    range: Range<usize>,
    encoder: Option<&Encoder<'_>>,
    progress: &mut dyn FnMut(usize, usize),
) -> CheckReport {
    let range = range.start.min(d.len())..range.end.min(d.len());
    let mut report = CheckReport { samples: range.len(), ..CheckReport::default() };
    let work = |i: usize| sample(d, range.start + i, encoder);
    in_order(range.len(), work, |i, (pictures, problems)| {
        report.pictures += pictures;
        report.good += usize::from(problems.is_empty());
        for problem in problems {
            *report.by_kind.entry(problem.kind).or_default() += 1;
            report.problems.push(problem);
        }
        progress(i + 1, range.len());
        ControlFlow::Continue(())
    });
    report
}

fn sample(d: &Dataset, index: usize, encoder: Option<&Encoder<'_>>) -> (usize, Vec<Problem>) {
    let sample = match d.get(index) {
        Ok(sample) => sample,
        Err(problem) => return (0, vec![problem]),
    };
    let pictures = sample.images.len();
    let bad = sample.images.iter().filter_map(|image| picture(image).err());
    let mut problems: Vec<Problem> = bad.map(|fault| fault.at(index, sample.origin.clone())).collect();
    if problems.is_empty()
        && let Some(encoder) = encoder
    {
        problems.extend(encoder.encode(index, sample).err());
    }
    (pictures, problems)
}

/// Decodes one picture completely.
fn picture(image: &ImageRef) -> Result<(), Fault> {
    let bytes = image.load()?;
    crate::vision::check(&bytes)
        .map(|_| ())
        .map_err(|e| Fault::new(e.kind(), format!("picture {}: {e}", image.describe())))
}
