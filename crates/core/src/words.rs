//! Words for people in English and Simplified Chinese, side by side so that they grow together.
//!
//! A text is a [`T`]; `{0}`, `{1}` … are places that [`T::fill`] fills in, in whatever order a language wants them. Those of
//! the screens are in the workbench (`src/text`), those of a report beside it.

use crate::text::Lang;
use std::fmt::Display;

/// A text in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct T(pub &'static str, pub &'static str);

impl T {
    pub const fn get(self, lang: Lang) -> &'static str {
        match lang {
            Lang::En => self.0,
            Lang::Zh => self.1,
        }
    }

    /// The text with `{0}`, `{1}` … replaced by `values`; what a value holds is never replaced again.
    pub fn fill(self, lang: Lang, values: &[&dyn Display]) -> String {
        let mut out = String::new();
        let mut rest = self.get(lang);
        while let Some(open) = rest.find('{') {
            out += &rest[..open];
            let close = rest[open..].find('}').map(|i| open + i);
            let value = close.and_then(|close| values.get(rest[open + 1..close].parse::<usize>().ok()?));
            match (value, close) {
                (Some(value), Some(close)) => {
                    out += &value.to_string();
                    rest = &rest[close + 1..];
                }
                _ => {
                    out.push('{');
                    rest = &rest[open + 1..];
                }
            }
        }
        out + rest
    }

    /// What is wrong with it: a language without words, or places that the other language does not have.
    pub fn fault(self) -> Option<String> {
        let places = |text: &str| (0..10).filter(|i| text.contains(&format!("{{{i}}}"))).collect::<Vec<_>>();
        let Self(en, zh) = self;
        if en.trim().is_empty() || zh.trim().is_empty() {
            return Some("it is not there in both languages".into());
        }
        (places(en) != places(zh)).then(|| format!("{en:?} and {zh:?} have other places"))
    }
}

/// Declares texts as constants, and `ALL` of them for the tests.
#[macro_export]
macro_rules! texts {
    ($($(#[$meta:meta])* $name:ident = $en:literal, $zh:literal;)+) => {
        $($(#[$meta])* pub const $name: $crate::words::T = $crate::words::T($en, $zh);)+
        #[cfg(test)]
        pub const ALL: &[(&str, $crate::words::T)] = &[$((stringify!($name), $name)),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in_any_order_and_values_are_left_alone() {
        let t = T("{0} of {1} {x}", "{1} 之 {0}");
        assert_eq!(t.fill(Lang::En, &[&"{1}", &2]), "{1} of 2 {x}");
        assert_eq!(t.fill(Lang::Zh, &[&1, &2]), "2 之 1");
    }

    #[test]
    fn a_text_without_one_language_or_with_other_places_in_it_is_a_fault() {
        assert_eq!(T("{0} of {1}", "{1} 之 {0}").fault(), None);
        assert!(T("{0} of {1}", "{0} 之 {0}").fault().is_some());
        assert!(T("of", " ").fault().is_some());
    }
}
