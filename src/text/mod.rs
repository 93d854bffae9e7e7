//! Every word that a screen shows, in English and Simplified Chinese, side by side so that they grow together.
//!
//! A text is a [`T`]; `{0}`, `{1}` … are places that [`T::fill`] fills in, in whatever order a language wants them. Texts
//! that belong to one screen lie in a module of its name; those of commands stand in the table of commands itself.

pub mod chat;
pub mod common;
pub mod data;
pub mod keys_zh;
pub mod models;
pub mod problems_zh;
pub mod runs;
pub mod tour;
pub mod train;

use std::fmt::Display;

/// The language of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lang {
    #[default]
    En,
    Zh,
}

impl Lang {
    /// By the locale's variables, in the order in which libc asks them.
    pub fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
        if set.is_some_and(|locale| locale.to_ascii_lowercase().starts_with("zh")) { Self::Zh } else { Self::En }
    }
}

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
}

/// Declares texts as constants, and `ALL` of them for the tests.
#[macro_export]
macro_rules! texts {
    ($($(#[$meta:meta])* $name:ident = $en:literal, $zh:literal;)+) => {
        $($(#[$meta])* pub const $name: $crate::text::T = $crate::text::T($en, $zh);)+
        #[cfg(test)]
        pub const ALL: &[(&str, $crate::text::T)] = &[$((stringify!($name), $name)),+];
    };
}

/// Every table of texts; a new module is added here.
#[cfg(test)]
fn all() -> Vec<(String, T)> {
    let tables: &[(&str, &[(&str, T)])] = &[
        ("chat", chat::ALL),
        ("common", common::ALL),
        ("data", data::ALL),
        ("models", models::ALL),
        ("runs", runs::ALL),
        ("tour", tour::ALL),
        ("train", train::ALL),
    ];
    let named =
        tables.iter().flat_map(|(module, table)| table.iter().map(move |(name, t)| (format!("{module}::{name}"), *t)));
    let commands = crate::app::commands::all();
    named
        .chain(commands.flat_map(|c| [(format!("{} title", c.name), c.title), (format!("{} doc", c.name), c.doc)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_both_languages_and_has_the_same_places() {
        let places = |text: &str| (0..10).filter(|i| text.contains(&format!("{{{i}}}"))).collect::<Vec<_>>();
        for (name, T(en, zh)) in all() {
            assert!(!en.trim().is_empty() && !zh.trim().is_empty(), "{name}");
            assert_eq!(places(en), places(zh), "{name}: {en:?} and {zh:?} have other places");
        }
    }

    #[test]
    fn places_are_filled_in_any_order_and_values_are_left_alone() {
        let t = T("{0} of {1} {x}", "{1} 之 {0}");
        assert_eq!(t.fill(Lang::En, &[&"{1}", &2]), "{1} of 2 {x}");
        assert_eq!(t.fill(Lang::Zh, &[&1, &2]), "2 之 1");
    }

    #[test]
    fn the_first_variable_that_is_set_decides_on_the_language() {
        let lang = |set: &'static [(&str, &str)]| {
            Lang::of_locale(|name| set.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(lang(&[("LANG", "zh_CN.UTF-8")]), Lang::Zh);
        assert_eq!(lang(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]), Lang::En);
        assert_eq!(lang(&[("LC_ALL", ""), ("LC_MESSAGES", "zh_TW")]), Lang::Zh);
        assert_eq!(lang(&[]), Lang::En);
    }
}
