//! JSON with the bytes of Python's `json.dumps`, in which LLaMA-Factory and the HF Trainer write their files: blanks
//! after `,` and `:`, floats as `repr` prints them (`1e-05`, `3.0`), non-ASCII letters as `\uXXXX`, sorted keys.
//! NaN and infinities, for which Python leaves JSON, become `null`.
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// `json.dumps(value)`: one line, keys in the order of the type.
pub fn line<T: Serialize>(value: &T) -> serde_json::Result<String> {
    write(value, Python { pretty: None })
}

/// `json.dumps(value, indent=indent, sort_keys=True)`.
pub fn sorted<T: Serialize>(value: &T, indent: usize) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    let indent = " ".repeat(indent);
    write(&value, Python { pretty: Some(PrettyFormatter::with_indent(indent.as_bytes())) })
}

fn write<T: Serialize>(value: &T, python: Python<'_>) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, python))?;
    // Only ASCII was written.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Python<'a> {
    /// `None`: all in one line.
    pretty: Option<PrettyFormatter<'a>>,
}

impl Formatter for Python<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float_repr(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
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
}
