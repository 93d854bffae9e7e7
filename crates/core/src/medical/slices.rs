//! `lightbox data slices`: sources → pictures, a table of them, a data set if a question is put, a contact sheet.
//!
//! ```text
//! images/<kind>-<hash>/0000.png   one folder a series
//! slices.jsonl                    a line for each picture ([`super::row::Row`])
//! <name>.jsonl, dataset_info.json with a question: LLaMA-Factory's data set
//! .slices.journal                 what is done: an interrupted run goes on, a finished one sees that nothing is to do
//! ```
//! A picture gets its name when it is whole, and its line in the journal after that; a picture that the journal names is
//! checked before it is believed.

mod make;
mod out;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use anyhow::anyhow;
use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;
use serde::Serialize;

use super::Fault;
use super::conversations::Conversations;
use super::nifti::Axis;
use super::picture::PictureFormat;
use super::read::{Reader, SOURCE};
use super::scan::{Origin, Scan, Series, Slice, scan};
use super::sheet;
use super::window::WindowChoice;
use crate::data::questions::{Asked, Questions};
use crate::vision::Rgb8;
use make::make;
use out::{Out, TABLE};

/// What to make of which files.
#[derive(Debug, Clone, Default)]
pub struct SliceOptions {
    /// Files and folders.
    pub sources: Vec<PathBuf>,
    /// Where pictures and table go; without it nothing is written ([`Self::sheet`] alone).
    pub out: Option<PathBuf>,
    pub window: WindowChoice,
    /// Of volumes.
    pub axis: Axis,
    /// Slices of each series, from 0, the end not included.
    pub range: Range<usize>,
    /// Every n-th of these.
    pub every: usize,
    /// Frames of files with several.
    pub frames: Range<usize>,
    /// Most pixels of a side.
    pub size: Option<u32>,
    pub format: PictureFormat,
    /// DICOM keywords to copy into the table, and `source` for the source's file name.
    pub keep: Vec<String>,
    /// With questions, which are templates, a data set is written; the answer is a template as well, or empty.
    pub questions: Option<Questions>,
    /// For drawing questions.
    pub question_seed: u64,
    pub answer: Option<String>,
    /// The data set's name in dataset_info.json.
    pub name: String,
    pub sheet: bool,
    /// Replace other slices in `out`, and another entry of that name.
    pub overwrite: bool,
}

/// A file, or a frame of one, that could not be used.
#[derive(Debug, Clone, Serialize)]
pub struct Bad {
    pub file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<usize>,
    pub kind: &'static str,
    pub reason: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// 0 of 0 while the sources are looked through.
    pub done: usize,
    pub total: usize,
    pub bad: Option<&'a Bad>,
}

/// Hears of each slice; `Break` ends it there.
pub type Watch<'a> = dyn FnMut(Done<'_>) -> ControlFlow<()> + 'a;

#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    #[error("stopped after {done} of {total} pictures; what is done is kept: the same command goes on from there")]
    Stopped { done: usize, total: usize },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<std::io::Error> for SliceError {
    fn from(e: std::io::Error) -> Self {
        Self::Other(e.into())
    }
}

/// The closing summary.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SliceReport {
    pub series: Vec<SeriesReport>,
    /// Pictures made, those of an earlier run included.
    pub pictures: usize,
    /// Of these, what an earlier run had done.
    pub earlier: usize,
    pub bad: Vec<Bad>,
    /// Files in folders that are nothing for this command.
    pub passed_over: usize,
    pub duplicates: usize,
    /// What a user should know, with the number of pictures it holds for.
    pub notes: BTreeMap<String, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_info: Option<PathBuf>,
    /// Rows of the data set, and pictures that are not in it because their row lacks what question or answer name.
    pub samples: usize,
    pub left_out: usize,
    /// Which questions the samples were given, as they were written down: before values stood for `{names}`.
    #[serde(skip_serializing_if = "Asked::is_empty")]
    pub questions: Asked,
    #[serde(skip)]
    pub sheet: Option<Rgb8>,
}

/// One series.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SeriesReport {
    pub name: String,
    pub kind: &'static str,
    pub modality: Option<String>,
    pub body_part: Option<String>,
    pub plane: Option<&'static str>,
    /// Slices that it has, and that were chosen.
    pub slices: usize,
    pub chosen: usize,
    /// The window of its first picture.
    pub window: Option<super::row::WindowRow>,
}

