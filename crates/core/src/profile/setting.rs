//! What a profile's value may be: how each Rust type reads a YAML scalar and writes it back, and the ranges.
//!
//! Scalars mean what they mean to LLaMA-Factory, whose reader (OmegaConf) follows YAML 1.1 with one fix for floats:
//! `5e-5` is a float, `010` is 8, `1_000` is 1000, `yes`/`no`/`on`/`off` are booleans. serde_yaml follows YAML 1.2 and
//! hands those over as strings, so the types here finish the job. Read [`super::keys`] next.
use serde_yaml::Value;
use std::fmt;
use std::path::PathBuf;

/// What a form has to show to edit a key, and an error to say what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Integer,
    Number,
    Text,
    Path,
    /// Names separated by commas, or a YAML list.
    List,
    /// Numbers separated by commas, or a YAML list.
    Numbers,
    Choice(&'static [&'static str]),
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    Device,
    /// A YAML mapping of schedule parameters.
    SchedulerKwargs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "true or false",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Text => "a text (in quotes if it looks like a number or a boolean)",
            Self::Path => "a path",
            Self::List => "names separated by commas",
            Self::Numbers => "numbers separated by commas",
            Self::Choice(words) => return write!(f, "one of {}", words.join(", ")),
            Self::Device => "auto, cpu, cuda or cuda:N",
            Self::SchedulerKwargs => "a mapping of schedule parameters, e.g. {min_lr_rate: 0.1} (num_cycles, lr_end, power, timescale, min_lr, min_lr_rate, \
                 warmup_lr_rate, num_stable_steps, num_decay_steps, warmup_type, decay_type, min_lr_ratio)",
        })
    }
}

/// The numbers a key allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub min: f64,
    pub max: f64,
    /// The bound itself is not allowed.
    pub above_min: bool,
    pub below_max: bool,
}

impl Range {
    pub const ANY: Self = Self { min: f64::NEG_INFINITY, max: f64::INFINITY, above_min: false, below_max: false };
    /// Greater than zero.
    pub const POSITIVE: Self = Self { min: 0.0, above_min: true, ..Self::ANY };
    /// `[0, 1]`
    pub const UNIT: Self = Self { min: 0.0, max: 1.0, ..Self::ANY };
    /// `[0, 1)`
    pub const SHARE: Self = Self { below_max: true, ..Self::UNIT };

    pub const fn from(min: f64) -> Self {
        Self { min, ..Self::ANY }
    }

    pub fn contains(&self, x: f64) -> bool {
        let above = if self.above_min { x > self.min } else { x >= self.min };
        let below = if self.below_max { x < self.max } else { x <= self.max };
        above && below
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min.is_finite(), self.max.is_finite()) {
            (false, false) => Ok(()),
            (true, false) if self.above_min => write!(f, "above {}", self.min),
            (true, false) => write!(f, "{} or more", self.min),
            (false, true) if self.below_max => write!(f, "below {}", self.max),
            (false, true) => write!(f, "{} or less", self.max),
            (true, true) => write!(
                f,
                "from {}{} to {}{}",
                if self.above_min { "above " } else { "" },
                self.min,
                if self.below_max { "below " } else { "" },
                self.max
            ),
        }
    }
}

/// A type that a profile key can have.
pub trait Setting: Sized {
    const KIND: Kind;
    /// `null` is allowed and means "not set".
    const OPTIONAL: bool = false;
    /// `None`: the value is not of this kind; the caller knows the key and says what is allowed.
    fn read(value: &Value) -> Option<Self>;
    fn write(&self) -> Value;
    /// The number that the key's [`Range`] limits.
    fn number(&self) -> Option<f64> {
        None
    }
}

/// `true`, and YAML 1.1's other words for it.
pub(super) fn read_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::String(s) => match s.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

impl Setting for bool {
    const KIND: Kind = Kind::Bool;
    fn read(value: &Value) -> Option<Self> {
        read_bool(value)
    }
    fn write(&self) -> Value {
        Value::Bool(*self)
    }
}

