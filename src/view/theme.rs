//! Colours by role. Views name roles, never colours, so that a theme is one table and NO_COLOR one more.
use crate::app::settings::ThemeChoice;
use crate::term::caps::{Caps, Colours};
use ratatui::style::{Color, Modifier, Style};

#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    /// Text and background.
    pub base: Style,
    /// Less important text.
    pub dim: Style,
    /// What the eye should find first.
    pub strong: Style,
    pub accent: Style,
    pub good: Style,
    pub warning: Style,
    pub error: Style,
    pub border: Style,
    pub border_focus: Style,
    /// The chosen row of the list that has the focus, and of one that has not.
    pub selected: Style,
    pub selected_dim: Style,
    /// A key on the hint line or in the help.
    pub key: Style,
    pub tab: Style,
    pub tab_on: Style,
    pub status: Style,
    pub field: Style,
    /// Text that is trained on; the rest is context.
    pub trained: Style,
    /// Picture tokens.
    pub picture: Style,
    /// What would be cut off.
    pub cut: Style,
    /// Curves, in the order in which they are laid over each other. Told apart for colour-blind eyes, too (Okabe and Ito).
    pub series: [Color; 6],
    pub colours: Colours,
}

impl Theme {
    pub fn of(choice: ThemeChoice, caps: &Caps) -> Self {
        let rich = matches!(caps.colours, Colours::Ansi256 | Colours::True);
        match choice {
            _ if caps.colours == Colours::None => Self::mono(),
            ThemeChoice::Mono => Self::mono(),
            ThemeChoice::Dark if rich => Self::rich(&DARK, caps.colours),
            ThemeChoice::Light if rich => Self::rich(&LIGHT, caps.colours),
            ThemeChoice::Auto if rich && caps.light_background == Some(false) => Self::rich(&DARK, caps.colours),
            ThemeChoice::Auto if rich && caps.light_background == Some(true) => Self::rich(&LIGHT, caps.colours),
            _ => Self::terminal(caps.colours),
        }
    }

    /// The terminal's own colours, whatever they are; readable on light and dark.
    fn terminal(colours: Colours) -> Self {
        let fg = |color| Style::new().fg(color);
        let bold = Modifier::BOLD;
        Self {
            base: Style::reset(),
            dim: fg(Color::DarkGray),
            strong: Style::new().add_modifier(bold),
            accent: fg(Color::Cyan),
            good: fg(Color::Green),
            warning: fg(Color::Yellow),
            error: fg(Color::Red),
            border: fg(Color::DarkGray),
            border_focus: fg(Color::Cyan),
            selected: Style::new().add_modifier(Modifier::REVERSED),
            selected_dim: Style::new().add_modifier(bold | Modifier::UNDERLINED),
            key: fg(Color::Cyan).add_modifier(bold),
            tab: fg(Color::DarkGray),
            tab_on: fg(Color::Cyan).add_modifier(bold | Modifier::REVERSED),
            status: Style::reset(),
            field: Style::new().add_modifier(Modifier::UNDERLINED),
            trained: fg(Color::Green).add_modifier(bold),
            picture: fg(Color::Magenta),
            cut: fg(Color::Red).add_modifier(Modifier::CROSSED_OUT),
            series: [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::Red],
            colours,
        }
    }

    /// No colour at all: weight, line and reversal have to do.
    fn mono() -> Self {
        let with = |modifier| Style::reset().add_modifier(modifier);
        let plain = Style::reset();
        Self {
            base: plain,
            dim: plain,
            strong: with(Modifier::BOLD),
            accent: with(Modifier::BOLD),
            good: plain,
            warning: with(Modifier::BOLD),
            error: with(Modifier::BOLD | Modifier::UNDERLINED),
            border: plain,
            border_focus: with(Modifier::BOLD),
            selected: with(Modifier::REVERSED),
            selected_dim: with(Modifier::UNDERLINED),
            key: with(Modifier::BOLD),
            tab: plain,
            tab_on: with(Modifier::BOLD | Modifier::REVERSED),
            status: plain,
            field: with(Modifier::UNDERLINED),
            trained: with(Modifier::BOLD | Modifier::UNDERLINED),
            picture: with(Modifier::ITALIC),
            cut: with(Modifier::CROSSED_OUT),
            series: [Color::Reset; 6],
            colours: Colours::None,
        }
    }

