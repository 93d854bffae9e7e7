//! Files and folders → series of slices in their order. Only heads are read; what a file is, its content says.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::dicom::{self, Dicom, frame::Format};
use super::nifti::{self, Axis, Cut, Header};
use super::{Fault, MAX_FILE, guarded, kind, short_hash, wide};
use crate::data::{kind as data_kind, open_regular};

/// What a series was made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    Dicom,
    Nifti(Box<Header>, Cut),
    /// `png` or `tiff`
    Wide(&'static str),
}

/// Slices that belong together, all of one size and direction.
#[derive(Debug, Clone)]
pub struct Series {
    pub origin: Origin,
    /// Hash of the series' UID, or of the file's beginning.
    pub id: String,
    /// Of the folder of its pictures: kind and id, and a number where one id has several directions or sizes.
    pub name: String,
    pub modality: Option<String>,
    pub body_part: Option<String>,
    pub plane: Option<&'static str>,
    /// Between rows, between columns.
    pub pixel_mm: Option<[f64; 2]>,
    /// Frames of the volume or file; 1 for a series of single slices.
    pub frames: usize,
    pub slices: Vec<Slice>,
}

/// One picture to be.
#[derive(Debug, Clone)]
pub struct Slice {
    pub file: Arc<Path>,
    /// Of the file.
    pub frame: usize,
    /// Along the volume (NIfTI).
    pub index: usize,
    pub position_mm: Option<f64>,
    instance: f64,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Scan {
    pub series: Vec<Series>,
    pub bad: Vec<(PathBuf, Fault)>,
    /// Files of a folder that are no such pictures: documents, 8-bit pictures, DICOM objects without pixels.
    pub passed_over: usize,
    /// DICOM files that are there twice (by their UID).
    pub duplicates: usize,
    /// Size and time of change of every file that counts, for recognising the same sources again.
    pub stamps: Vec<(PathBuf, u64, u64)>,
}

/// Looks through `sources`. `go_on` hears of every file and may end it.
///
/// # Errors
/// A source that is not there. Files that cannot be used are in [`Scan::bad`].
pub fn scan(sources: &[PathBuf], axis: Axis, go_on: &mut dyn FnMut(usize) -> bool) -> anyhow::Result<Scan> {
    let mut files = Vec::new();
    for source in sources {
        let meta = std::fs::metadata(source).map_err(|e| anyhow::anyhow!("{}: {e}", source.display()))?;
        if meta.is_dir() {
            walk(source, &mut files)?;
        } else {
            files.push((source.clone(), true));
        }
    }
    let mut found = Found { axis, ..Found::default() };
    let mut seen = HashSet::new();
    for (n, (path, named)) in files.into_iter().enumerate() {
        if !go_on(n) {
            break;
        }
        if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
            continue; // named twice
        }
        match guarded(|| found.file(&path)) {
            Ok(true) => found.stamp(&path),
            Ok(false) if named => {
                let what = "neither DICOM nor NIfTI nor a 16-bit grey PNG or TIFF; an 8-bit picture needs no window: use it as it is";
                found.scan.bad.push((path, Fault::new(kind::NOT_MEDICAL, what)));
            }
            Ok(false) => found.scan.passed_over += 1,
            Err(fault) if fault.kind == kind::DICOM_NO_PIXELS && !named => found.scan.passed_over += 1,
            Err(fault) => {
                found.stamp(&path);
                found.scan.bad.push((path, fault));
            }
        }
    }
    Ok(found.finish())
}

/// Regular files below a folder, by name; links to folders are not followed, hidden files left out.
fn walk(folder: &Path, files: &mut Vec<(PathBuf, bool)>) -> anyhow::Result<()> {
    let at = |e: std::io::Error| anyhow::anyhow!("{}: {e}", folder.display());
    let mut entries = std::fs::read_dir(folder).map_err(at)?.collect::<Result<Vec<_>, _>>().map_err(at)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type().map_err(at)? {
            t if t.is_dir() => walk(&path, files)?,
            t if t.is_file() || (t.is_symlink() && path.is_file()) => files.push((path, false)),
            _ => {}
        }
    }
    Ok(())
}

/// Slices of one DICOM series share this: UID, direction, rows, columns, grey or colour.
type Key = (String, [i64; 6], usize, usize, bool);

#[derive(Default)]
struct Found {
    axis: Axis,
    scan: Scan,
    by_key: HashMap<Key, usize>,
    /// The file of each SOP Instance UID (its hash).
    instances: HashMap<String, PathBuf>,
    names: BTreeMap<String, usize>,
}

