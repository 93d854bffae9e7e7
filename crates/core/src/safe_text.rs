//! Text from data, models, file names and logs, made safe for a terminal.

/// Drops nothing silently: escape sequences and control characters (but `\n`, `\t`) become visible `\u{…}`.
pub fn clean(_text: &str) -> String {
    todo!()
}
