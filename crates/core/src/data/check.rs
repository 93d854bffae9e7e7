//! `data check`: reads everything as strictly as it can be read, and lists what is wrong.

use super::parallel::in_order;
use super::prepare::Encoder;
use super::problem::{Fault, kind};
use super::{Dataset, ImageRef, Problem, Step, Watch};
use std::collections::BTreeMap;
use std::ops::Range;

/// Problems that a report keeps. With a wrong `media_dir` every sample has one, and 25 million would fill the memory.
const KEPT: usize = 100_000;

/// What a check found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct CheckReport {
    /// Samples looked at.
    pub samples: usize,
    /// False where the check was stopped: the report covers only the first `samples` of what was asked for.
    #[serde(skip_serializing_if = "is_true")]
    pub complete: bool,
    /// Samples without any problem.
    pub good: usize,
    pub pictures: usize,
    /// How many problems of each kind; all are counted.
    pub by_kind: BTreeMap<&'static str, usize>,
    /// In the order of the data set; a sample with two bad pictures stands here twice. The first 100,000; [`Step`] hands out
    /// all of them.
    pub problems: Vec<Problem>,
    /// What training accepts, as LLaMA-Factory does, but hardly anybody wants: how many of each kind …
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<&'static str, usize>,
    /// … and the first 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warned: Vec<Problem>,
}

/// Warnings that a report keeps: one says what to do for all.
const WARNED: usize = 100;

/// Checks samples `range`: structure, text, and every picture decoded to its last row; with an encoder, also the
/// number of tokens.
pub fn check(d: &Dataset, range: Range<usize>, encoder: Option<&Encoder<'_>>, watch: &mut Watch<'_>) -> CheckReport {
    let range = range.start.min(d.len())..range.end.min(d.len());
    let mut report = CheckReport::default();
    let work = |i: usize| sample(d, range.start + i, encoder);
    in_order(range.len(), work, |i, (pictures, problems, warnings)| {
        for warning in warnings {
            *report.warnings.entry(warning.kind).or_default() += 1;
            if report.warned.len() < WARNED {
                report.warned.push(warning);
            }
        }
        report.pictures += pictures;
        report.good += usize::from(problems.is_empty());
        report.samples = i + 1;
        for problem in &problems {
            *report.by_kind.entry(problem.kind).or_default() += 1;
        }
        let go_on = watch(Step { done: i + 1, total: range.len(), problems: &problems });
        let room = KEPT - report.problems.len();
        report.problems.extend(problems.into_iter().take(room));
        go_on
    });
    report.complete = report.samples == range.len();
    report
}

/// Written only where it says something.
pub(super) fn is_true(value: &bool) -> bool {
    *value
}

fn sample(d: &Dataset, index: usize, encoder: Option<&Encoder<'_>>) -> (usize, Vec<Problem>, Vec<Problem>) {
    let sample = match d.get(index) {
        Ok(sample) => sample,
        Err(problem) => return (0, vec![problem], Vec::new()),
    };
    let pictures = sample.images.len();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for image in &sample.images {
        match picture(image) {
            Err(fault) => problems.push(fault.at(index, sample.origin.clone())),
            Ok(warning) => warnings.extend(warning.map(|fault| fault.at(index, sample.origin.clone()))),
        }
    }
    if problems.is_empty()
        && let Some(encoder) = encoder
    {
        problems.extend(encoder.encode(index, sample).err());
    }
    (pictures, problems, warnings)
}

/// Decodes one picture completely; a warning where it loses what it shows on the way to the model.
fn picture(image: &ImageRef) -> Result<Option<Fault>, Fault> {
    let bytes = image.load()?;
    let (_, clipped) = crate::vision::check_clipping(&bytes)
        .map_err(|e| Fault::new(e.kind(), format!("picture {}: {e}", image.describe())))?;
    let warning = format!(
        "picture {}: 16-bit grey, and the {:.0} % of its pixels above 255 become white, as in LLaMA-Factory; \
         `lightbox data slices` makes an 8-bit picture of it through a window",
        image.describe(),
        (clipped * 100.0).max(1.0)
    );
    Ok((clipped > 0.0).then(|| Fault::new(kind::IMAGE_CLIPPED, warning)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_data::{captions, open};
    use std::ops::ControlFlow;

    #[test]
    fn problems_arrive_with_the_step_that_found_them_and_a_stopped_check_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.parquet");
        captions(&path, 200, 50);
        let d = open(&path);
        let mut seen = Vec::new();
        let mut watch = |step: Step<'_>| {
            assert_eq!(step.total, 200);
            assert!(step.problems.iter().all(|p| p.index + 1 == step.done));
            seen.extend_from_slice(step.problems);
            if step.done == 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let report = check(&d, 0..d.len(), None, &mut watch);
        assert_eq!((report.samples, report.complete), (100, false));
        assert_eq!(report.problems, seen);
        // 10 empty captions, 4 missing pictures, 2 rows with both.
        assert_eq!((report.problems.len(), report.good), (12, 88));
        assert_eq!(serde_json::to_value(&report).unwrap()["complete"], false);

        let whole = check(&d, 0..d.len(), None, &mut |_| ControlFlow::Continue(()));
        assert!(whole.complete && serde_json::to_value(&whole).unwrap().get("complete").is_none());
    }
}
