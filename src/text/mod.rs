//! Every word that a screen shows, in English and Simplified Chinese, side by side so that they grow together.
//!
//! A text is a [`T`] ([`lightbox_core::words`]). Texts that belong to one screen lie in a module of its name; those of
//! commands stand in the table of commands itself.

pub mod chat;
pub mod common;
pub mod data;
pub mod keys_zh;
pub mod models;
pub mod problems_zh;
pub mod runs;
pub mod tour;
pub mod train;

pub use lightbox_core::text::Lang;
pub use lightbox_core::words::T;

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
        for (name, text) in all() {
            assert_eq!(text.fault(), None, "{name}");
        }
    }
}
