//! Windowing: values of a scanner (Hounsfield units, signal, counts) → 8-bit grey.
//!
//! A window says which values become black and which white; outside of it everything is cut off, so the choice decides
//! what can be seen at all. The functions are DICOM's (PS3.3 C.11.2.1.2 and C.11.2.1.3), scaled to 0…255 and rounded half up.

use crate::medical::Fault;

/// Preset windows of CT, in Hounsfield units: name, width, centre ("level").
pub const PRESETS: [(&str, f64, f64); 9] = [
    ("brain", 80.0, 40.0),
    ("subdural", 200.0, 75.0),
    ("stroke", 40.0, 40.0),
    ("bone", 2800.0, 600.0),
    ("temporal-bone", 4000.0, 700.0),
    ("lung", 1500.0, -600.0),
    ("mediastinum", 350.0, 50.0),
    ("soft-tissue", 400.0, 40.0),
    ("liver", 150.0, 30.0),
];

/// Which window is wanted.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum WindowChoice {
    /// The file's own, the first where it names several; [`WindowChoice::Auto`] where it has none.
    #[default]
    File,
    /// From the 1st to the 99th percentile of the values.
    Auto,
    /// One of [`PRESETS`].
    Preset(&'static str),
    /// Centre and width.
    Given { center: f64, width: f64 },
}

impl std::str::FromStr for WindowChoice {
    type Err = String;

    /// `file`, `auto`, a preset's name, or `CENTER,WIDTH`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "file" => return Ok(Self::File),
            "auto" => return Ok(Self::Auto),
            _ => {}
        }
        if let Some((name, ..)) = PRESETS.iter().find(|(name, ..)| *name == text) {
            return Ok(Self::Preset(name));
        }
        let names = || PRESETS.map(|(name, ..)| name).join(", ");
        let wrong =
            || format!("use file, auto, CENTER,WIDTH (two numbers, the width at least 1) or one of {}", names());
        let (center, width) = text.split_once(',').ok_or_else(wrong)?;
        let number = |s: &str| s.trim().parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(wrong);
        let (center, width) = (number(center)?, number(width)?);
        if width < 1.0 { Err(wrong()) } else { Ok(Self::Given { center, width }) }
    }
}

/// A function from values to grey.
#[derive(Debug, Clone, PartialEq)]
pub enum Window {
    /// DICOM's LINEAR (the default): width in whole steps of the value, both ends included.
    Linear { center: f64, width: f64 },
    /// DICOM's LINEAR_EXACT.
    Exact { center: f64, width: f64 },
    /// DICOM's SIGMOID.
    Sigmoid { center: f64, width: f64 },
    /// A VOI lookup table: `first` is the value of the first entry; entries go up to `max`.
    Table { first: f64, max: f64, entries: Vec<u16> },
}

impl Window {
    /// What becomes black, what becomes white; for a picture of one value, that value is black.
    pub fn between(low: f64, high: f64) -> Self {
        Self::Exact { center: low.midpoint(high), width: high - low }
    }

    /// The window of a preset.
    pub fn preset(name: &str) -> Option<Self> {
        let (_, width, center) = PRESETS.iter().find(|(preset, ..)| *preset == name)?;
        Some(Self::Linear { center: *center, width: *width })
    }

    /// DICOM's Window Center, Window Width and VOI LUT Function.
    ///
    /// # Errors
    /// A width that the standard forbids, or a function that it does not know.
    pub fn of_file(center: f64, width: f64, function: Option<&str>) -> Result<Self, Fault> {
        let least = if matches!(function, Some("LINEAR_EXACT" | "SIGMOID")) { f64::MIN_POSITIVE } else { 1.0 };
        if !center.is_finite() || !width.is_finite() || width < least {
            return Err(Fault::new(
                "dicom_window",
                format!("its window (centre {center}, width {width}) cannot be; give one with --window"),
            ));
        }
        match function {
            None | Some("" | "LINEAR") => Ok(Self::Linear { center, width }),
            Some("LINEAR_EXACT") => Ok(Self::Exact { center, width }),
            Some("SIGMOID") => Ok(Self::Sigmoid { center, width }),
            Some(_) => Err(Fault::new("dicom_window", "its VOI LUT Function is unknown; give a window with --window")),
        }
    }