/// A whole number, in any spelling that means one without doubt: `1_000`, `010` (octal, as YAML 1.1 has it), `1e3`,
/// and products such as `768*768`, which LLaMA-Factory's web page writes for pixel limits.
fn read_integer(value: &Value) -> Option<i128> {
    match value {
        Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
            (Some(u), _, _) => Some(u.into()),
            (_, Some(i), _) => Some(i.into()),
            // 2^53: above it a float no longer names one integer.
            (_, _, Some(x)) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => Some(x as i128),
            _ => None,
        },
        Value::String(s) => {
            let mut product = 1i128;
            for factor in s.split('*') {
                product = product.checked_mul(parse_integer(factor.trim())?)?;
            }
            Some(product)
        }
        _ => None,
    }
}

fn parse_integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    let magnitude = if octal { i128::from_str_radix(&digits, 8).ok()? } else { digits.parse::<i128>().ok()? };
    magnitude.checked_mul(sign)
}

macro_rules! integers {
    ($($t:ty),+) => {$(
        impl Setting for $t {
            const KIND: Kind = Kind::Integer;
            fn read(value: &Value) -> Option<Self> {
                read_integer(value)?.try_into().ok()
            }
            fn write(&self) -> Value {
                Value::Number((*self).into())
            }
            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }
        }
    )+};
}
integers!(u64, usize, i64);

impl Setting for f64 {
    const KIND: Kind = Kind::Number;
    fn read(value: &Value) -> Option<Self> {
        let number = match value {
            Value::Number(n) => n.as_f64()?,
            Value::String(s) if s.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-')) => {
                match parse_integer(s) {
                    Some(i) => i as f64,
                    None => s.replace('_', "").parse().ok()?,
                }
            }
            _ => return None,
        };
        number.is_finite().then_some(number)
    }
    fn write(&self) -> Value {
        // 3.0 stays a float and 5e-5 stays short: serde_yaml prints the shortest digits that read back equal.
        Value::Number((*self).into())
    }
    fn number(&self) -> Option<f64> {
        Some(*self)
    }
}

impl Setting for String {
    const KIND: Kind = Kind::Text;
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(s) => Some(s.clone()),
            // A bare 2024 is a fine name; a bare 1.0 or `true` may not come back as it was written, so it needs quotes.
            Value::Number(n) if !n.is_f64() => Some(n.to_string()),
            _ => None,
        }
    }
    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for PathBuf {
    const KIND: Kind = Kind::Path;
    fn read(value: &Value) -> Option<Self> {
        String::read(value).filter(|s| !s.is_empty() && !s.contains('\0')).map(Self::from)
    }
    fn write(&self) -> Value {
        // Profiles are UTF-8, so a path that came from one is too.
        Value::String(self.to_string_lossy().into_owned())
    }
}

impl Setting for Vec<String> {
    const KIND: Kind = Kind::List;
    const OPTIONAL: bool = true;
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Vec::new()),
            Value::Sequence(items) => items.iter().map(|item| String::read(item).filter(|s| !s.is_empty())).collect(),
            text => {
                String::read(text)?.split(',').map(|s| Some(s.trim().to_owned()).filter(|s| !s.is_empty())).collect()
            }
        }
    }
    fn write(&self) -> Value {
        match self.as_slice() {
            [] => Value::Null,
            // A name that holds a comma can only stand in a list.
            items if items.iter().any(|s| s.contains(',')) => {
                Value::Sequence(items.iter().map(|s| Value::String(s.clone())).collect())
            }
            items => Value::String(items.join(",")),
        }
    }
}

impl Setting for Vec<f64> {
    const KIND: Kind = Kind::Numbers;
    const OPTIONAL: bool = true;
    fn read(value: &Value) -> Option<Self> {
        let one = |word: &str| f64::read(&Value::String(word.trim().to_owned()));
        match value {
            Value::Null => Some(Vec::new()),
            Value::Sequence(items) => items.iter().map(f64::read).collect(),
            Value::String(words) => words.split(',').map(one).collect(),
            number => f64::read(number).map(|number| vec![number]),
        }
    }
    fn write(&self) -> Value {
        match self.as_slice() {
            [] => Value::Null,
            numbers => Value::String(numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::read(value).map(Some),
        }
    }
    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::write)
    }
    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
}
