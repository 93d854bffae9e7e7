//! A frame of a DICOM file → values in the modality's unit (Hounsfield units for CT), or RGB.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::super::window::Window;
use super::super::{Fault, MAX_PIXELS, Plane, Values, kind};
use super::{BIG_ENDIAN, Dicom, Elements, MAX_FRAMES, Pixels, codec, numbers};
use crate::vision::Size;

/// How samples are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    pub rows: usize,
    pub columns: usize,
    /// 1 or 3.
    pub samples: usize,
    /// Bits a sample takes in the file: 1, 8, 16 or 32 …
    pub allocated: u32,
    /// … how many of them it uses, up to bit `high`.
    pub stored: u32,
    pub high: u32,
    pub signed: bool,
    /// Colours one after the other, not pixel by pixel.
    pub planar: bool,
    pub photometric: String,
    pub frames: usize,
}

impl Format {
    /// # Errors
    /// No pixels, sizes beyond the limits, and what cannot be read.
    pub fn of(d: &Dicom) -> Result<Self, Fault> {
        let unsupported = |what: String| Fault::new(kind::DICOM_UNSUPPORTED, what);
        if d.pixels == Pixels::None {
            let float =
                [tags::FLOAT_PIXEL_DATA, tags::DOUBLE_FLOAT_PIXEL_DATA].iter().any(|tag| d.top.contains_key(tag));
            let what = if float {
                "floating-point pixel data are not supported"
            } else {
                "no pixel data (a report, plan or other object)"
            };
            return Err(if float { unsupported(what.into()) } else { Fault::new(kind::DICOM_NO_PIXELS, what) });
        }
        let whole =
            |tag: Tag| d.number(tag, 0).filter(|v| v.fract() == 0.0 && *v >= 0.0 && *v < 1e15).map(|v| v as usize);
        let need = |tag: Tag, name: &str| {
            whole(tag)
                .ok_or_else(|| Fault::new(kind::DICOM_BROKEN, format!("damaged: its {name} are missing or no number")))
        };
        let (rows, columns) = (need(tags::ROWS, "Rows")?, need(tags::COLUMNS, "Columns")?);
        let allocated = need(tags::BITS_ALLOCATED, "Bits Allocated")?.min(1024) as u32;
        let stored = whole(tags::BITS_STORED).map_or(allocated, |bits| bits as u32);
        let format = Self {
            rows,
            columns,
            samples: whole(tags::SAMPLES_PER_PIXEL).unwrap_or(1),
            allocated,
            stored,
            high: whole(tags::HIGH_BIT).map_or(stored.wrapping_sub(1), |bit| bit as u32),
            signed: whole(tags::PIXEL_REPRESENTATION) == Some(1),
            planar: whole(tags::PLANAR_CONFIGURATION) == Some(1),
            photometric: d.code(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_else(|| "MONOCHROME2".into()),
            frames: whole(tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1),
        };
        if rows == 0
            || columns == 0
            || stored == 0
            || stored > allocated
            || format.high >= allocated
            || format.high + 1 < stored
        {
            return Err(Fault::new(kind::DICOM_BROKEN, "damaged: its sizes contradict each other"));
        }
        if rows.saturating_mul(columns) > MAX_PIXELS {
            let what = format!("{columns}x{rows} pixels; at most {} million are read", MAX_PIXELS / 1_000_000);
            return Err(Fault::new(kind::TOO_LARGE, what));
        }
        if format.frames > MAX_FRAMES {
            return Err(Fault::new(
                kind::TOO_LARGE,
                format!("{} frames; at most {MAX_FRAMES} are read", format.frames),
            ));
        }
        if !matches!((format.samples, allocated), (1, 1 | 8 | 16 | 32) | (3, 8 | 16 | 32)) {
            return Err(unsupported(format!(
                "{} samples of {allocated} bits a pixel are not supported",
                format.samples
            )));
        }
        let colours = ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"];
        let known = match format.samples {
            1 => ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"].contains(&format.photometric.as_str()),
            _ => colours.contains(&format.photometric.as_str()),
        };
        if !known {
            return Err(unsupported(format!(
                "colours of kind {} with {} samples a pixel are not supported",
                format.photometric, format.samples
            )));
        }
        if let Some(why) = codec::unsupported(&d.syntax) {
            return Err(unsupported(why));
        }
        Ok(format)
    }

    pub fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// White and black change places.
    pub fn inverted(&self) -> bool {
        self.photometric == "MONOCHROME1"
    }

    pub fn is_grey(&self) -> bool {
        self.samples == 1 && self.photometric != "PALETTE COLOR"
    }
}

/// One frame: what is shown as grey in its own unit, colours as RGB.
///
/// # Errors
/// Missing or damaged data. A decoder's panic is the caller's to catch.
pub fn plane(d: &Dicom, format: &Format, frame: usize) -> Result<Plane, Fault> {
    let (bytes, big_endian) = (frame_bytes(d, format, frame)?, d.syntax == BIG_ENDIAN);
    let size = Size { width: format.columns as u32, height: format.rows as u32 };
    if matches!(d.pixels, Pixels::Native(_) | Pixels::NativeWords(_)) {
        if format.photometric == "YBR_FULL_422" && format.samples == 3 {
            return Ok(Plane { size, values: Values::Rgb(ybr_422(&bytes, format)?) });
        }
        let words =
            Words { bytes: &bytes, allocated: format.allocated, big_endian, first_bit: first_bit(format, frame) };
        return Ok(Plane { size, values: values(d, format, frame, &words, format.high, format.planar, false)? });
    }
    let coded = codec::decode(&d.syntax, &bytes, format)?;
    let words = Words { bytes: &coded.bytes, allocated: coded.allocated, big_endian: false, first_bit: 0 };
    // A decoder may give fewer bits than the head promises (8-bit JPEG in a file of 12 bits).
    let high = if coded.aligned { format.stored.min(coded.allocated) - 1 } else { format.high };
    Ok(Plane { size, values: values(d, format, frame, &words, high, false, coded.rgb)? })
}

/// Stored samples, uncompressed.
struct Words<'a> {
    bytes: &'a [u8],
    allocated: u32,
    big_endian: bool,
    /// Of frames that are packed to bits, where the first one lies in the first byte.
    first_bit: usize,
}

