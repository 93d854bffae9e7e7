//! A part of a split, as Python's `datasets` writes it: `train[:10%]`, `train[100:200]`, `train[-5%:]`.
//!
//! Follows `ReadInstruction` of datasets 5.2 (arrow_reader.py): a boundary in percent is rounded to the nearest row (half to
//! even, as Python rounds), a negative one counts from the end, and one beyond the rows is the last one.

use anyhow::{Context, bail};
use std::ops::Range;

/// Which rows of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    from: Option<i64>,
    to: Option<i64>,
    percent: bool,
}

impl Slice {
    /// The name of the split, and which part of it where one is asked for.
    ///
    /// # Errors
    /// Several splits, boundaries that are none, another rounding.
    pub fn parse(spec: &str) -> anyhow::Result<(String, Option<Self>)> {
        let wrong = "is no split; write train, train[:10%], train[100:200] or train[-5%:]";
        if spec.contains('+') {
            bail!("\"{spec}\" joins splits; make an entry for each, and name both in `dataset`");
        }
        let (name, rest) = spec.split_once('[').unwrap_or((spec, ""));
        let is_name = |name: &str| !name.is_empty() && !name.contains(['%', '(', ']', ':']);
        if !is_name(name) {
            bail!("\"{spec}\" {wrong}");
        }
        if name.len() == spec.len() {
            return Ok((name.to_owned(), None));
        }
        let rest = rest.strip_suffix("(closest)").unwrap_or(rest);
        let (from, to) = rest
            .strip_suffix(']')
            .and_then(|inside| inside.split_once(':'))
            .with_context(|| format!("\"{spec}\" {wrong}"))?;
        let boundary = |text: &str| -> anyhow::Result<(Option<i64>, bool)> {
            let number = text.strip_suffix('%').unwrap_or(text);
            match number {
                "" if number.len() == text.len() => Ok((None, false)),
                _ => {
                    let n = number.replace('_', "").parse().with_context(|| format!("\"{spec}\" {wrong}"))?;
                    Ok((Some(n), number.len() < text.len()))
                }
            }
        };
        let ((from, a), (to, b)) = (boundary(from)?, boundary(to)?);
        let slice = Self { from, to, percent: a || b };
        if slice.percent && [from, to].iter().flatten().any(|n| n.abs() > 100) {
            bail!("\"{spec}\": percentages go from -100 to 100");
        }
        Ok((name.to_owned(), Some(slice)))
    }

    /// Of so many rows.
    pub fn of(&self, rows: usize) -> Range<usize> {
        let n = rows as i64;
        let place = |boundary: Option<i64>, open: i64| {
            let place = match boundary {
                None => open,
                Some(percent) if self.percent => (percent as f64 * rows as f64 / 100.0).round_ties_even() as i64,
                Some(place) => place,
            };
            if place < 0 { (n + place).max(0) } else { place.min(n) }
        };
        let (from, to) = (place(self.from, 0) as usize, place(self.to, n) as usize);
        from..to.max(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `ReadInstruction.from_spec(spec).to_absolute({"train": n})` of datasets 5.2 gives for 7, 25 and 150 rows.
    #[test]
    fn parts_are_those_of_datasets() {
        for (spec, expected) in [
            ("train", [0..7, 0..25, 0..150]),
            ("train[:]", [0..7, 0..25, 0..150]),
            ("train[:10%]", [0..1, 0..2, 0..15]),
            ("train[:10%](closest)", [0..1, 0..2, 0..15]),
            ("train[33%:66%]", [2..5, 8..16, 50..99]),
            ("train[:50%]", [0..4, 0..12, 0..75]),
            ("train[5:10%]", [0..1, 1..2, 8..15]),
            ("train[1%:]", [0..7, 0..25, 2..150]),
            ("train[:1_000]", [0..7, 0..25, 0..150]),
            ("train[-200:]", [0..7, 0..25, 0..150]),
            ("train[-3:]", [4..7, 22..25, 147..150]),
            ("train[:-3]", [0..4, 0..22, 0..147]),
            ("train[7:3]", [7..7, 7..7, 7..7]),
        ] {
            let (name, slice) = Slice::parse(spec).unwrap();
            assert_eq!(name, "train");
            for (n, expected) in [7, 25, 150].into_iter().zip(expected) {
                assert_eq!(slice.as_ref().map_or(0..n, |slice| slice.of(n)), expected, "{spec} of {n}");
            }
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for spec in [
            "",
            "[:3]",
            "train[3]",
            "train[:1.5%]",
            "train[:101%]",
            "train[:3",
            "train[%:3]",
            "a+b",
            "train[:2]+test",
            "train[:10%](pct1_dropremainder)",
        ] {
            let error = Slice::parse(spec).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{spec}\"")), "{error}");
        }
    }
}