impl Found {
    /// Whether the file is one of ours.
    fn file(&mut self, path: &Path) -> Result<bool, Fault> {
        let io = |e: std::io::Error| Fault::new(data_kind::IMAGE_UNREADABLE, e.to_string());
        let (mut file, len) = open_regular(path)?;
        let start = nifti::start_of(&mut file).map_err(io)?;
        if nifti::is_nifti(&start) {
            return self.nifti(path, &start, len);
        }
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut head = Vec::new();
        file.by_ref().take(PREFIX).read_to_end(&mut head).map_err(io)?;
        if dicom::is_dicom(&head) {
            let read = dicom::read(&head, len, true, &[]);
            if !read.as_ref().is_err_and(dicom::needs_more) {
                return self.dicom(path, &read?).map(|()| true);
            }
            file.by_ref().take(MAX_FILE).read_to_end(&mut head).map_err(io)?;
            return self.dicom(path, &dicom::read(&head, len, true, &[])?).map(|()| true);
        }
        let name = match crate::vision::Format::sniff(&head) {
            Some(crate::vision::Format::Png) => "png",
            Some(crate::vision::Format::Tiff) => "tiff",
            _ => return Ok(false),
        };
        if len > MAX_FILE {
            return Err(Fault::new(kind::TOO_LARGE, format!("{len} bytes; at most {} MiB are read", MAX_FILE >> 20)));
        }
        let id = short_hash(&[head.as_slice(), &len.to_le_bytes()].concat());
        file.by_ref().take(MAX_FILE).read_to_end(&mut head).map_err(io)?;
        let pages = wide::pages(&head)?;
        let slices =
            (0..pages).map(|frame| Slice { file: path.into(), frame, index: 0, position_mm: None, instance: 0.0 });
        let (slices, origin): (Vec<_>, _) = (slices.collect(), Origin::Wide(name));
        if pages > 0 {
            let series = Series { frames: pages, slices, ..Series::new(origin, id) };
            self.push(series);
        }
        Ok(pages > 0)
    }

    fn nifti(&mut self, path: &Path, start: &[u8], len: u64) -> Result<bool, Fault> {
        let header = Header::parse(start)?;
        let cut = header.cut(self.axis)?;
        let slice = |frame, index| Slice {
            file: path.into(),
            frame,
            index,
            position_mm: Some(header.position_mm(&cut, index)),
            instance: 0.0,
        };
        let slices = (0..header.frames).flat_map(|frame| (0..cut.slices).map(move |index| (frame, index)));
        let slices = slices.map(|(frame, index)| slice(frame, index)).collect();
        let id = short_hash(&[start, &len.to_le_bytes()].concat());
        let series = Series {
            plane: Some(cut.plane),
            pixel_mm: Some(cut.pixel_mm),
            frames: header.frames,
            slices,
            ..Series::new(Origin::Nifti(Box::new(header), cut), id)
        };
        self.push(series);
        Ok(true)
    }