impl Words<'_> {
    fn at(&self, i: usize) -> u32 {
        let order = |mut b: [u8; 4], len: usize| {
            if self.big_endian {
                b[..len].reverse();
            }
            u32::from_le_bytes(b)
        };
        match self.allocated {
            1 => {
                let bit = self.first_bit + i;
                u32::from(self.bytes[bit / 8] >> (bit % 8) & 1)
            }
            8 => self.bytes[i].into(),
            16 => order([self.bytes[2 * i], self.bytes[2 * i + 1], 0, 0], 2),
            _ => order([self.bytes[4 * i], self.bytes[4 * i + 1], self.bytes[4 * i + 2], self.bytes[4 * i + 3]], 4),
        }
    }
}

fn values(
    d: &Dicom,
    format: &Format,
    frame: usize,
    words: &Words,
    high: u32,
    planar: bool,
    rgb: bool,
) -> Result<Values, Fault> {
    let stored = format.stored.min(high + 1);
    let mask = u32::MAX >> (32 - stored);
    let word = |i: usize| words.at(i) >> (high + 1 - stored) & mask;
    let pixels = format.pixels();
    if format.samples == 3 {
        let at = |pixel: usize, c: usize| if planar { c * pixels + pixel } else { 3 * pixel + c };
        let byte = |i: usize| if stored > 8 { (word(i) >> (stored - 8)) as u8 } else { word(i) as u8 };
        let mut out: Vec<u8> = (0..pixels).flat_map(|pixel| [0, 1, 2].map(|c| byte(at(pixel, c)))).collect();
        if !rgb && format.photometric.starts_with("YBR_FULL") {
            out.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = ybr_to_rgb(*pixel));
        }
        return Ok(Values::Rgb(out));
    }
    let sign = if format.signed { 1u32 << (stored - 1) } else { 0 };
    let value = |i: usize| i64::from(word(i) ^ sign) - i64::from(sign);
    if format.photometric == "PALETTE COLOR" {
        let palette = palette(d)?;
        return Ok(Values::Rgb((0..pixels).flat_map(|i| palette.each_ref().map(|lut| lut.at(value(i)))).collect()));
    }
    let modality = Modality::of(d, frame)?;
    Ok(Values::Grey((0..pixels).map(|i| modality.of_stored(value(i))).collect()))
}

/// Stored values → the modality's unit.
enum Modality {
    Linear { slope: f64, intercept: f64 },
    Table(Lut),
}

