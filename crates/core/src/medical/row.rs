//! A line of slices.jsonl, and questions and answers made of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is known of one picture. Nothing here says who the patient is, unless a field was asked for by its name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Row {
    /// The picture's path, relative to the table.
    pub image: String,
    /// Hash of the series' UID (DICOM) or of the file's beginning; the same for all slices of a series.
    pub series: String,
    /// `dicom`, `nifti`, `png` or `tiff`
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modality: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_part: Option<String>,
    /// `axial`, `coronal`, `sagittal` or `oblique`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plane: Option<String>,
    /// Place in the series from 0, towards the patient's left, back or head; how many there are.
    pub slice: usize,
    pub slices: usize,
    /// From 0, in files of several frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<usize>,
    /// Along the slices' normal, in millimetres, in DICOM's directions (towards left, back or head).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_mm: Option<f64>,
    /// Width and height of the picture.
    pub width: u32,
    pub height: u32,
    /// From one pixel of the picture to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_mm: Option<f64>,
    pub window: WindowRow,
    /// How the picture lies: `radiological` (the patient's right on the left), or `as stored`.
    pub display: String,
    /// The pixels were not square and were made so.
    pub resampled: bool,
    /// A DICOM file says that writing is burned into its pixels: it may be a name.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub burned_in: bool,
    /// The fields of --keep.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub kept: BTreeMap<String, String>,
}

/// Which window a picture was made with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WindowRow {
    /// `file`, `file (lookup table)`, a preset's name, `given`, `percentiles 1-99 of …`, or `colour` (none)
    pub from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub center: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<f64>,
}

/// Names that stand in braces in a question or an answer, beside those of --keep.
const NAMES: [&str; 8] = ["kind", "modality", "body_part", "plane", "slice", "slices", "position_mm", "window"];

/// A text with `{names}` in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// # Errors
    /// A name that is neither one of the table's nor in `kept`.
    pub fn new(text: &str, kept: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("\"{text}\": a {{ without its }}"))?;
            if !NAMES.contains(&name) && !kept.iter().any(|k| k == name) {
                return Err(format!(
                    "{{{name}}} is unknown; use {}, or a DICOM field that --keep names",
                    NAMES.join(", ")
                ));
            }
            parts.extend([Part::Text(before.to_owned()), Part::Name(name.to_owned())]);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The text for a picture; `None` if it has no value for one of the names.
    pub fn fill(&self, row: &Row) -> Option<String> {
        let text = self.0.iter().map(|part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Name(name) => row.value(name),
        });
        text.collect::<Option<String>>().filter(|text| !text.trim().is_empty())
    }
}

impl Row {
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "kind" => Some(self.kind.clone()),
            "modality" => self.modality.clone(),
            "body_part" => self.body_part.clone(),
            "plane" => self.plane.clone(),
            "slice" => Some(self.slice.to_string()),
            "slices" => Some(self.slices.to_string()),
            "position_mm" => self.position_mm.map(|mm| format!("{mm:.1}")),
            "window" => Some(match (self.window.center, self.window.width) {
                (Some(center), Some(width)) => format!("{} (width {width:.0}, level {center:.0})", self.window.from),
                _ => self.window.from.clone(),
            }),
            kept => self.kept.get(kept).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_take_names_of_the_table_and_kept_fields_only() {
        let kept = vec!["PatientAge".to_owned()];
        let row = Row {
            modality: Some("CT".into()),
            position_mm: Some(-12.25),
            kept: [("PatientAge".to_owned(), "045Y".to_owned())].into(),
            ..Row::default()
        };
        let fill = |text: &str| Template::new(text, &kept).unwrap().fill(&row);
        assert_eq!(fill("A {modality} at {position_mm} mm, {PatientAge}.").as_deref(), Some("A CT at -12.2 mm, 045Y."));
        assert_eq!(fill("What is this?").as_deref(), Some("What is this?"));
        assert_eq!(fill("{body_part}"), None, "no value");
        for bad in ["{PatientName}", "{modality", "{}"] {
            assert!(Template::new(bad, &kept).is_err(), "{bad}");
        }
    }
}
