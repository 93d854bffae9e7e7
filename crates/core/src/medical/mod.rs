//! Pictures of what scanners write: DICOM series, NIfTI volumes, 16-bit PNG and TIFF (`lightbox data slices`).
//!
//! ```text
//! files, folders ─ scan ─▶ series of slices ─ read ─▶ values ─ window ─▶ 8-bit picture ─ slices ─▶ images/, slices.jsonl
//! ```
//! The values of a scanner have more steps than a picture: a *window* chooses which of them are seen ([`window`]). Who the
//! patient is stays in the source: only what the table needs is read at all ([`dicom`]), UIDs become hashes, and file names
//! of the source appear on the terminal only.
//!
//! Memory: one file or one volume at a time ([`MAX_FILE`], [`MAX_VOXELS`]) and one slice of it as numbers ([`MAX_PIXELS`]).
//! Decoders run behind `catch_unwind`. Read next: [`scan`](scan::scan), then [`slices`].

mod conversations;
mod dicom;
mod nifti;
mod picture;
mod read;
mod row;
mod scan;
mod sheet;
mod slices;
mod wide;
pub mod window;

pub use crate::data::Fault;
pub use dicom::is_dicom;
pub use nifti::{Axis, is_nifti};
pub use picture::PictureFormat;
pub use row::Template;
pub use slices::{Bad, Done, SliceError, SliceOptions, SliceReport, Watch, slices};

use crate::vision::Size;
use sha2::{Digest, Sha256};

/// Largest DICOM or TIFF file (or inflated data set), in bytes.
pub const MAX_FILE: u64 = 1 << 30;
/// Most pixels of a slice.
pub const MAX_PIXELS: usize = 67_000_000;
/// Most voxels of a NIfTI volume (one frame of it); 4 bytes each.
pub const MAX_VOXELS: u64 = 1 << 28;

/// Stable names of what can be wrong with a file; kinds of [`crate::data::kind`] come as well.
pub mod kind {
    /// The file contradicts the standard or itself.
    pub const DICOM_BROKEN: &str = "dicom_broken";
    pub const DICOM_TRUNCATED: &str = "dicom_truncated";
    /// A sound file of a kind that is not read here; the reason says what to do.
    pub const DICOM_UNSUPPORTED: &str = "dicom_unsupported";
    /// A DICOM object without pictures, named as a source itself (in a folder it is passed over).
    pub const DICOM_NO_PIXELS: &str = "dicom_no_pixels";
    pub const NIFTI_BROKEN: &str = "nifti_broken";
    pub const NIFTI_UNSUPPORTED: &str = "nifti_unsupported";
    /// More bytes, pixels or frames than are read.
    pub const TOO_LARGE: &str = crate::data::kind::IMAGE_TOO_LARGE;
    /// A file named as a source that is none of the kinds.
    pub const NOT_MEDICAL: &str = "not_medical";
}

/// One slice before windowing.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    pub size: Size,
    pub values: Values,
}

/// `[height, width]` or `[height, width, 3]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// In the scanner's unit.
    Grey(Vec<f64>),
    Rgb(Vec<u8>),
}

/// The first 12 hex digits of a SHA-256: says which belong together, not what they were.
fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a decoder; its panic becomes a fault.
fn guarded<T>(decode: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(Fault::new(crate::data::kind::IMAGE_BROKEN, "damaged: the decoder gave up")))
}
