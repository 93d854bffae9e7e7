//! Why a picture cannot be used. The caller adds which one (file, line, sample) and what it did about it.

use super::decode::Format;

/// Why a picture cannot be used. [`Self::kind`] is the stable name for counting and for scripts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The file ends before the picture does. PIL refuses these too, while many viewers show a grey lower part.
    #[error(
        "{format} file ends before the picture is complete ({detail}); fetch the file again or leave the sample out"
    )]
    Truncated { format: Format, detail: String },
    /// Beyond [`super::MAX_SIDE`], [`super::MAX_PIXELS`] or [`super::MAX_BYTES`]; found from the header, nothing was decoded.
    #[error("{width}x{height} pixels is too large: {limit}; scale the picture down before using it")]
    TooLarge { width: u64, height: u64, limit: String },
    /// Not a picture, or of a kind that is not supported; a whole sentence with what to do.
    #[error("{0}")]
    Format(String),
    /// Known format, damaged content.
    #[error("damaged {format} file: {detail}; fetch the file again or leave the sample out")]
    Broken { format: Format, detail: String },
    /// No size within the limits keeps the shape of such a strip.
    #[error("{width}x{height} pixels is too long and thin: {detail}; crop the picture")]
    Ratio { width: u32, height: u32, detail: String },
}

impl ImageError {
    /// A name that never changes: `image_truncated`, `image_too_large`, `image_format`, `image_broken` or `image_ratio`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "image_truncated",
            Self::TooLarge { .. } => "image_too_large",
            Self::Format(_) => "image_format",
            Self::Broken { .. } => "image_broken",
            Self::Ratio { .. } => "image_ratio",
        }
    }

    pub(super) fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::Format(format!("{what} is not supported; convert the picture to PNG or JPEG"))
    }

    pub(super) fn truncated(format: Format, detail: impl ToString) -> Self {
        Self::Truncated { format, detail: detail.to_string() }
    }

    pub(super) fn broken(format: Format, detail: impl ToString) -> Self {
        Self::Broken { format, detail: detail.to_string() }
    }

    /// An I/O error of a decoder that reads from memory can only mean that the bytes ran out.
    pub(super) fn from_io(format: Format, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::truncated(format, error),
            _ => Self::broken(format, error),
        }
    }

    pub(super) fn from_image(format: Format, error: image::ImageError) -> Self {
        use image::ImageError as E;
        match error {
            E::IoError(e) => Self::from_io(format, &e),
            E::Unsupported(e) => Self::unsupported(format_args!("this kind of {format} file ({e})")),
            e => Self::broken(format, e),
        }
    }
}