impl Modality {
    fn of(d: &Dicom, frame: usize) -> Result<Self, Fault> {
        if !d.modality_lut.is_empty() {
            return Ok(Self::Table(Lut::of(&d.modality_lut, tags::LUT_DESCRIPTOR, tags::LUT_DATA)?));
        }
        let slope = d.number(tags::RESCALE_SLOPE, frame).filter(|slope| *slope != 0.0).unwrap_or(1.0);
        Ok(Self::Linear { slope, intercept: d.number(tags::RESCALE_INTERCEPT, frame).unwrap_or(0.0) })
    }

    fn of_stored(&self, value: i64) -> f64 {
        match self {
            Self::Linear { slope, intercept } => value as f64 * slope + intercept,
            Self::Table(lut) => lut.entry(value).into(),
        }
    }
}

/// A lookup table (PS3.3 C.11.1.1 and C.7.9.1): first value, entries, bits of an entry.
struct Lut {
    first: i64,
    bits: u32,
    entries: Vec<u16>,
}

impl Lut {
    fn of(elements: &Elements, descriptor: Tag, data: Tag) -> Result<Self, Fault> {
        let bad = || Fault::new(kind::DICOM_BROKEN, "damaged: a lookup table is incomplete");
        let numbers_of = |tag: Tag| elements.get(&tag).and_then(numbers).ok_or_else(bad);
        let [count, first, bits] = *numbers_of(descriptor)?.as_slice() else { return Err(bad()) };
        // The descriptor may come as signed or unsigned 16 bits; 0 entries stand for 65,536.
        let count = if count == 0.0 { 65_536 } else { count.rem_euclid(65_536.0) as usize };
        let mut entries: Vec<u16> = numbers_of(data)?.iter().map(|v| v.rem_euclid(65_536.0) as u16).collect();
        if bits <= 8.0 && entries.len() < count {
            entries = entries.iter().flat_map(|v| v.to_le_bytes().map(u16::from)).collect(); // two in a word
        }
        entries.truncate(count);
        if entries.len() < count || !(1.0..=16.0).contains(&bits) {
            return Err(bad());
        }
        Ok(Self { first: first as i64, bits: bits as u32, entries })
    }

    fn entry(&self, value: i64) -> u16 {
        self.entries[(value - self.first).clamp(0, self.entries.len() as i64 - 1) as usize]
    }

    /// An entry as 8 bits.
    fn at(&self, value: i64) -> u8 {
        let entry = self.entry(value);
        if self.bits > 8 { (entry >> (self.bits - 8)) as u8 } else { entry as u8 }
    }
}

