//! Slices → values, one file (or one volume) in memory at a time; and the window of a series.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::dicom::{self, Dicom, frame, frame::Format};
use super::nifti::Volumes;
use super::row::WindowRow;
use super::scan::{Origin, Series, Slice};
use super::window::{Percentiles, Window, WindowChoice};
use super::{Fault, MAX_FILE, Plane, Values, guarded, kind, wide};
use crate::data::{kind as data_kind, open_regular};

/// Slices of a series that its percentiles are taken of.
const SAMPLED: usize = 16;

/// Reads slices; keeps what it opened last.
pub struct Reader {
    keep: Vec<(String, Tag)>,
    open: Option<(Arc<Path>, Open)>,
    /// Percentile windows by series, and by frame of a volume.
    percentiles: HashMap<(String, usize), (Window, WindowRow)>,
}

enum Open {
    Dicom(Box<Dicom<'static>>, Format),
    Wide(Vec<u8>),
    /// The stream of volumes, and the last one read with its frame.
    Nifti(Volumes, Option<(usize, Vec<f32>)>),
}

/// What a slice needs beside its values to become a picture.
pub struct View {
    pub window: Window,
    pub window_row: WindowRow,
    pub inverted: bool,
    pub burned_in: bool,
    pub kept: BTreeMap<String, String>,
    /// Stable names of what a user should know.
    pub notes: Vec<&'static str>,
}

impl Reader {
    /// `keep`: DICOM elements to hand out with each slice, by name.
    pub fn new(keep: Vec<(String, Tag)>) -> Self {
        Self { keep, open: None, percentiles: HashMap::new() }
    }

    /// # Errors
    /// Whatever is wrong with the file; a decoder's panic too.
    pub fn plane(&mut self, series: &Series, slice: &Slice) -> Result<Plane, Fault> {
        guarded(|| match self.opened(series, slice)? {
            Open::Dicom(d, format) => frame::plane(d, format, slice.frame),
            Open::Wide(bytes) => wide::plane(bytes, slice.frame),
            Open::Nifti(volumes, held) => {
                let Origin::Nifti(header, cut) = &series.origin else { return Err(gone()) };
                if held.as_ref().is_none_or(|(frame, _)| *frame != slice.frame) {
                    *held = None; // before the next one is read: two would be in memory
                    *held = Some((slice.frame, volumes.read(slice.frame)?));
                }
                let (_, volume) = held.as_ref().ok_or_else(gone)?;
                Ok(cut.plane(header, volume, slice.index))
            }
        })
    }

    /// How the slice is to be shown.
    ///
    /// # Errors
    /// As [`Self::plane`]; a series without any value.
    pub fn view(&mut self, series: &Series, slice: &Slice, choice: &WindowChoice, colour: bool) -> Result<View, Fault> {
        let (mut notes, mut kept, mut inverted, mut burned_in, mut own) =
            (Vec::new(), BTreeMap::new(), false, false, None);
        let keep = self.keep.clone();
        match self.opened(series, slice)? {
            Open::Dicom(d, format) => {
                inverted = format.inverted();
                burned_in = d.code(tags::BURNED_IN_ANNOTATION).as_deref() == Some("YES");
                kept.extend(keep.iter().filter_map(|(name, tag)| Some((name.clone(), d.text(*tag, slice.frame)?))));
                match frame::window(d, slice.frame) {
                    Ok(window) => own = window.map(|w| (w, "file")),
                    Err(_) => notes.push("file_window_unusable"),
                }
            }
            Open::Nifti(..) => {
                if let Origin::Nifti(header, _) = &series.origin {
                    own = header.window.map(|(low, high)| (Window::between(low, high), "file"));
                    if header.unoriented {
                        notes.push("orientation_unknown");
                    }
                }
            }
            Open::Wide(_) => {}
        }
        if keep.iter().any(|(name, _)| name == SOURCE) {
            let name = slice.file.file_name().unwrap_or_default().to_string_lossy();
            kept.insert(SOURCE.to_owned(), name.into_owned());
        }
        if burned_in {
            notes.push("burned_in_annotation");
        }
        let row = |window: &Window, from: &str| WindowRow {
            from: if matches!(window, Window::Table { .. }) {
                format!("{from} (lookup table)")
            } else {
                from.to_owned()
            },
            center: window.center_width().map(|(center, _)| center),
            width: window.center_width().map(|(_, width)| width),
        };
        let (window, window_row) = if colour {
            (Window::between(0.0, 255.0), WindowRow { from: "colour".into(), ..WindowRow::default() })
        } else {
            match choice {
                WindowChoice::Preset(name) => {
                    if series.modality.as_deref().is_some_and(|m| m != "CT") {
                        notes.push("preset_without_hu");
                    }
                    let window = Window::preset(name).ok_or_else(gone)?;
                    let row = row(&window, name);
                    (window, row)
                }
                &WindowChoice::Given { center, width } => {
                    let window = Window::Linear { center, width };
                    let row = row(&window, "given");
                    (window, row)
                }
                WindowChoice::File if own.is_some() => {
                    let (window, from) = own.ok_or_else(gone)?;
                    let row = row(&window, from);
                    (window, row)
                }
                WindowChoice::File | WindowChoice::Auto => {
                    if *choice == WindowChoice::File {
                        notes.push("window_from_percentiles");
                    }
                    self.percentiles(series, slice)?
                }
            }
        };
        Ok(View { window, window_row, inverted, burned_in, kept, notes })
    }

