//! `data check`: reads everything as strictly as it can be read, and lists what is wrong. What repeats an earlier sample is told
//! from it by a hash, 20 to 40 bytes a sample in memory. A copy without bad samples is made by [`super::select::fix()`].

use super::journal::{Finding, Journal, in_order_kept};
use super::prepare::Encoder;
use super::problem::{Fault, kind};
use super::select::{Key, Twins, picture_key, sample_key};
use super::{Dataset, ImageRef, Problem, Step, Watch};
use crate::text::{Conversation, Message, Role};
use crate::vision::Content;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

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
/// Pixels of a side that become one token of Qwen2-VL: patches of 14, two by two.
const TINY: u32 = 28;

/// Checks samples `range`: structure, text, and every picture decoded to its last row; with an encoder, also the
/// number of tokens. `journal` keeps what was found of each.
pub fn check(
    d: &Dataset,
    range: Range<usize>,
    encoder: Option<&Encoder<'_>>,
    journal: Option<&mut Journal>,
    watch: &mut Watch<'_>,
) -> CheckReport {
    check_each(d, range, encoder, journal, watch, &mut |_, _, _| ControlFlow::Continue(()))
}

/// Gets every sample's index, problems and warnings.
pub(super) type Each<'a> = dyn FnMut(usize, &[Problem], &[Problem]) -> ControlFlow<()> + 'a;

/// [`check`], and `each` gets every sample's index, problems and warnings.
pub(super) fn check_each(
    d: &Dataset,
    range: Range<usize>,
    encoder: Option<&Encoder<'_>>,
    journal: Option<&mut Journal>,
    watch: &mut Watch<'_>,
    each: &mut Each<'_>,
) -> CheckReport {
    let range = range.start.min(d.len())..range.end.min(d.len());
    let mut report = CheckReport::default();
    let mut seen = Twins::default();
    let work = |i: usize| sample(d, range.start + i, encoder);
    in_order_kept(journal, range.len(), work, |i, Checked { pictures, problems, mut warnings, key }| {
        let index = range.start + i;
        // 2³² samples are more than an order of samples can have.
        if let Some(first) = key.and_then(|key| seen.find_or_add(key, index as u32)) {
            let reason = format!("the same conversation and pictures as {}", d.origin(first as usize));
            warnings.push(Fault::new(kind::DUPLICATE, reason).at(index, d.origin(index)));
        }
        let go_on = each(index, &problems, &warnings);
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
        let watched = watch(Step { done: i + 1, total: range.len(), problems: &problems });
        let room = KEPT - report.problems.len();
        report.problems.extend(problems.into_iter().take(room));
        if go_on.is_break() { go_on } else { watched }
    });
    report.complete = report.samples == range.len();
    report
}

/// Written only where it says something.
pub(super) fn is_true(value: &bool) -> bool {
    *value
}

/// What one sample was found to be.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Checked {
    pictures: usize,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// `None` where something is wrong.
    key: Option<Key>,
}

impl Finding for Checked {
    fn is_fault(&self) -> bool {
        !self.problems.is_empty() // of warnings a set may have one for every sample
    }
}

fn sample(d: &Dataset, index: usize, encoder: Option<&Encoder<'_>>) -> Checked {
    let sample = match d.get(index) {
        Ok(sample) => sample,
        Err(problem) => return Checked { problems: vec![problem], ..Checked::default() },
    };
    let mut checked = Checked { pictures: sample.images.len(), ..Checked::default() };
    let mut keys = Vec::new();
    for image in &sample.images {
        match picture(image, &mut keys) {
            Err(fault) => checked.problems.push(fault.at(index, sample.origin.clone())),
            Ok(warnings) => {
                checked.warnings.extend(warnings.into_iter().map(|fault| fault.at(index, sample.origin.clone())));
            }
        }
    }
    checked.warnings.extend(empty_question(&sample.conversation).map(|fault| fault.at(index, sample.origin.clone())));
    if checked.problems.is_empty() {
        checked.key = Some(sample_key(&sample.conversation, &keys));
        if let Some(encoder) = encoder {
            checked.problems.extend(encoder.encode(index, sample).err());
        }
    }
    checked
}