fn palette(d: &Dicom) -> Result<[Lut; 3], Fault> {
    let lut = |descriptor, data| Lut::of(&d.top, descriptor, data);
    Ok([
        lut(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
        lut(tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
        lut(tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
    ])
}

/// The file's own window for a frame: a VOI lookup table, else the first centre and width; `None` where it has neither.
///
/// # Errors
/// A window that cannot be.
pub fn window(d: &Dicom, frame: usize) -> Result<Option<Window>, Fault> {
    if !d.voi_lut.is_empty() {
        let Lut { first, bits, entries } = Lut::of(&d.voi_lut, tags::LUT_DESCRIPTOR, tags::LUT_DATA)?;
        let max = f64::from((1u32 << bits) - 1);
        return Ok(Some(Window::Table { first: first as f64, max, entries }));
    }
    let (Some(center), Some(width)) = (d.number(tags::WINDOW_CENTER, frame), d.number(tags::WINDOW_WIDTH, frame))
    else {
        return Ok(None);
    };
    Window::of_file(center, width, d.text(tags::VOILUT_FUNCTION, frame).as_deref()).map(Some)
}

/// Values that stand for "no picture here", in the modality's unit.
pub fn padding(d: &Dicom, frame: usize) -> Option<RangeInclusive<f64>> {
    let a = d.number(tags::PIXEL_PADDING_VALUE, frame)?;
    let b = d.number(tags::PIXEL_PADDING_RANGE_LIMIT, frame).unwrap_or(a);
    let modality = Modality::of(d, frame).ok()?;
    let [a, b] = [a, b].map(|v| modality.of_stored(v as i64));
    Some(a.min(b)..=a.max(b))
}

fn first_bit(format: &Format, frame: usize) -> usize {
    if format.allocated == 1 { frame * format.pixels() % 8 } else { 0 }
}

fn truncated(frame: usize) -> Fault {
    Fault::new(kind::DICOM_TRUNCATED, format!("it ends before the data of frame {frame}: fetch it again"))
}

/// The bytes of one frame as they stand in the file.
fn frame_bytes<'d>(d: &'d Dicom, format: &Format, frame: usize) -> Result<Cow<'d, [u8]>, Fault> {
    match &d.pixels {
        Pixels::None => Err(truncated(frame)),
        Pixels::Native(range) | Pixels::NativeWords(range) => {
            let data = &d.data[range.clone()];
            let bits = match (format.photometric.as_str(), format.samples) {
                ("YBR_FULL_422", 3) => format.pixels() * 2 * format.allocated as usize,
                _ => format.pixels() * format.samples * format.allocated as usize,
            };
            let bytes = frame * bits / 8..((frame + 1) * bits).div_ceil(8);
            if matches!(d.pixels, Pixels::NativeWords(_)) && d.syntax == BIG_ENDIAN && format.allocated == 8 {
                // Two bytes in each word, the first one behind.
                let swapped = bytes.map(|i| data.get(i ^ 1).copied()).collect::<Option<_>>();
                return swapped.map(Cow::Owned).ok_or_else(|| truncated(frame));
            }
            data.get(bytes).map(Cow::Borrowed).ok_or_else(|| truncated(frame))
        }
        Pixels::Fragments { offsets, fragments } => {
            let of_frame =
                fragments_of(&d.data, offsets, fragments, format.frames, frame).ok_or_else(|| truncated(frame))?;
            match &fragments[of_frame] {
                [] => Err(truncated(frame)),
                [one] => Ok(Cow::Borrowed(&d.data[one.clone()])),
                several => Ok(Cow::Owned(several.iter().flat_map(|r| &d.data[r.clone()]).copied().collect())),
            }
        }
    }
}

/// Which fragments make up a frame: all of the only one; one each; as the offset table says; or else a new frame begins
/// where a fragment begins with a picture's mark.
fn fragments_of(
    data: &[u8],
    offsets: &[u32],
    fragments: &[Range<usize>],
    frames: usize,
    frame: usize,
) -> Option<Range<usize>> {
    if frames == 1 {
        return Some(0..fragments.len());
    }
    if fragments.len() == frames {
        return (frame < frames).then_some(frame..frame + 1);
    }
    let starts: Vec<usize> = if offsets.len() == frames {
        let base = fragments.first()?.start - 8; // offsets count from the first fragment's own head
        offsets
            .iter()
            .map(|&offset| fragments.iter().position(|f| f.start - 8 - base == offset as usize))
            .collect::<Option<_>>()?
    } else {
        let begins =
            |f: &Range<usize>| matches!(data[f.clone()], [0xff, 0xd8, 0xff, ..] | [0xff, 0x4f, 0xff, 0x51, ..]);
        fragments.iter().enumerate().filter(|(_, f)| begins(f)).map(|(i, _)| i).collect()
    };
    let start = *starts.get(frame)?;
    let end = starts.get(frame + 1).copied().unwrap_or(fragments.len());
    (starts.len() == frames && start < end).then_some(start..end)
}

/// Full-range ITU-R BT.601 (PS3.3 C.7.6.3.1.2), rounded half up.
fn ybr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f64::from(y), f64::from(cb) - 128.0, f64::from(cr) - 128.0);
    let rgb = [y + 1.402 * cr, y - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587, y + 1.772 * cb];
    rgb.map(|v| (v + 0.5).floor().clamp(0.0, 255.0) as u8)
}

/// Uncompressed YBR_FULL_422: Y Y Cb Cr for every two pixels of a row.
fn ybr_422(bytes: &[u8], format: &Format) -> Result<Vec<u8>, Fault> {
    if format.allocated != 8 || !format.columns.is_multiple_of(2) {
        return Err(Fault::new(kind::DICOM_UNSUPPORTED, "YBR_FULL_422 of this size is not supported"));
    }
    let pairs = bytes.as_chunks::<4>().0.iter();
    Ok(pairs.flat_map(|&[y0, y1, cb, cr]| [[y0, cb, cr], [y1, cb, cr]]).flat_map(ybr_to_rgb).collect())
}