    /// Grey of a value, 0…255. What is not a number is black.
    pub fn grey(&self, value: f64) -> u8 {
        let unit = match self {
            _ if value.is_nan() => 0.0,
            &Self::Linear { center, width } => {
                let (middle, span) = (center - 0.5, width - 1.0);
                if value <= middle - span / 2.0 {
                    0.0
                } else if value > middle + span / 2.0 {
                    1.0
                } else {
                    (value - middle) / span + 0.5
                }
            }
            &Self::Exact { center, width } => {
                if value <= center - width / 2.0 {
                    0.0
                } else if value > center + width / 2.0 {
                    1.0
                } else {
                    (value - center) / width + 0.5
                }
            }
            &Self::Sigmoid { center, width } => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
            Self::Table { first, max, entries } => {
                // A value outside the table takes its first or last entry. `as usize` stops at 0.
                let at = ((value - first) as usize).min(entries.len().saturating_sub(1));
                entries.get(at).map_or(0.0, |&entry| f64::from(entry) / max)
            }
        };
        (unit.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
    }

    /// Centre and width, where it has them.
    pub fn center_width(&self) -> Option<(f64, f64)> {
        match *self {
            Self::Linear { center, width } | Self::Exact { center, width } | Self::Sigmoid { center, width } => {
                Some((center, width))
            }
            Self::Table { .. } => None,
        }
    }
}

/// Values that percentiles are taken of: at most this many, evenly spaced over all.
const SAMPLE: usize = 4_000_000;

/// Gathers values for a window from the 1st to the 99th percentile.
#[derive(Debug, Default)]
pub struct Percentiles(Vec<f32>);

impl Percentiles {
    /// Adds the finite values of `all` that `take` accepts; of very many every n-th.
    pub fn add(&mut self, all: impl ExactSizeIterator<Item = f64>, pictures: usize, take: impl Fn(f64) -> bool) {
        let room = SAMPLE / pictures.max(1);
        let step = all.len().div_ceil(room.max(1)).max(1);
        self.0.extend(all.step_by(step).filter(|v| v.is_finite() && take(*v)).map(|v| v as f32));
    }

    /// The window. Where the percentiles are one value (a mask, a picture that is mostly empty), from the least to the
    /// greatest; `None` without any value.
    pub fn window(mut self) -> Option<Window> {
        let values = &mut self.0;
        let last = values.len().checked_sub(1)?;
        values.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| f64::from(values[(share * last as f64).round() as usize]);
        let (low, high) = (at(0.01), at(0.99));
        Some(if high > low { Window::between(low, high) } else { Window::between(at(0.0), at(1.0)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_is_the_standards_formula() {
        // PS3.3 C.11.2.1.2.1: c = 2048, w = 4096 -> x <= 0 is black, x > 4095 white, linear between.
        let w = Window::Linear { center: 2048.0, width: 4096.0 };
        assert_eq!([-1.0, 0.0, 4095.0, 4096.0].map(|x| w.grey(x)), [0, 0, 255, 255]);
        assert_eq!(w.grey(2047.5), 128, "the middle");
        // c = 0, w = 100: -50 and 49 are the ends.
        let w = Window::Linear { center: 0.0, width: 100.0 };
        assert_eq!([-50.0, -0.5, 49.0, 49.01].map(|x| w.grey(x)), [0, 128, 255, 255]);
        // A width of 1 is a threshold at c - 0.5.
        let w = Window::Linear { center: 10.0, width: 1.0 };
        assert_eq!([9.0, 9.5, 10.0].map(|x| w.grey(x)), [0, 0, 255]);
    }

    #[test]
    fn exact_and_sigmoid_and_tables() {
        let w = Window::Exact { center: 0.0, width: 100.0 };
        assert_eq!([-50.0, 0.0, 50.0].map(|x| w.grey(x)), [0, 128, 255]);
        let w = Window::Sigmoid { center: 0.0, width: 100.0 };
        assert_eq!([-1e9, 0.0, 25.0, 1e9].map(|x| w.grey(x)), [0, 128, 186, 255]);
        let w = Window::Table { first: 10.0, max: 4095.0, entries: vec![0, 4095, 2048] };
        assert_eq!([0.0, 10.0, 11.0, 12.0, 99.0].map(|x| w.grey(x)), [0, 0, 255, 128, 128]);
        assert_eq!(w.grey(f64::NAN), 0);
    }

    #[test]
    fn presets_are_read_as_width_and_level() {
        let brain: WindowChoice = "brain".parse().unwrap();
        assert_eq!(brain, WindowChoice::Preset("brain"));
        let w = Window::preset("brain").unwrap();
        assert_eq!([0.0, 79.0, 39.5].map(|hu| w.grey(hu)), [0, 255, 128], "0 to 79 HU");
        assert_eq!("-600, 1500".parse(), Ok(WindowChoice::Given { center: -600.0, width: 1500.0 }));
        for bad in ["", "brian", "40", "40,0", "40,nan", "a,b", "1,2,3"] {
            let error = bad.parse::<WindowChoice>().unwrap_err();
            assert!(error.contains("brain") && error.contains("CENTER,WIDTH"), "{bad}: {error}");
        }
    }

    #[test]
    fn percentiles_leave_the_outer_hundredths_out() {
        let mut p = Percentiles::default();
        p.add((0..1001).map(f64::from), 1, |_| true);
        assert_eq!(p.window(), Some(Window::between(10.0, 990.0)));
        let mut mask = Percentiles::default();
        mask.add((0..1000).map(|i| if i == 5 { 3.0 } else { 0.0 }), 1, |_| true);
        assert_eq!(mask.window(), Some(Window::between(0.0, 3.0)), "a mask is not lost");
        let mut flat = Percentiles::default();
        flat.add([7.0; 9].into_iter(), 1, |_| true);
        let flat = flat.window().unwrap();
        assert_eq!((flat.grey(7.0), flat.grey(8.0)), (0, 255));
        let mut none = Percentiles::default();
        none.add([f64::NAN, f64::INFINITY].into_iter(), 1, |_| true);
        assert_eq!(none.window(), None);
    }
}
