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

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::conversations::Conversations;
use super::nifti::Axis;
use super::picture::{Picture, PictureFormat};
use super::read::{Reader, SOURCE};
use super::row::Row;
use super::scan::{Origin, Scan, Series, Slice, scan};
use super::sheet;
use super::window::WindowChoice;
use super::{Fault, Values};
use crate::data::questions::{Asked, Questions};
use crate::data::{caption_entry, look, register, sync_file_system};
use crate::fs;
use crate::vision::{self, Rgb8};

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

/// A line of the journal.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Place in the plan.
    n: usize,
    notes: Vec<String>,
    row: Row,
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
                make(&mut reader, series, i, n, o).and_then_write(&mut out, o)?
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

type Made = Result<(Entry, Option<Picture>), Fault>;

/// A picture that is made but not written.
struct Fresh(Result<(Entry, Picture), Fault>);

impl Fresh {
    /// Writes it where there is a folder to write to.
    fn and_then_write(self, out: &mut Option<Out>, o: &SliceOptions) -> anyhow::Result<Made> {
        Ok(match self.0 {
            Err(fault) => Err(fault),
            Ok((entry, picture)) => {
                if let Some(out) = out {
                    out.write(&entry, &picture, o.format)?;
                }
                Ok((entry, Some(picture)))
            }
        })
    }
}