    fn rich(p: &Palette, colours: Colours) -> Self {
        let c = |rgb: u32| {
            let [_, r, g, b] = rgb.to_be_bytes();
            if colours == Colours::True { Color::Rgb(r, g, b) } else { Color::Indexed(cube(r, g, b)) }
        };
        let on = |fg: u32| Style::new().fg(c(fg)).bg(c(p.background));
        let bold = Modifier::BOLD;
        Self {
            base: on(p.text),
            dim: Style::new().fg(c(p.dim)),
            strong: Style::new().fg(c(p.strong)).add_modifier(bold),
            accent: Style::new().fg(c(p.accent)),
            good: Style::new().fg(c(p.good)),
            warning: Style::new().fg(c(p.warning)),
            error: Style::new().fg(c(p.error)),
            border: Style::new().fg(c(p.border)),
            border_focus: Style::new().fg(c(p.accent)),
            selected: Style::new().fg(c(p.strong)).bg(c(p.selection)).add_modifier(bold),
            selected_dim: Style::new().bg(c(p.raised)),
            key: Style::new().fg(c(p.accent)).add_modifier(bold),
            tab: Style::new().fg(c(p.dim)).bg(c(p.raised)),
            tab_on: Style::new().fg(c(p.background)).bg(c(p.accent)).add_modifier(bold),
            status: Style::new().fg(c(p.text)).bg(c(p.raised)),
            field: Style::new().fg(c(p.strong)).bg(c(p.raised)),
            trained: Style::new().fg(c(p.good)).add_modifier(bold),
            picture: Style::new().fg(c(p.special)),
            cut: Style::new().fg(c(p.error)).add_modifier(Modifier::CROSSED_OUT),
            series: p.series.map(c),
            colours,
        }
    }
}

struct Palette {
    background: u32,
    raised: u32,
    text: u32,
    dim: u32,
    strong: u32,
    border: u32,
    selection: u32,
    accent: u32,
    good: u32,
    warning: u32,
    error: u32,
    special: u32,
    series: [u32; 6],
}

const DARK: Palette = Palette {
    background: 0x14_17_1c,
    raised: 0x1f_24_2c,
    text: 0xc6_cd_d6,
    dim: 0x7c_87_95,
    strong: 0xf2_f5_f8,
    border: 0x3a_43_4f,
    selection: 0x2b_4a_63,
    accent: 0x6c_c4_f0,
    good: 0x84_cf_8f,
    warning: 0xe8_b9_62,
    error: 0xef_7d_78,
    special: 0xc5_9a_ee,
    series: [0x56_b4_e9, 0xe6_9f_00, 0x29_c3_94, 0xd9_8a_bd, 0xf0_e4_42, 0xe5_71_3a],
};

const LIGHT: Palette = Palette {
    background: 0xfa_fb_fc,
    raised: 0xe9_ed_f1,
    text: 0x2b_33_3c,
    dim: 0x6a_75_82,
    strong: 0x0b_0f_14,
    border: 0xbd_c6_cf,
    selection: 0xc6_e0_f2,
    accent: 0x0b_67_a3,
    good: 0x1c_75_36,
    warning: 0x8f_5b_00,
    error: 0xb3_26_20,
    special: 0x74_3a_a8,
    series: [0x00_72_b2, 0xb3_6b_00, 0x00_80_60, 0xa8_46_80, 0x7a_6f_00, 0xb5_48_00],
};

/// The nearest colour of the 6×6×6 cube of 256-colour terminals, or of its greys.
fn cube(r: u8, g: u8, b: u8) -> u8 {
    let step = |x: u8| {
        if x < 48 {
            0
        } else if x < 115 {
            1
        } else {
            (x - 35) / 40
        }
    };
    let level = |i: u8| if i == 0 { 0 } else { 55 + 40 * i };
    let (ri, gi, bi) = (step(r), step(g), step(b));
    let distance =
        |x: [u8; 3]| [r, g, b].iter().zip(x).map(|(a, b)| (i32::from(*a) - i32::from(b)).pow(2)).sum::<i32>();
    let mean = ((u16::from(r) + u16::from(g) + u16::from(b)) / 3) as u8;
    let grey = (mean.saturating_sub(3) / 10).min(23);
    if distance([8 + 10 * grey; 3]) < distance([level(ri), level(gi), level(bi)]) {
        232 + grey
    } else {
        16 + 36 * ri + 6 * gi + bi
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_uses_none() {
        let caps = Caps { colours: Colours::None, ..Caps::default() };
        for choice in ThemeChoice::ALL {
            let theme = Theme::of(choice, &caps);
            let styles =
                [theme.base, theme.dim, theme.accent, theme.error, theme.selected, theme.tab_on, theme.trained];
            for style in styles {
                assert!(matches!(style.fg, None | Some(Color::Reset)) && matches!(style.bg, None | Some(Color::Reset)));
            }
        }
    }

    #[test]
    fn sixteen_colours_stay_sixteen() {
        let caps = Caps { colours: Colours::Ansi16, light_background: Some(false), ..Caps::default() };
        let theme = Theme::of(ThemeChoice::Dark, &caps);
        assert!(!matches!(theme.accent.fg, Some(Color::Rgb(..) | Color::Indexed(_))));
    }

    #[test]
    fn colours_of_the_cube_are_near() {
        assert_eq!((cube(0, 0, 0), cube(255, 255, 255), cube(255, 0, 0)), (16, 231, 196));
        assert_eq!(cube(128, 128, 128), 244);
    }
}