/// Makes pictures of slices.
///
/// # Errors
/// [`SliceError::Stopped`]; sources that are not there, settings that do not fit, a disk that cannot be written. Bad files are
/// in the report.
pub fn slices(o: &SliceOptions, watch: &mut Watch<'_>) -> Result<SliceReport, SliceError> {
    let keep = kept(&o.keep)?;
    let conversations = Conversations::of(o)?;
    let mut stopped = false;
    let found = scan(&o.sources, o.axis, &mut |_| {
        stopped |= watch(Done { done: 0, total: 0, bad: None }).is_break();
        !stopped
    })?;
    if stopped {
        return Err(SliceError::Stopped { done: 0, total: 0 });
    }
    let plan: Vec<(usize, usize)> = plan(&found.series, o);
    let mut report = summary(&found, &plan, o);
    for bad in &report.bad {
        if watch(Done { done: 0, total: plan.len(), bad: Some(bad) }).is_break() {
            return Err(SliceError::Stopped { done: 0, total: plan.len() });
        }
    }
    if plan.is_empty() && report.bad.is_empty() {
        return Err(anyhow!(
            "there is no DICOM, NIfTI or 16-bit picture in these sources; {} other files were passed over",
            found.passed_over
        )
        .into());
    }
    let mut out = o.out.as_deref().map(|out| Out::open(out, o, &found)).transpose()?;
    let thumbnails = if o.sheet { sheet::chosen(plan.len()) } else { Vec::new() };
    let mut sheet_pictures = Vec::new();
    let mut reader = Reader::new(keep);
    let mut rows = Vec::with_capacity(plan.len());
    for (n, &(s, i)) in plan.iter().enumerate() {
        let (series, wanted_thumbnail) = (&found.series[s], thumbnails.binary_search(&n).is_ok());
        let earlier = out.as_mut().and_then(|out| out.earlier(n));
        let made = match earlier {
            Some(entry) => {
                report.earlier += 1;
                let thumbnail =
                    wanted_thumbnail.then(|| out.as_ref().and_then(|out| out.picture(&entry.row))).flatten();
                Ok((entry, thumbnail))
            }
            None if wanted_thumbnail || out.is_some() => {
                let made = make(&mut reader, series, i, n, o);
                if let (Some(out), Ok((entry, picture))) = (&mut out, &made) {
                    out.write(entry, picture, o.format)?;
                }
                made.map(|(entry, picture)| (entry, Some(picture)))
            }
            None => continue, // a sheet alone: only its pictures are made
        };
        let mut bad = None;
        match made {
            Ok((entry, thumbnail)) => {
                report.series[s].window.get_or_insert_with(|| entry.row.window.clone());
                for note in entry.notes {
                    *report.notes.entry(note).or_default() += 1;
                }
                sheet_pictures.extend(thumbnail.filter(|_| wanted_thumbnail).map(sheet::thumbnail));
                rows.push(entry.row);
            }
            Err(Fault { kind, reason }) => {
                let slice = &series.slices[i];
                let frame = (series.frames > 1).then_some(slice.frame);
                report.bad.push(Bad { file: slice.file.to_path_buf(), frame, kind, reason });
                bad = report.bad.last();
            }
        }
        if watch(Done { done: n + 1, total: plan.len(), bad }).is_break() {
            return Err(SliceError::Stopped { done: n + 1, total: plan.len() });
        }
    }
    report.pictures = rows.len();
    if o.sheet && !sheet_pictures.is_empty() {
        report.sheet = Some(sheet::sheet(&sheet_pictures));
    }
    if let Some(out) = out {
        out.finish(&rows, conversations.as_ref(), o, &mut report)?;
    }
    Ok(report)
}

/// Elements of --keep.
fn kept(names: &[String]) -> anyhow::Result<Vec<(String, Tag)>> {
    let tag = |name: &String| {
        if name == SOURCE {
            return Ok((name.clone(), Tag(0, 0)));
        }
        let entry = StandardDataDictionary.by_name(name);
        let entry = entry.ok_or_else(|| {
            anyhow!("--keep {name}: no DICOM keyword (they are written like PatientAge), and not {SOURCE}")
        })?;
        Ok((name.clone(), entry.tag()))
    };
    names.iter().map(tag).collect()
}

/// Which slices, as (series, slice), in the order in which they are read.
fn plan(series: &[Series], o: &SliceOptions) -> Vec<(usize, usize)> {
    let wanted = |series: &Series, i: usize, slice: &Slice| {
        let number = if matches!(series.origin, Origin::Nifti(..)) { slice.index } else { i };
        let of_frame = series.frames == 1 || o.frames.contains(&slice.frame);
        of_frame && o.range.contains(&number) && (number - o.range.start).is_multiple_of(o.every.max(1))
    };
    let all = series.iter().enumerate().flat_map(|(s, series)| {
        series.slices.iter().enumerate().filter(move |(i, slice)| wanted(series, *i, slice)).map(move |(i, _)| (s, i))
    });
    all.collect()
}

fn summary(found: &Scan, plan: &[(usize, usize)], o: &SliceOptions) -> SliceReport {
    let series = found.series.iter().enumerate().map(|(s, series)| SeriesReport {
        name: series.name.clone(),
        kind: series.kind(),
        modality: series.modality.clone(),
        body_part: series.body_part.clone(),
        plane: series.plane,
        slices: series.slices.len(),
        chosen: plan.iter().filter(|(of, _)| *of == s).count(),
        window: None,
    });
    let bad = found.bad.iter().map(|(file, fault)| Bad {
        file: file.clone(),
        frame: None,
        kind: fault.kind,
        reason: fault.reason.clone(),
    });
    SliceReport {
        series: series.collect(),
        bad: bad.collect(),
        passed_over: found.passed_over,
        duplicates: found.duplicates,
        table: o.out.as_ref().map(|out| out.join(TABLE)),
        ..SliceReport::default()
    }
}
