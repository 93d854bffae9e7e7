//! JSON as Python's `json.dumps(value, ensure_ascii=False, indent=N)` writes it, byte for byte.
//!
//! serde_json escapes the same characters as Python (`"`, `\`, and control characters below U+0020, in the same short
//! and `\u00xx` forms), and its pretty printer lays out the same lines once it is told the indent.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// `json.dumps(value, ensure_ascii=False, indent=N)`, as bytes.
pub fn dumps_indented(value: &impl Serialize, indent: usize) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    let spaces = vec![b' '; indent];
    value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(&spaces)))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_laid_out_and_escaped_as_python_does() {
        // python3 -c 'import json; print(json.dumps({"a": [1, {}], "b": "é\n\t\x01\x7f\"\\/图", "c": []}, ensure_ascii=False, indent=4))'
        let value = json!({"a": [1, {}], "b": "é\n\t\u{1}\u{7f}\"\\/图", "c": []});
        let expected = "{\n    \"a\": [\n        1,\n        {}\n    ],\n    \"b\": \"é\\n\\t\\u0001\u{7f}\\\"\\\\/图\",\n    \"c\": []\n}";
        assert_eq!(String::from_utf8(dumps_indented(&value, 4).unwrap()).unwrap(), expected);
    }
}
