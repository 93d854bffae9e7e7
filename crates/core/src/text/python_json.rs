//! JSON as Python writes it: `json.dumps(value, ensure_ascii=False)`. Tool descriptions and function calls go through
//! Python's json module in LLaMA-Factory before the model sees them, so their tokens depend on its separators and numbers.
//!
//! Key order is kept (serde_json's `preserve_order`); of repeated keys the last value wins at the first place, as in
//! Python. Not reproduced, but refused: whole numbers beyond 64 bits, which serde_json cannot tell from floats, and `NaN`.
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// `json.dumps(json.loads(text), ensure_ascii=False)` of a parsed value.
pub(super) fn dumps(value: &Value) -> Result<String, String> {
    let mut out = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Python)).map_err(|e| e.to_string())?;
    String::from_utf8(out).map_err(|e| e.to_string())
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        w.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        w.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }

    fn write_f64<W: ?Sized + Write>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        if value.fract() == 0.0 && value.abs() >= 2f64.powi(64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds a whole number beyond 64 bits"));
        }
        w.write_all(float_repr(value).as_bytes())
    }
}

/// Python's `repr` of a finite float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
fn float_repr(x: f64) -> String {
    // `{:e}` gives the same shortest digits as Python: "1.2345e-7"
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(e) if !(-4..16).contains(&e) => format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs()),
        _ => format!("{x:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        dumps(&serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn separators_order_and_escapes_are_pythons() {
        assert_eq!(round_trip(r#"{"b":[1,2,{}],"a":null,"b2":[]}"#), r#"{"b": [1, 2, {}], "a": null, "b2": []}"#);
        assert_eq!(
            round_trip(r#""\u00e9\/\u0001\u007f\b\f\n\r\t\"\\北""#),
            "\"é/\\u0001\u{7f}\\b\\f\\n\\r\\t\\\"\\\\北\""
        );
        assert_eq!(round_trip(r#"{"a":1,"b":2,"a":3}"#), r#"{"a": 3, "b": 2}"#);
    }

    /// Right-hand sides from Python 3.11's repr().
    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for (text, python) in [
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("2.50", "2.5"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1.5e16", "1.5e+16"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.25E-7", "1.25e-07"),
            ("1e-100", "1e-100"),
            ("123456.789", "123456.789"),
            ("5e-324", "5e-324"),
            ("0.1", "0.1"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(round_trip(text), python);
        }
    }

    #[test]
    fn a_number_that_would_change_is_refused() {
        let value: Value = serde_json::from_str("[1, 123456789012345678901234567890]").unwrap();
        assert!(dumps(&value).unwrap_err().contains("64 bits"));
    }
}
