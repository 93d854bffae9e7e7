//! Text in columns, safe for a terminal.

use lightbox_core::safe_text::clean_line;

/// Longest cell, in characters.
const WIDEST: usize = 72;

/// Aligned lines. Columns whose name ends in `#` hold numbers and are aligned to the right; the `#` is not shown.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let numeric: Vec<bool> = head.iter().map(|name| name.ends_with('#')).collect();
    let head = head.iter().map(|name| name.trim_end_matches('#').to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.iter().map(|row| row.iter().map(|cell| clean_line(cell, WIDEST)).collect()))
        .collect();
    let width = |i: usize| lines.iter().map(|line| cells(&line[i])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..numeric.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (i, cell) in line.iter().enumerate() {
            let pad = " ".repeat(widths[i] - cells(cell));
            text += &if numeric[i] { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        out += text.trim_end();
        out.push('\n');
    }
    out
}

/// Terminal cells of a text: East Asian wide characters take two.
fn cells(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

/// The blocks of Unicode's East Asian Wide class that captions and file names have.
fn is_wide(c: char) -> bool {
    matches!(c as u32, 0x1100..=0x115F | 0x2E80..=0x303E | 0x3041..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_also_with_chinese_and_hostile_text() {
        let rows = [vec!["图片".into(), "7".into()], vec!["a\u{1b}[2J".into(), "1234".into()]];
        let text = table(&["name", "rows#"], &rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(!text.contains('\u{1b}'));
        assert_eq!(cells(lines[1]), cells(lines[2]), "{text}");
        assert!(lines[1].ends_with("   7"));
    }
}