fn empty_question(conversation: &Conversation) -> Option<Fault> {
    let empty = |message: &Message| message.role == Role::User && message.content.trim().is_empty();
    let turn = conversation.messages.iter().position(empty)?;
    Some(Fault::new(
        kind::EMPTY_QUESTION,
        format!("turn {} is a question without text and without a picture", turn + 1),
    ))
}

/// Decodes one picture completely; warnings where it shows little or loses what it shows on the way to the model.
fn picture(image: &ImageRef, keys: &mut Vec<Key>) -> Result<Vec<Fault>, Fault> {
    let bytes = image.load();
    keys.push(picture_key(image, bytes.as_deref()));
    let Content { info, clipped, blank } = crate::vision::check_content(&bytes?)
        .map_err(|e| Fault::new(e.kind(), format!("picture {}: {e}", image.describe())))?;
    let mut warnings = Vec::new();
    let mut warn = |kind, what: &str| warnings.push(Fault::new(kind, format!("picture {}: {what}", image.describe())));
    if clipped > 0.0 {
        let share = (clipped * 100.0).max(1.0);
        warn(
            kind::IMAGE_CLIPPED,
            &format!(
                "16-bit grey, and the {share:.0} % of its pixels above 255 become white, as in LLaMA-Factory; \
                 `lightbox data slices` makes an 8-bit picture of it through a window"
            ),
        );
    }
    if info.width.min(info.height) < TINY {
        let what = format!("{} x {} pixels; one token of the model shows {TINY} x {TINY}", info.width, info.height);
        warn(kind::IMAGE_TINY, &what);
    }
    if blank {
        warn(kind::IMAGE_BLANK, "all its pixels are the same");
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_data::{captions, chat, jsonl, open};
    use serde_json::json;

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
        let report = check(&d, 0..d.len(), None, None, &mut watch);
        assert_eq!((report.samples, report.complete), (100, false));
        assert_eq!(report.problems, seen);
        // 10 empty captions, 4 missing pictures, 2 rows with both.
        assert_eq!((report.problems.len(), report.good), (12, 88));
        assert_eq!(serde_json::to_value(&report).unwrap()["complete"], false);

        let whole = check(&d, 0..d.len(), None, None, &mut |_| ControlFlow::Continue(()));
        assert!(whole.complete && serde_json::to_value(&whole).unwrap().get("complete").is_none());
    }

    #[test]
    fn what_shows_nothing_or_says_nothing_new_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let png = |name: &str, side: u32, value: fn(u32) -> u8| {
            let picture = image::RgbImage::from_fn(side, side, |x, _| image::Rgb([value(x), 0, 0]));
            picture.save(dir.path().join(name)).unwrap();
        };
        png("good.png", 40, |x| x as u8);
        png("again.png", 40, |x| x as u8);
        png("tiny.png", 20, |x| x as u8);
        png("blank.png", 40, |_| 7);
        let about = |image: &str| json!({"messages": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "A."}], "images": [image]});
        let rows = [
            about("good.png"),
            about("again.png"), // another name, the same bytes
            about("tiny.png"),
            about("blank.png"),
            chat(" \n", "An answer to nothing."),
            chat("?", "A."),
            chat("?", "A."),
            about("gone.png"),
            about("gone.png"), // a problem, and not twice
        ];
        let d = open(&jsonl(dir.path(), &rows));
        let report = check(&d, 0..d.len(), None, None, &mut |_| ControlFlow::Continue(()));
        let warned: Vec<(usize, &str)> = report.warned.iter().map(|warning| (warning.index, warning.kind)).collect();
        let expected = [
            (1, kind::DUPLICATE),
            (2, kind::IMAGE_TINY),
            (3, kind::IMAGE_BLANK),
            (4, kind::EMPTY_QUESTION),
            (6, kind::DUPLICATE),
        ];
        assert_eq!(warned, expected);
        assert_eq!(report.by_kind, [(kind::IMAGE_MISSING, 2)].into());
        assert!(report.warned[0].reason.contains("d.jsonl:1"), "{}", report.warned[0].reason);
        assert!(expected.iter().all(|(_, kind)| kind::WARNINGS.contains(kind)));
    }
}
