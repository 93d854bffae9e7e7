//! DICOM files: the few elements that a picture needs, and where its frames lie.
//!
//! dicom-rs reads the data set element by element; everything that is not on the list below is passed over, so names, dates
//! and free texts of patients never reach this program's memory, let alone its output. Lengths are compared with the file
//! before anything is read, and sequences are walked, not recursed into: a hostile file costs no more memory than its size.
//!
//! Read next: [`frame`] (bytes of a frame → values).

mod codec;
pub mod frame;

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use dicom_core::header::Header as _;
use dicom_core::value::PrimitiveValue;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_parser::StatefulDecode as _;
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::{Fault, MAX_FILE, kind};

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// Media Storage Directory: a DICOMDIR.
const DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// Sequences within sequences; real files have up to about ten.
const MAX_DEPTH: usize = 64;
/// Values longer than this are passed over. A lookup table of 65,536 entries has 128 KiB.
const MAX_VALUE: u32 = 256 << 10;
/// Frames in one file.
pub const MAX_FRAMES: usize = 65_536;

/// What is read of a file: all that pictures, their order and the table need, and nothing that says who it is.
const WANTED: [Tag; 41] = [
    tags::SOP_INSTANCE_UID,
    tags::MODALITY,
    tags::BODY_PART_EXAMINED,
    tags::SERIES_INSTANCE_UID,
    tags::INSTANCE_NUMBER,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::PIXEL_SPACING,
    tags::IMAGER_PIXEL_SPACING,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::BURNED_IN_ANNOTATION,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_PADDING_RANGE_LIMIT,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::VOILUT_FUNCTION,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::LUT_DESCRIPTOR,
    tags::LUT_DATA,
    tags::MODALITY_LUT_SEQUENCE,
    tags::VOILUT_SEQUENCE,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::FLOAT_PIXEL_DATA,
    tags::DOUBLE_FLOAT_PIXEL_DATA,
];

/// Elements of one level.
pub type Elements = HashMap<Tag, PrimitiveValue>;

/// Where the pixel data lie in [`Dicom::data`].
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// No pixel data: a report, a plan, a directory …
    None,
    Native(Range<usize>),
    /// The same in words of 16 bits (VR OW), which matters for bytes in big endian.
    NativeWords(Range<usize>),
    /// Compressed: the basic offset table, and the fragments.
    Fragments {
        offsets: Vec<u32>,
        fragments: Vec<Range<usize>>,
    },
}

/// A file, or its beginning up to the pixel data.
#[derive(Debug)]
pub struct Dicom<'a> {
    pub syntax: String,
    pub top: Elements,
    /// Of all frames (enhanced multi-frame objects) …
    pub shared: Elements,
    /// … and of each.
    pub frames: Vec<Elements>,
    /// The first item of the Modality LUT Sequence and of the VOI LUT Sequence.
    pub modality_lut: Elements,
    pub voi_lut: Elements,
    pub pixels: Pixels,
    /// The data set: the file behind its head, inflated where it is deflated.
    pub data: std::borrow::Cow<'a, [u8]>,
}

/// Is this a DICOM file? By its mark, or (old files without one) by a first element of group 8.
pub fn is_dicom(file: &[u8]) -> bool {
    file.get(128..132) == Some(b"DICM") || headless(file).is_some()
}

/// The transfer syntax of a data set without a head, told from its first element: group 2 or 8, a small length, and a VR
/// where there should be one.
fn headless(file: &[u8]) -> Option<&'static str> {
    let &[a, b, e0, e1, c, d, l0, l1, ..] = file else { return None };
    let is_vr = |c: u8, d: u8| c.is_ascii_uppercase() && d.is_ascii_uppercase();
    match (a, b) {
        (8, 0) if is_vr(c, d) && e1 == 0 => Some(EXPLICIT),
        (0, 8) if is_vr(c, d) && e0 == 0 => Some(BIG_ENDIAN),
        (8, 0) if e1 == 0 && d == 0 && (l0, l1) == (0, 0) && c < 128 => Some(IMPLICIT),
        _ => None,
    }
}

