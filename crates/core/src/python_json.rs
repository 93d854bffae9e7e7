//! JSON with the bytes of Python's `json` module: LLaMA-Factory's and the HF Trainer's files, the tutorial's data sets,
//! and the tool descriptions whose tokens depend on its separators and numbers.
//!
//! Blanks after `,` and `:`, floats as `repr` prints them (`1e-05`, `3.0`), keys in their order unless sorted; of repeated
//! keys the last value wins at the first place. NaN and infinities, for which Python leaves JSON, become `null`.
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// `json.dumps(value)`: one line, non-ASCII letters as `\uXXXX`.
pub fn line<T: Serialize>(value: &T) -> serde_json::Result<String> {
    write(value, Python { ascii: true, ..Python::default() })
}

/// `json.dumps(value, indent=indent, sort_keys=True)`.
pub fn sorted<T: Serialize>(value: &T, indent: usize) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    let indent = " ".repeat(indent);
    write(
        &value,
        Python { ascii: true, pretty: Some(PrettyFormatter::with_indent(indent.as_bytes())), ..Python::default() },
    )
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub fn unicode_indented<T: Serialize>(value: &T, indent: usize) -> serde_json::Result<String> {
    let indent = " ".repeat(indent);
    write(value, Python { pretty: Some(PrettyFormatter::with_indent(indent.as_bytes())), ..Python::default() })
}

/// `json.dumps(json.loads(text), ensure_ascii=False)` of a parsed value.
///
/// # Errors
/// A whole number beyond 64 bits, which serde_json has read as a float: Python would print all its digits.
pub fn unicode_line(value: &Value) -> serde_json::Result<String> {
    write(value, Python { refuse_large: true, ..Python::default() })
}

fn write<T: Serialize>(value: &T, python: Python<'_>) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, python))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

#[derive(Default)]
struct Python<'a> {
    /// `None`: all in one line.
    pretty: Option<PrettyFormatter<'a>>,
    /// `ensure_ascii`
    ascii: bool,
    refuse_large: bool,
}

impl Formatter for Python<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if self.refuse_large && value.fract() == 0.0 && value.abs() >= 2f64.powi(64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds a whole number beyond 64 bits"));
        }
        writer.write_all(float_repr(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.is_ascii() && c != '\u{7f}' {
                writer.write_all(&[c as u8])?;
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.begin_array(writer),
            None => writer.write_all(b"["),
        }
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.end_array(writer),
            None => writer.write_all(b"]"),
        }
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.begin_array_value(writer, first),
            None if first => Ok(()),
            None => writer.write_all(b", "),
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.as_mut().map_or(Ok(()), |pretty| pretty.end_array_value(writer))
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.begin_object(writer),
            None => writer.write_all(b"{"),
        }
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.end_object(writer),
            None => writer.write_all(b"}"),
        }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.begin_object_key(writer, first),
            None if first => Ok(()),
            None => writer.write_all(b", "),
        }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.as_mut().map_or(Ok(()), |pretty| pretty.end_object_value(writer))
    }
}

/// Python's `repr` of a finite float: the shortest digits that read back equal, with an exponent of at least two
/// digits below 1e-4 and from 1e16 on.
pub(crate) fn float_repr(x: f64) -> String {
    // Rust's `{:e}` has the same digits, as d.ddde±x.
    let scientific = format!("{x:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(e) if (-4..16).contains(&e) => {
            let plain = format!("{x}");
            if plain.contains('.') { plain } else { format!("{plain}.0") }
        }
        Ok(e) => format!("{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs()),
        Err(_) => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_python_repr_prints_them() {
        // From Python: [repr(x) for x in (...)]
        for (x, repr) in [
            (0.0, "0.0"),
            (3.0, "3.0"),
            (1e-4, "0.0001"),
            (9.903113209758097e-5, "9.903113209758097e-05"),
            (5e-5, "5e-05"),
            (1e-10, "1e-10"),
            (8547581952.0, "8547581952.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (-0.1, "-0.1"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        ] {
            assert_eq!(float_repr(x), repr);
        }
    }

    #[test]
    fn text_is_escaped_as_python_escapes_it() {
        assert_eq!(line(&"é \u{1F600} \" \\ \n \u{1} /").unwrap(), r#""\u00e9 \ud83d\ude00 \" \\ \n \u0001 /""#);
    }

    fn round_trip(text: &str) -> String {
        unicode_line(&serde_json::from_str(text).unwrap()).unwrap()
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
    fn parsed_floats_are_printed_as_python_prints_them() {
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
        assert!(unicode_line(&value).unwrap_err().to_string().contains("64 bits"));
    }

    #[test]
    fn text_is_laid_out_and_escaped_as_python_does() {
        // python3 -c 'import json; print(json.dumps({"a": [1, {}], "b": "é\n\t\x01\x7f\"\\/图", "c": []}, ensure_ascii=False, indent=4))'
        let value = serde_json::json!({"a": [1, {}], "b": "é\n\t\u{1}\u{7f}\"\\/图", "c": []});
        let expected = "{\n    \"a\": [\n        1,\n        {}\n    ],\n    \"b\": \"é\\n\\t\\u0001\u{7f}\\\"\\\\/图\",\n    \"c\": []\n}";
        assert_eq!(unicode_indented(&value, 4).unwrap(), expected);
    }
}
