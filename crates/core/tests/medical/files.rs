//! Files of scanners, made here, with values that tests can know.

use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use std::path::Path;

pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const RLE: &str = "1.2.840.10008.1.2.5";

/// What no output may ever hold.
pub const SECRETS: [&str; 10] = [
    "Mustermann",
    "Erika",
    "PID-4711",
    "19640812",
    "20240229",
    "Charite",
    "Dr.House",
    "ACC-0815",
    "1.2.826.0.1",
    "seen by chance",
];

/// A DICOM object in the making.
#[derive(Clone)]
pub struct Dcm(InMemDicomObject, &'static str);

impl Dcm {
    /// A CT slice of `columns` x `rows` signed values, with a patient.
    pub fn ct(columns: u16, rows: u16, values: &[i16]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let mut dcm = Self(InMemDicomObject::new_empty(), EXPLICIT);
        for (tag, vr, text) in [
            (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
            (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.826.0.1.77"),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.826.0.1.7"),
            (tags::STUDY_DATE, VR::DA, "20240229"),
            (tags::MODALITY, VR::CS, "CT"),
            (tags::BODY_PART_EXAMINED, VR::CS, "HEAD"),
            (tags::PATIENT_NAME, VR::PN, "Mustermann^Erika"),
            (tags::PATIENT_ID, VR::LO, "PID-4711"),
            (tags::PATIENT_BIRTH_DATE, VR::DA, "19640812"),
            (tags::PATIENT_AGE, VR::AS, "059Y"),
            (tags::INSTITUTION_NAME, VR::LO, "Charite"),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Dr.House"),
            (tags::ACCESSION_NUMBER, VR::SH, "ACC-0815"),
            (tags::IMAGE_COMMENTS, VR::LT, "seen by chance"),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        ] {
            dcm = dcm.text(tag, vr, text);
        }
        dcm.number(tags::SAMPLES_PER_PIXEL, 1)
            .number(tags::ROWS, rows)
            .number(tags::COLUMNS, columns)
            .number(tags::BITS_ALLOCATED, 16)
            .number(tags::BITS_STORED, 16)
            .number(tags::HIGH_BIT, 15)
            .number(tags::PIXEL_REPRESENTATION, 1)
            .pixels(&bytes)
    }

    pub fn text(self, tag: Tag, vr: VR, text: &str) -> Self {
        let values = text.split('\\').map(str::to_owned).collect::<Vec<_>>();
        self.put(tag, vr, PrimitiveValue::Strs(values.into()))
    }

    pub fn number(self, tag: Tag, number: u16) -> Self {
        self.put(tag, VR::US, PrimitiveValue::from(number))
    }

    pub fn pixels(self, bytes: &[u8]) -> Self {
        self.put(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U8(bytes.into()))
    }

    pub fn put(mut self, tag: Tag, vr: VR, value: PrimitiveValue) -> Self {
        self.0.put(DataElement::new(tag, vr, value));
        self
    }

    pub fn without(mut self, tag: Tag) -> Self {
        self.0.remove_element(tag);
        self
    }

    /// An item of a sequence.
    pub fn item(mut self, tag: Tag, items: Vec<Self>) -> Self {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        self.0.put(DataElement::new(tag, VR::SQ, Value::Sequence(items.into())));
        self
    }

    pub fn empty() -> Self {
        Self(InMemDicomObject::new_empty(), EXPLICIT)
    }

    /// One slice of a series, `mm` towards the head.
    pub fn at(self, instance: &str, mm: f64) -> Self {
        self.text(tags::INSTANCE_NUMBER, VR::IS, instance)
            .text(tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.826.0.1.77.{instance}"))
            .text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("-100\\-90\\{mm}"))
            .text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0")
            .text(tags::PIXEL_SPACING, VR::DS, "0.5\\0.5")
    }

    /// Compressed: an offset table (may be empty) and fragments.
    pub fn fragments(mut self, syntax: &'static str, offsets: Vec<u32>, fragments: Vec<Vec<u8>>) -> Self {
        self.1 = syntax;
        let value = dicom_core::value::PixelFragmentSequence::new(offsets, fragments);
        self.0.put(DataElement::new(tags::PIXEL_DATA, VR::OB, Value::PixelSequence(value)));
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(self.1)
            .media_storage_sop_class_uid("1.2.840.10008.5.1.4.1.1.2")
            .media_storage_sop_instance_uid("1.2.826.0.1.77.1");
        let file = self.0.with_meta(meta).unwrap();
        let mut bytes = Vec::new();
        file.write_all(&mut bytes).unwrap();
        bytes
    }

    pub fn write(self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }
}

/// An RLE frame of literal runs: segments as the standard orders them.
pub fn rle(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut head = vec![segments.len() as u32];
    let mut body = Vec::new();
    for segment in segments {
        head.push(64 + body.len() as u32);
        for run in segment.chunks(128) {
            body.push(run.len() as u8 - 1);
            body.extend(run);
        }
        if body.len() % 2 == 1 {
            body.push(0x80); // padding: a run of nothing
        }
    }
    head.resize(16, 0);
    head.into_iter().flat_map(u32::to_le_bytes).chain(body).collect()
}

/// NIfTI-1 of 16-bit values, i fastest. `affine` as sform.
pub struct Nii {
    pub dim: [u16; 4],
    pub affine: [[f32; 4]; 3],
    pub slope: (f32, f32),
    pub big_endian: bool,
}

impl Nii {
    pub fn bytes(&self, value: impl Fn([usize; 4]) -> i16) -> Vec<u8> {
        let mut h = vec![0u8; 352];
        let mut put = |at: usize, mut bytes: Vec<u8>| {
            if self.big_endian {
                bytes.reverse();
            }
            h[at..at + bytes.len()].copy_from_slice(&bytes);
        };
        put(0, 348i32.to_le_bytes().into());
        let n = if self.dim[3] > 1 { 4u16 } else { 3 };
        for (i, d) in [n, self.dim[0], self.dim[1], self.dim[2], self.dim[3], 1, 1, 1].into_iter().enumerate() {
            put(40 + 2 * i, d.to_le_bytes().into());
        }
        put(70, 4i16.to_le_bytes().into());
        put(72, 16i16.to_le_bytes().into());
        put(108, 352f32.to_le_bytes().into());
        put(112, self.slope.0.to_le_bytes().into());
        put(116, self.slope.1.to_le_bytes().into());
        put(254, 1i16.to_le_bytes().into());
        for (i, v) in self.affine.iter().flatten().enumerate() {
            put(280 + 4 * i, v.to_le_bytes().into());
        }
        h[344..348].copy_from_slice(b"n+1\0");
        h[148..158].copy_from_slice(b"Mustermann"); // descrip
        for t in 0..self.dim[3] {
            for k in 0..self.dim[2] {
                for j in 0..self.dim[1] {
                    for i in 0..self.dim[0] {
                        let v = value([i, j, k, t].map(usize::from));
                        h.extend(if self.big_endian { v.to_be_bytes() } else { v.to_le_bytes() });
                    }
                }
            }
        }
        h
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}
