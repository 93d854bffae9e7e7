//! Whole screens as text, for snapshots and for tests of what a screen shows.
use super::draw;
use crate::app::App;
use crate::text::Lang;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// The sizes at which every screen is looked at.
pub const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// The screen as lines of text, without blanks at their ends. Drawn twice, as the loop does: the first frame says how high
/// lists are.
pub fn screen(app: &mut App, width: u16, height: u16) -> String {
    app.size = (width, height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    for _ in 0..2 {
        let mut hits = super::Hits::default();
        terminal.draw(|frame| hits = draw(app, frame)).unwrap();
        app.hits = hits;
    }
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut x = 0;
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            line += symbol;
            // a wide character takes the cell behind it, too
            x += (super::words::width(symbol) as u16).max(1);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Snapshots of a state at every size in both languages: `name-80x24-en`, … Other sizes must only not end the program.
pub fn snapshots(name: &str, app: &mut App) {
    for (lang, code) in [(Lang::En, "en"), (Lang::Zh, "zh")] {
        app.settings.language = Some(lang);
        for (width, height) in SIZES {
            let text = screen(app, width, height);
            insta::assert_snapshot!(format!("{name}-{width}x{height}-{code}"), text);
        }
    }
    for width in [1, 39, 40, 60, 100, 110, 140, 180, 300] {
        for height in (1..=40).step_by(3) {
            screen(app, width, height);
        }
    }
}

#[test]
fn a_screen_of_any_size_is_drawn_without_a_panic() {
    for screen_name in crate::app::Screen::ALL {
        let mut app = App { screen: screen_name, ..App::default() };
        for (width, height) in [(1, 1), (39, 11), (40, 12), (41, 200), (300, 13), (80, 24)] {
            screen(&mut app, width, height);
        }
    }
}
