//! What can be wrong with a sample. Kinds are part of the interface: scripts match on them, so they never change.

use super::journal::names::{self, Name};

/// The stable names in [`Problem::kind`].
pub mod kind {
    /// The row (or the file from here on) is not JSON.
    pub const BAD_JSON: &str = "bad_json";
    /// Text that is not UTF-8.
    pub const NOT_UTF8: &str = "not_utf8";
    /// The row is no JSON object.
    pub const NOT_AN_OBJECT: &str = "not_an_object";
    /// A row of more bytes than a sample can have.
    pub const ROW_TOO_LARGE: &str = "row_too_large";
    /// A column that dataset_info.json names (or its default) is not in the row.
    pub const MISSING_COLUMN: &str = "missing_column";
    /// A column holds another type than it should.
    pub const BAD_TYPE: &str = "bad_type";
    /// The conversation has no turns.
    pub const NO_TURNS: &str = "no_turns";
    /// The number of turns is odd, so the last one is not an answer.
    pub const ODD_TURNS: &str = "odd_turns";
    /// A turn's role is unknown, or not allowed at its place.
    pub const BAD_ROLE: &str = "bad_role";
    /// An alpaca row without an answer.
    pub const NO_ANSWER: &str = "no_answer";
    /// An answer or caption without text.
    pub const EMPTY_CAPTION: &str = "empty_caption";
    /// The number of `<image>` marks is not the number of pictures.
    pub const IMAGE_COUNT: &str = "image_count";
    /// The picture's file is not there, or the row has no picture.
    pub const IMAGE_MISSING: &str = "image_missing";
    /// The picture's path leads to a folder, a FIFO or a device.
    pub const IMAGE_NOT_A_FILE: &str = "image_not_a_file";
    /// The picture is given as a URL.
    pub const IMAGE_URL: &str = "image_url";
    /// The picture's file could not be read.
    pub const IMAGE_UNREADABLE: &str = "image_unreadable";
    /// More bytes or pixels than accepted.
    pub const IMAGE_TOO_LARGE: &str = "image_too_large";
    /// No picture format that is known here.
    pub const IMAGE_FORMAT: &str = "image_format";
    /// The picture ends too early.
    pub const IMAGE_TRUNCATED: &str = "image_truncated";
    /// The picture is damaged.
    pub const IMAGE_BROKEN: &str = "image_broken";
    /// A warning: grey of more than 8 bits, of which Pillow makes white whatever is above 255.
    pub const IMAGE_CLIPPED: &str = "image_clipped";
    /// A warning: smaller than one token of the model shows.
    pub const IMAGE_TINY: &str = "image_tiny";
    /// A warning: one colour everywhere.
    pub const IMAGE_BLANK: &str = "image_blank";
    /// A warning: a question without text and without a picture.
    pub const EMPTY_QUESTION: &str = "empty_question";
    /// A warning: conversation and pictures are those of an earlier sample.
    pub const DUPLICATE: &str = "duplicate";
    /// `image_labels` does not fit the picture's tokens.
    pub const IMAGE_LABELS: &str = "image_labels";
    /// No token is left to learn from after the cut at `cutoff_len`.
    pub const NO_LABELS: &str = "no_labels";
    /// Videos and audio, which are not supported.
    pub const UNSUPPORTED_MEDIA: &str = "unsupported_media";
    /// A parquet page that cannot be decoded.
    pub const BAD_PARQUET: &str = "bad_parquet";
    /// The file changed or vanished after it was opened.
    pub const UNREADABLE: &str = "unreadable";

    /// Those that training takes all the same.
    pub const WARNINGS: [&str; 5] = [IMAGE_CLIPPED, IMAGE_TINY, IMAGE_BLANK, EMPTY_QUESTION, DUPLICATE];

    /// Those that reading a row can give; the others need its pictures or a model.
    pub const READING: [&str; 17] = [
        BAD_JSON,
        NOT_UTF8,
        NOT_AN_OBJECT,
        ROW_TOO_LARGE,
        MISSING_COLUMN,
        BAD_TYPE,
        NO_TURNS,
        ODD_TURNS,
        BAD_ROLE,
        NO_ANSWER,
        EMPTY_CAPTION,
        IMAGE_COUNT,
        IMAGE_MISSING,
        IMAGE_LABELS,
        UNSUPPORTED_MEDIA,
        BAD_PARQUET,
        UNREADABLE,
    ];
}

/// What is wrong with one sample, with file and line: one sentence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// Index in the data set (0-based, over all named sets).
    pub index: usize,
    /// File, and line (JSON) or row (parquet), counted from 1.
    pub origin: String,
    /// Stable short name, one of [`kind`], of `ImageError::kind` or of `EncodeError::kind`.
    #[serde(deserialize_with = "names::one")]
    pub kind: Name,
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.kind, self.reason)
    }
}

/// A problem before it is known which sample of which file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: &'static str,
    pub reason: String,
}

impl Fault {
    pub fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    pub fn at(self, index: usize, origin: impl Into<String>) -> Problem {
        Problem { index, origin: origin.into(), kind: self.kind, reason: self.reason }
    }
}