/// Reads `file`. With `until_pixels` the pixel data are not looked at ([`Dicom::pixels`] says only which kind): then the
/// beginning of a file is enough, of which `file_len` is the whole length. `also` are further elements to keep.
///
/// # Errors
/// Damage, limits, and what dicom-rs cannot read. No message holds a value of the file.
pub fn read<'a>(file: &'a [u8], file_len: u64, until_pixels: bool, also: &[Tag]) -> Result<Dicom<'a>, Fault> {
    let (syntax, start) = head(file)?;
    let rest = file.get(start..).unwrap_or_default();
    // Some writers announce one and write the other; the first element tells.
    let as_written = headless(rest).filter(|_| syntax != DEFLATED && syntax != BIG_ENDIAN);
    let (parsed_as, data) = match as_written.unwrap_or(&syntax) {
        DEFLATED if until_pixels && (file.len() as u64) < file_len => return Err(too_short()),
        DEFLATED => (EXPLICIT, std::borrow::Cow::Owned(inflate(rest, MAX_FILE)?)),
        other => (other, std::borrow::Cow::Borrowed(rest)),
    };
    let whole = if syntax == DEFLATED { data.len() as u64 } else { file_len - start as u64 };
    let ts = TransferSyntaxRegistry.get(parsed_as).ok_or_else(|| {
        Fault::new(kind::DICOM_UNSUPPORTED, format!("unknown transfer syntax {}", shown_uid(&syntax)))
    })?;
    let mut reader = LazyDataSetReader::new_with_ts(Cursor::new(&*data), ts).map_err(broken)?;
    let mut walk = Walk { also, ..Walk::default() };
    let mut pixels = Pixels::None;
    loop {
        let token = match reader.advance() {
            Some(Ok(token)) => token,
            // Damage behind the pixels (private trailers, padding) takes nothing from the picture.
            None | Some(Err(_)) if walk.in_pixels == InPixels::Behind => break,
            None | Some(Err(_)) if (data.len() as u64) < whole => return Err(too_short()),
            None => break,
            Some(Err(e)) => return Err(broken(e)),
        };
        match token {
            LazyDataToken::PixelSequenceStart if until_pixels => {
                pixels = Pixels::Fragments { offsets: Vec::new(), fragments: Vec::new() };
                break;
            }
            LazyDataToken::LazyValue { header, .. }
                if header.tag() == tags::PIXEL_DATA && walk.path.is_empty() && until_pixels =>
            {
                pixels = Pixels::Native(0..0);
                break;
            }
            token => walk.step(token, whole, data.len() as u64, &mut pixels)?,
        }
    }
    drop(reader);
    let Walk { top, shared, frames, modality_lut, voi_lut, .. } = walk;
    Ok(Dicom { syntax, top, shared, frames, modality_lut, voi_lut, pixels, data })
}

/// Reads a whole file and keeps it.
///
/// # Errors
/// As [`read`].
pub fn read_whole(mut file: Vec<u8>, also: &[Tag]) -> Result<Dicom<'static>, Fault> {
    let len = file.len();
    let Dicom { syntax, top, shared, frames, modality_lut, voi_lut, pixels, data } =
        read(&file, len as u64, false, also)?;
    let inflated = match data {
        std::borrow::Cow::Borrowed(rest) => Err(len - rest.len()),
        std::borrow::Cow::Owned(inflated) => Ok(inflated),
    };
    let data = inflated.unwrap_or_else(|start| {
        file.drain(..start);
        file
    });
    Ok(Dicom { syntax, top, shared, frames, modality_lut, voi_lut, pixels, data: data.into() })
}

#[derive(Debug, Default, PartialEq)]
enum InPixels {
    #[default]
    Before,
    Begun,
    Offsets,
    Fragments,
    Behind,
}

/// What has been collected on the way through the data set.
#[derive(Default)]
struct Walk<'k> {
    also: &'k [Tag],
    /// Sequences that are open, with the number of the open item (from 1).
    path: Vec<(Tag, usize)>,
    in_pixels: InPixels,
    top: Elements,
    shared: Elements,
    frames: Vec<Elements>,
    modality_lut: Elements,
    voi_lut: Elements,
}

