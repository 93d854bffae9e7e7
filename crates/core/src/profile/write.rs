//! From a [`Profile`] back to YAML, one key a line.
//!
//! serde_yaml would write `no`, `on` and `yes` bare, which LLaMA-Factory's reader takes for booleans; so the values are
//! written here, and whatever could be misread is quoted.
use super::{KEYS, Origin, Profile};
use crate::python_json::float_repr;
use serde_yaml::Value;

impl Profile {
    /// Whether `key` was set: in a file, by an override, or in code to something else than the default.
    pub fn sets(&self, key: &str) -> bool {
        let default = Self::default();
        let differs = |key: &super::Key| (key.write)(self) != (key.write)(&default);
        self.origin(key) != Origin::Default || KEYS.iter().any(|k| k.name == key && differs(k))
    }

    /// The keys that were set (in a file, by an override, or in code to something else than the default), as YAML that
    /// reads back to the same profile, here and in LLaMA-Factory. Secrets are left out.
    pub fn to_yaml(&self) -> String {
        let defaults = Self::default();
        let mut yaml = String::new();
        for key in KEYS {
            let (value, default) = ((key.write)(self), (key.write)(&defaults));
            // A null is written only where it changes something.
            if self.sets(key.name) && !(value.is_null() && default.is_null()) {
                yaml += &format!("{}: {}\n", key.name, inline(&value, false));
            }
        }
        for (name, value) in &self.origins.inert {
            yaml += &format!("{name}: {}\n", inline(value, false));
        }
        yaml
    }
}

/// A value as it stands behind `key: ` in one line of a profile: it reads back to the same, here and in LLaMA-Factory.
pub fn yaml_value(value: &Value) -> String {
    inline(value, false)
}

/// A value in one line; `in_flow`: within brackets, where a comma separates.
fn inline(value: &Value, in_flow: bool) -> String {
    let join = |items: Vec<String>| items.join(", ");
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => {
            n.as_f64().filter(|x| n.is_f64() && x.is_finite()).map_or_else(|| n.to_string(), float_repr)
        }
        Value::String(s) if is_plain(s, in_flow) => s.clone(),
        Value::String(s) => quoted(s),
        Value::Sequence(items) => format!("[{}]", join(items.iter().map(|item| inline(item, true)).collect())),
        Value::Mapping(map) => {
            format!(
                "{{{}}}",
                join(
                    map.iter().map(|(key, value)| format!("{}: {}", inline(key, true), inline(value, true))).collect()
                )
            )
        }
        Value::Tagged(tagged) => format!("{} {}", tagged.tag, inline(&tagged.value, in_flow)),
    }
}

/// Needs no quotes in any version of YAML: a letter (or a path's `./` or `/`), then letters, digits and signs without
/// meaning, and no word for a boolean or null.
fn is_plain(s: &str, in_flow: bool) -> bool {
    let starts = s.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'))
        || s.starts_with("./")
        || s.starts_with("../");
    let continues =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | '+' | '@') || (c == ',' && !in_flow);
    let word =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].iter().any(|word| s.eq_ignore_ascii_case(word));
    starts && s.chars().all(continues) && !word
}

fn quoted(s: &str) -> String {
    // What YAML calls non-printable or a line break; it has to be escaped, which only double quotes allow.
    let escape =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if !s.contains(escape) {
        return format!("'{}'", s.replace('\'', "''"));
    }
    let mut quoted = String::from("\"");
    for c in s.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            c if escape(c) => quoted += &format!("\\U{:08x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