    /// One window for all slices of a series (of a frame, of a volume), so that they can be compared.
    fn percentiles(&mut self, series: &Series, slice: &Slice) -> Result<(Window, WindowRow), Fault> {
        let volume = if matches!(series.origin, Origin::Nifti(..)) { slice.frame } else { 0 };
        let key = (series.name.clone(), volume);
        if let Some(found) = self.percentiles.get(&key) {
            return Ok(found.clone());
        }
        let mut all = Percentiles::default();
        let of = if let Origin::Nifti(..) = &series.origin {
            self.plane(series, slice)?; // the volume is in memory now
            if let Some((_, Open::Nifti(_, Some((_, volume))))) = &self.open {
                all.add(volume.iter().map(|&v| f64::from(v)), 1, |_| true);
            }
            "the volume".to_owned()
        } else {
            let count = series.slices.len();
            let sampled = count.min(SAMPLED);
            let mut used = 0;
            for i in 0..sampled {
                let sample = &series.slices[i * count / sampled];
                let Ok(plane) = self.plane(series, sample) else { continue };
                let padding = match self.opened(series, sample)? {
                    Open::Dicom(d, _) => frame::padding(d, sample.frame),
                    _ => None,
                };
                if let Values::Grey(values) = plane.values {
                    all.add(values.into_iter(), sampled, |v| padding.as_ref().is_none_or(|p| !p.contains(&v)));
                    used += 1;
                }
            }
            match (used, count) {
                (_, 1) => "the picture".to_owned(),
                (used, count) => format!("{used} of {count} slices"),
            }
        };
        let window =
            all.window().ok_or_else(|| Fault::new(data_kind::IMAGE_BROKEN, "it has no value that is a number"))?;
        let (center, width) = window.center_width().unzip();
        let found = (window, WindowRow { from: format!("percentiles 1-99 of {of}"), center, width });
        self.percentiles.insert(key, found.clone());
        Ok(found)
    }

    fn opened(&mut self, series: &Series, slice: &Slice) -> Result<&mut Open, Fault> {
        let same = match &self.open {
            Some((path, Open::Nifti(volumes, held))) if *path == slice.file => {
                held.as_ref().is_some_and(|(frame, _)| *frame == slice.frame) || volumes.reaches(slice.frame)
            }
            Some((path, _)) => *path == slice.file,
            None => false,
        };
        if !same {
            self.open = None; // two files would be in memory
            let open = match &series.origin {
                Origin::Nifti(header, _) => Open::Nifti(Volumes::open(&slice.file, header)?, None),
                Origin::Wide(_) => Open::Wide(bytes_of(&slice.file)?),
                Origin::Dicom => {
                    let also: Vec<Tag> = match self.keep.is_empty() {
                        true => Vec::new(),
                        false => self.keep.iter().map(|(_, tag)| *tag).chain([tags::SPECIFIC_CHARACTER_SET]).collect(),
                    };
                    let bytes = bytes_of(&slice.file)?;
                    let d = guarded(|| dicom::read_whole(bytes, &also))?;
                    let format = Format::of(&d)?;
                    Open::Dicom(Box::new(d), format)
                }
            };
            self.open = Some((Arc::clone(&slice.file), open));
        }
        self.open.as_mut().map(|(_, open)| open).ok_or_else(gone)
    }
}

/// The name in --keep that stands for the source's file name.
pub const SOURCE: &str = "source";

fn gone() -> Fault {
    Fault::new(data_kind::UNREADABLE, "it changed while it was read; run the command again")
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Fault> {
    let (file, len) = open_regular(path)?;
    if len > MAX_FILE {
        return Err(Fault::new(kind::TOO_LARGE, format!("{len} bytes; at most {} MiB are read", MAX_FILE >> 20)));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| Fault::new(data_kind::IMAGE_UNREADABLE, e.to_string()))?;
    Ok(bytes)
}