impl Walk<'_> {
    fn step<D: dicom_parser::StatefulDecode>(
        &mut self,
        token: LazyDataToken<&mut D>,
        whole: u64,
        here: u64,
        pixels: &mut Pixels,
    ) -> Result<(), Fault> {
        match token {
            LazyDataToken::SequenceStart { tag, .. } => {
                if self.path.len() == MAX_DEPTH {
                    return Err(Fault::new(kind::DICOM_BROKEN, format!("sequences lie more than {MAX_DEPTH} deep")));
                }
                self.path.push((tag, 0));
            }
            LazyDataToken::ItemStart { .. } => match (self.path.last_mut(), &self.in_pixels) {
                (Some((_, item)), _) => *item += 1,
                (None, InPixels::Begun) => self.in_pixels = InPixels::Offsets,
                (None, _) => self.in_pixels = InPixels::Fragments,
            },
            LazyDataToken::SequenceEnd if self.path.is_empty() => self.in_pixels = InPixels::Behind,
            LazyDataToken::SequenceEnd => drop(self.path.pop()),
            LazyDataToken::PixelSequenceStart if self.path.is_empty() && *pixels == Pixels::None => {
                *pixels = Pixels::Fragments { offsets: Vec::new(), fragments: Vec::new() };
                self.in_pixels = InPixels::Begun;
            }
            LazyDataToken::PixelSequenceStart => self.path.push((tags::PIXEL_DATA, 0)), // of an icon
            LazyDataToken::LazyItemValue { len, decoder } => {
                let range = within(decoder.position(), len, whole, here)?;
                match pixels {
                    Pixels::Fragments { offsets, .. }
                        if self.path.is_empty() && self.in_pixels == InPixels::Offsets =>
                    {
                        decoder.read_u32_to_vec(len - len % 4, offsets).map_err(broken)?;
                        return decoder.skip_bytes(len % 4).map_err(broken);
                    }
                    Pixels::Fragments { fragments, .. } if self.path.is_empty() => fragments.push(range),
                    _ => {}
                }
                decoder.skip_bytes(len).map_err(broken)?;
            }
            LazyDataToken::LazyValue { header, decoder } => {
                let len = header.len.get().unwrap_or(0);
                let tag = header.tag();
                if tag == tags::PIXEL_DATA && self.path.is_empty() {
                    // What is missing at the end costs only the frames that need it.
                    let start = decoder.position();
                    let end = (start + u64::from(len)).min(here);
                    let range = start as usize..end as usize;
                    *pixels = if header.vr == VR::OW { Pixels::NativeWords(range) } else { Pixels::Native(range) };
                    self.in_pixels = InPixels::Behind;
                    return decoder.skip_bytes((end - start) as u32).map_err(broken);
                }
                within(decoder.position(), len, whole, here)?;
                let wanted = WANTED.contains(&tag) || (self.path.is_empty() && self.also.contains(&tag));
                let place = if wanted && len <= MAX_VALUE { self.place() } else { None };
                match place {
                    Some(elements) if !elements.contains_key(&tag) => {
                        let mut header = header;
                        if tag == tags::LUT_DATA {
                            header.vr = VR::OW; // "US or OW": numbers either way, and long ones read fast
                        }
                        let value = decoder.read_value_preserved(&header).map_err(broken)?;
                        elements.insert(tag, value);
                    }
                    _ => decoder.skip_bytes(len).map_err(broken)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where values of the open item belong.
    fn place(&mut self) -> Option<&mut Elements> {
        match *self.path.as_slice() {
            [] => Some(&mut self.top),
            [(tags::MODALITY_LUT_SEQUENCE, 1)] => Some(&mut self.modality_lut),
            [(tags::VOILUT_SEQUENCE, 1)] => Some(&mut self.voi_lut),
            [(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, 1), (_, 1)] => Some(&mut self.shared),
            [(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frame @ 1..=MAX_FRAMES), (_, 1)] => {
                if self.frames.len() < frame {
                    self.frames.resize_with(frame, Elements::new);
                }
                self.frames.get_mut(frame - 1)
            }
            _ => None,
        }
    }
}

/// The bytes of a value. One that the file cannot hold is damage; one behind the part that was read asks for more of it.
fn within(start: u64, len: u32, whole: u64, here: u64) -> Result<Range<usize>, Fault> {
    let end = start + u64::from(len);
    if end > whole {
        return Err(Fault::new(kind::DICOM_TRUNCATED, "it ends within an element: fetch it again"));
    }
    if end > here { Err(too_short()) } else { Ok(start as usize..end as usize) }
}

const MORE: &str = "dicom_needs_more";

/// Only the beginning of the file was given, and it was too short.
fn too_short() -> Fault {
    Fault::new(MORE, "the pixel data lie further behind")
}

/// Whether [`read`] would know more from the whole file.
pub fn needs_more(fault: &Fault) -> bool {
    fault.kind == MORE
}

/// Transfer syntax, and where the data set begins: behind preamble, mark and the elements of group 2, which are always
/// explicit little endian.
fn head(file: &[u8]) -> Result<(String, usize), Fault> {
    let mut at = match file.get(128..132) {
        Some(b"DICM") => 132,
        _ => match headless(file) {
            Some(syntax) => return Ok((syntax.to_owned(), 0)),
            None => return Err(Fault::new(kind::DICOM_BROKEN, "no DICOM file")),
        },
    };
    let mut syntax = None;
    let mut class = None;
    while let Some(&[2, 0, e0, e1, v0, v1, l0, l1, ..]) = file.get(at..) {
        let long = matches!(&[v0, v1], b"OB" | b"OW" | b"UN" | b"UT" | b"SQ");
        let (start, len) = match file.get(at + 8..at + 12) {
            Some(&[a, b, c, d]) if long => (at + 12, u32::from_le_bytes([a, b, c, d]) as usize),
            _ => (at + 8, usize::from(u16::from_le_bytes([l0, l1]))),
        };
        let value = start.checked_add(len).and_then(|end| file.get(start..end));
        let value =
            value.ok_or_else(|| Fault::new(kind::DICOM_TRUNCATED, "it ends within its head: fetch it again"))?;
        let text = || String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned();
        match u16::from_le_bytes([e0, e1]) {
            0x10 => syntax = Some(text()),
            0x02 => class = Some(text()),
            _ => {}
        }
        at = start + len;
    }
    if class.as_deref() == Some(DIRECTORY) {
        return Err(Fault::new(kind::DICOM_NO_PIXELS, "a DICOMDIR: name its folder, which is searched"));
    }
    // Without a transfer syntax, its first element tells.
    let syntax = syntax.or_else(|| headless(&file[at..]).map(str::to_owned)).unwrap_or_else(|| IMPLICIT.to_owned());
    Ok((syntax, at))
}

fn inflate(deflated: &[u8], most: u64) -> Result<Vec<u8>, Fault> {
    let mut data = Vec::new();
    let read = flate2::read::DeflateDecoder::new(deflated).take(most + 1).read_to_end(&mut data);
    if data.len() as u64 > most {
        return Err(Fault::new(kind::TOO_LARGE, format!("it holds more than {} MiB once inflated", most >> 20)));
    }
    // Some writers pad the stream; what came out before an error is parsed, and found to be too short if it is.
    match read {
        Err(e) if data.is_empty() => Err(Fault::new(kind::DICOM_BROKEN, format!("it cannot be inflated ({e})"))),
        _ => Ok(data),
    }
}

/// dicom-rs's own words on values could hold them; where in the file it was says enough.
fn broken(error: impl std::error::Error) -> Fault {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<std::io::Error>() {
            text = format!("{text} ({inner})");
        }
        cause = inner.source();
    }
    if text.contains("Invalid") {
        text = "a value is not what its type says".to_owned();
    }
    Fault::new(kind::DICOM_BROKEN, format!("damaged: {text}"))
}

/// UIDs come from the file; only their characters are shown.
pub fn shown_uid(uid: &str) -> String {
    uid.chars().filter(|c| c.is_ascii_digit() || *c == '.').take(64).collect()
}

impl Dicom<'_> {
    /// Numbers of an element: of the frame, else of all frames, else of the file.
    pub fn numbers(&self, tag: Tag, frame: usize) -> Option<Vec<f64>> {
        let of_frame = self.frames.get(frame).and_then(|f| f.get(&tag));
        let value = of_frame.or_else(|| self.shared.get(&tag)).or_else(|| self.top.get(&tag))?;
        numbers(value)
    }

    /// The first number of an element.
    pub fn number(&self, tag: Tag, frame: usize) -> Option<f64> {
        self.numbers(tag, frame)?.first().copied()
    }

    /// The text of an element, blanks at its ends removed; `None` where it is empty.
    pub fn text(&self, tag: Tag, frame: usize) -> Option<String> {
        let of_frame = self.frames.get(frame).and_then(|f| f.get(&tag));
        let value = of_frame.or_else(|| self.shared.get(&tag)).or_else(|| self.top.get(&tag))?;
        let text = value.to_str();
        let text = text.trim_matches([' ', '\0', '\t', '\r', '\n']);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A code string (VR CS) of the file: upper-case letters, digits, blanks and underscores, at most 16, or nothing.
    pub fn code(&self, tag: Tag) -> Option<String> {
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ' || c == '_';
        self.text(tag, 0).filter(|text| text.len() <= 16 && text.chars().all(plain))
    }
}

/// Finite numbers of a value; `None` where one of them is none.
pub fn numbers(value: &PrimitiveValue) -> Option<Vec<f64>> {
    let all = value.to_multi_float64().ok()?;
    (!all.is_empty() && all.iter().all(|v| v.is_finite())).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_deflated_bomb_stops_at_the_limit() {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(&[0; 100_000]).unwrap();
        let bomb = deflate.finish().unwrap();
        assert_eq!(inflate(&bomb, 99_999).unwrap_err().kind, kind::TOO_LARGE);
        assert_eq!(inflate(&bomb, 100_000).unwrap().len(), 100_000);
    }

    #[test]
    fn files_without_a_head_are_told_by_their_first_element() {
        // (0008,0005) CS of 10 bytes, in the three ways it can be written.
        for (start, syntax) in [
            (&b"\x08\0\x05\0CS\x0a\0"[..], EXPLICIT),
            (b"\0\x08\0\x05CS\0\x0a", "1.2.840.10008.1.2.2"),
            (b"\x08\0\x05\0\x0a\0\0\0", IMPLICIT),
        ] {
            assert_eq!(headless(start), Some(syntax));
        }
        for other in [&b"\x89PNG\r\n\x1a\n"[..], b"II*\0\x08\0\0\0", b"{\"a\": 1}", b"", b"\x08\0\0\0"] {
            assert_eq!(headless(other), None, "{other:?}");
        }
    }
}