fn make(reader: &mut Reader, series: &Series, i: usize, n: usize, o: &SliceOptions) -> Fresh {
    let slice = &series.slices[i];
    let mut make = || -> Result<(Entry, Picture), Fault> {
        let plane = reader.plane(series, slice)?;
        let colour = matches!(plane.values, Values::Rgb(_));
        let view = reader.view(series, slice, &o.window, colour)?;
        let picture = Picture::of(plane, &view.window, view.inverted);
        let before = picture.size;
        let (picture, resampled) = picture.shaped(series.pixel_mm, o.size)?;
        let mut notes: Vec<String> = view.notes.iter().map(|&note| note.to_owned()).collect();
        if resampled {
            notes.push("made_square".to_owned());
        }
        let volume = matches!(series.origin, Origin::Nifti(..));
        let (slice_number, slices) = match &series.origin {
            Origin::Nifti(_, cut) => (slice.index, cut.slices),
            _ => (i, series.slices.len()),
        };
        let stem = if volume && series.frames > 1 {
            format!("{:04}-{:04}", slice.frame, slice.index)
        } else {
            format!("{slice_number:04}")
        };
        let round = |v: f64| (v * 1000.0).round() / 1000.0;
        let row = Row {
            image: format!("images/{}/{stem}.{}", series.name, o.format.extension()),
            series: series.id.clone(),
            kind: series.kind().to_owned(),
            modality: series.modality.clone(),
            body_part: series.body_part.clone(),
            plane: series.plane.map(str::to_owned),
            slice: slice_number,
            slices,
            frame: (series.frames > 1).then_some(slice.frame),
            position_mm: slice.position_mm.map(round),
            width: picture.size.width,
            height: picture.size.height,
            pixel_mm: series
                .pixel_mm
                .map(|[_, columns]| round(columns * f64::from(before.width) / f64::from(picture.size.width))),
            window: view.window_row,
            display: if volume { "radiological" } else { "as stored" }.to_owned(),
            resampled,
            burned_in: view.burned_in,
            kept: view.kept,
        };
        Ok((Entry { n, notes, row }, picture))
    };
    Fresh(make())
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

const TABLE: &str = "slices.jsonl";
const JOURNAL: &str = ".slices.journal";

/// The output folder of a run.
struct Out {
    folder: PathBuf,
    journal: fs::Appender,
    earlier: BTreeMap<usize, Entry>,
    _ours: std::fs::File,
}

impl Out {
    fn open(folder: &Path, o: &SliceOptions, found: &Scan) -> anyhow::Result<Self> {
        if fs::safe_file_name(&o.name) != o.name || o.name.contains(',') || o.name == "slices" {
            bail!(
                "--name \"{}\": use letters, digits, '.', '_' and '-' only, and not \"slices\", which is the table",
                o.name
            );
        }
        let images = folder.join("images");
        fs::create_dir_all(&images)?;
        // Not the folder itself: that lock belongs to whoever changes its dataset_info.json.
        let ours = register::lock(&images, false)?
            .ok_or_else(|| anyhow!("another command is writing to {}", folder.display()))?;
        let path = folder.join(JOURNAL);
        let head = format!("{}\n", json!({"version": 1, "fingerprint": fingerprint(o, found)?}));
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        let same = text.starts_with(&head);
        let foreign = text.is_empty() && std::fs::read_dir(&images).is_ok_and(|mut entries| entries.next().is_some());
        if foreign || (!same && !o.overwrite && (!text.is_empty() || folder.join(TABLE).exists())) {
            let advice = if foreign { "" } else { ", or replace them with --overwrite" };
            bail!("{} holds pictures of other sources or settings; choose another --out{advice}", folder.display());
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let entries: Vec<Entry> =
            text[..whole].lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut journal = fs::append_open(&path)?;
        if same {
            journal.cut(whole as u64)?; // the last line may be torn
        } else {
            fs::remove_file(&folder.join(TABLE))?;
            for entry in &entries {
                remove_picture(&images, &entry.row)?;
            }
            journal.cut(0)?;
            journal.append(head.as_bytes())?;
        }
        remove_torn(&images)?;
        let earlier = if same { entries.into_iter().map(|entry| (entry.n, entry)).collect() } else { BTreeMap::new() };
        Ok(Self { folder: folder.to_owned(), journal, earlier, _ours: ours })
    }

    /// What an earlier run made at this place, if its picture is still whole.
    fn earlier(&mut self, n: usize) -> Option<Entry> {
        let entry = self.earlier.remove(&n)?;
        let bytes = std::fs::read(self.folder.join(&entry.row.image)).ok()?;
        look(&bytes).ok().map(|_| entry)
    }

    fn picture(&self, row: &Row) -> Option<Picture> {
        let bytes = std::fs::read(self.folder.join(&row.image)).ok()?;
        let rgb = vision::decode_rgb(&bytes, None).ok()?;
        Some(Picture { size: vision::Size { width: rgb.width, height: rgb.height }, rgb: true, data: rgb.data })
    }

    fn write(&mut self, entry: &Entry, picture: &Picture, format: PictureFormat) -> anyhow::Result<()> {
        let path = self.folder.join(&entry.row.image);
        let folder = path.parent().unwrap_or(&self.folder);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
        }
        fs::write_replacing(&path, &picture.encode(format)?)?;
        self.journal.append(format!("{}\n", serde_json::to_string(entry)?).as_bytes())?;
        Ok(())
    }

    fn finish(
        self,
        rows: &[Row],
        conversations: Option<&Conversations<'_>>,
        o: &SliceOptions,
        report: &mut SliceReport,
    ) -> anyhow::Result<()> {
        sync_file_system(&self.folder)?; // all pictures, before the table that names them
        let lines = |values: &mut dyn Iterator<Item = serde_json::Result<String>>| -> anyhow::Result<String> {
            let mut text = String::new();
            for line in values {
                text += &line?;
                text.push('\n');
            }
            Ok(text)
        };
        let table = lines(&mut rows.iter().map(serde_json::to_string))?;
        fs::write_atomic(&self.folder.join(TABLE), table.as_bytes())?;
        let Some(conversations) = conversations else { return Ok(()) };
        let samples: Vec<_> = rows
            .iter()
            .enumerate()
            .filter_map(|(i, row)| conversations.sample(i, row, &mut report.questions))
            .collect();
        (report.samples, report.left_out) = (samples.len(), rows.len() - samples.len());
        let file = format!("{}.jsonl", o.name);
        let text = lines(&mut samples.iter().map(serde_json::to_string))?;
        fs::write_atomic(&self.folder.join(&file), text.as_bytes())?;
        crate::data::register(&self.folder, &o.name, caption_entry(&file), o.overwrite).map_err(|e| anyhow!("{e}"))?;
        report.dataset_info = Some(self.folder.join(crate::data::dataset_info::FILE_NAME));
        Ok(())
    }
}

/// Takes a picture of an earlier run away, and its folder with the last one; nothing that is not below `images`.
fn remove_picture(images: &Path, row: &Row) -> anyhow::Result<()> {
    let below = Path::new(&row.image).strip_prefix("images").ok();
    let Some(path) = below.filter(|p| p.components().all(|c| matches!(c, std::path::Component::Normal(_)))) else {
        return Ok(());
    };
    let path = images.join(path);
    fs::remove_file(&path)?;
    if let Some(folder) = path.parent().filter(|folder| *folder != images) {
        let _ = std::fs::remove_dir(folder); // stays while anything is in it
    }
    Ok(())
}

/// Pictures that a killed run had begun: they never got their name.
fn remove_torn(images: &Path) -> anyhow::Result<()> {
    for folder in std::fs::read_dir(images)?.flatten().filter(|entry| entry.path().is_dir()) {
        for file in std::fs::read_dir(folder.path())?.flatten() {
            if file.file_name().as_encoded_bytes().starts_with(b".tmp-") {
                fs::remove_file(&file.path())?;
            }
        }
    }
    Ok(())
}

/// Sources and all settings that shape pictures and rows, as a hash.
fn fingerprint(o: &SliceOptions, found: &Scan) -> anyhow::Result<String> {
    let settings = json!([
        format!("{:?}", o.window),
        o.axis,
        [o.range.start, o.range.end],
        o.every,
        [o.frames.start, o.frames.end],
        o.size,
        o.format,
        o.keep,
        found.stamps,
    ]);
    Ok(Sha256::digest(serde_json::to_vec(&settings)?).iter().map(|byte| format!("{byte:02x}")).collect())
}