    fn dicom(&mut self, path: &Path, d: &Dicom) -> Result<(), Fault> {
        let format = Format::of(d)?;
        if let Some(instance) = d.text(tags::SOP_INSTANCE_UID, 0) {
            match self.instances.entry(short_hash(instance.as_bytes())) {
                // A copy that differs is no copy: one of the two may be damaged, and the other is the one to read.
                Entry::Occupied(first) if same_content(first.get(), path) => {
                    self.scan.duplicates += 1;
                    return Ok(());
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(free) => drop(free.insert(path.to_owned())),
            }
        }
        let own = || d.text(tags::SOP_INSTANCE_UID, 0).unwrap_or_else(|| path.display().to_string());
        let uid = d.text(tags::SERIES_INSTANCE_UID, 0).unwrap_or_else(own);
        for frame in 0..format.frames {
            let direction = vector::<6>(d, tags::IMAGE_ORIENTATION_PATIENT, frame);
            let normal = direction.map(normal);
            let position = normal.zip(vector::<3>(d, tags::IMAGE_POSITION_PATIENT, frame));
            let rounded = direction.unwrap_or_default().map(|v| (v * 100.0).round() as i64);
            let key = (uid.clone(), rounded, format.rows, format.columns, format.is_grey());
            let slice = Slice {
                file: path.into(),
                frame,
                index: 0,
                position_mm: position.map(|(n, at)| n[0] * at[0] + n[1] * at[1] + n[2] * at[2]),
                instance: d.number(tags::INSTANCE_NUMBER, 0).unwrap_or(0.0),
            };
            let at = match self.by_key.get(&key) {
                Some(&at) => at,
                None => {
                    let at = self.push(Series {
                        modality: d.code(tags::MODALITY),
                        body_part: d.code(tags::BODY_PART_EXAMINED),
                        plane: normal.map(plane),
                        pixel_mm: pixel_mm(d, frame),
                        frames: format.frames,
                        ..Series::new(Origin::Dicom, short_hash(uid.as_bytes()))
                    });
                    self.by_key.insert(key, at);
                    at
                }
            };
            let series = &mut self.scan.series[at];
            series.frames = series.frames.max(format.frames);
            series.slices.push(slice);
        }
        Ok(())
    }

    fn push(&mut self, mut series: Series) -> usize {
        let kind = match &series.origin {
            Origin::Dicom => series.modality.as_deref().unwrap_or("dicom").to_ascii_lowercase().replace(' ', "-"),
            Origin::Nifti(..) => "nifti".to_owned(),
            Origin::Wide(name) => (*name).to_owned(),
        };
        let name = format!("{kind}-{}", series.id);
        let number = self.names.entry(name.clone()).or_default();
        *number += 1;
        series.name = if *number > 1 { format!("{name}-{number}") } else { name };
        self.scan.series.push(series);
        self.scan.series.len() - 1
    }

    fn stamp(&mut self, path: &Path) {
        let meta = path.metadata().ok();
        let changed = meta.as_ref().and_then(|m| m.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok());
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.scan.stamps.push((path, meta.map_or(0, |m| m.len()), changed.map_or(0, |d| d.as_nanos() as u64)));
    }

    /// Slices of a series in their order: along the normal where every one says where it lies, else by number.
    fn finish(mut self) -> Scan {
        for series in self.scan.series.iter_mut().filter(|s| s.origin == Origin::Dicom) {
            let placed = series.slices.iter().all(|s| s.position_mm.is_some());
            series.slices.sort_by(|a, b| {
                let place = a.position_mm.unwrap_or(0.0).total_cmp(&b.position_mm.unwrap_or(0.0));
                let number = a.instance.total_cmp(&b.instance).then(a.frame.cmp(&b.frame));
                if placed { place.then(number) } else { number }
            });
        }
        self.scan
    }
}

fn same_content(a: &Path, b: &Path) -> bool {
    let open = |path: &Path| Some(std::io::BufReader::new(open_regular(path).ok()?.0).bytes());
    let (Some(a), Some(b)) = (open(a), open(b)) else { return false };
    a.map(Result::ok).eq(b.map(Result::ok))
}

/// Bytes of a file that usually reach to its pixel data.
const PREFIX: u64 = 64 << 10;

impl Series {
    fn new(origin: Origin, id: String) -> Self {
        Self {
            origin,
            id,
            name: String::new(),
            modality: None,
            body_part: None,
            plane: None,
            pixel_mm: None,
            frames: 1,
            slices: Vec::new(),
        }
    }

    pub fn kind(&self) -> &'static str {
        match self.origin {
            Origin::Dicom => "dicom",
            Origin::Nifti(..) => "nifti",
            Origin::Wide(name) => name,
        }
    }
}

fn vector<const N: usize>(d: &Dicom, tag: Tag, frame: usize) -> Option<[f64; N]> {
    d.numbers(tag, frame)?.try_into().ok()
}

/// The unit normal of rows and columns, its largest part positive: towards left, back or head.
fn normal([a, b, c, d, e, f]: [f64; 6]) -> [f64; 3] {
    let n = [b * f - c * e, c * d - a * f, a * e - b * d];
    let length = n.iter().map(|v| v * v).sum::<f64>().sqrt();
    let largest = n.into_iter().max_by(|x, y| x.abs().total_cmp(&y.abs())).unwrap_or(0.0);
    let scale = if length > 0.0 { length.copysign(largest) } else { 1.0 };
    n.map(|v| v / scale)
}

fn plane(normal: [f64; 3]) -> &'static str {
    let largest = (0..3).max_by(|&i, &j| normal[i].abs().total_cmp(&normal[j].abs())).unwrap_or(2);
    // 0.9: within 26 degrees.
    if normal[largest].abs() < 0.9 { "oblique" } else { ["sagittal", "coronal", "axial"][largest] }
}

/// Between rows, between columns.
fn pixel_mm(d: &Dicom, frame: usize) -> Option<[f64; 2]> {
    let found =
        [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING].into_iter().find_map(|tag| vector::<2>(d, tag, frame));
    found.filter(|mm| mm.iter().all(|v| (1e-4..1e3).contains(v)))
}
