//! What the terminal can do, as plain data. Decided once, from the environment, from what the terminal answered
//! ([`super::probe`]) and from the size the kernel knows; the views only read it.
//!
//! The environment alone is not enough: ssh forwards TERM (and on Debian LANG and LC_*), so COLORTERM and TERM_PROGRAM are
//! missing exactly where this program is used most. An answer of the terminal wins over a guess from a name, and what the
//! user sets in LIGHTBOX_COLOURS and LIGHTBOX_GRAPHICS wins over both.

use super::probe::ProbeReplies;

/// How many colours may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Colours {
    /// NO_COLOR, or a terminal without: bold, reverse and underline only.
    None,
    /// The terminal's own sixteen, whatever they look like.
    #[default]
    Ansi16,
    Ansi256,
    /// 24 bits.
    True,
}

/// How pixels can be shown; without any, pictures are half blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Graphics {
    #[default]
    None,
    Kitty,
    Iterm,
    Sixel,
}

/// A program between us and the terminal that keeps a screen of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mux {
    Tmux,
    Screen,
    Zellij,
}

/// How the terminal tells its user that something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Notify {
    /// A bell; what every terminal and multiplexer has.
    #[default]
    Bell,
    Osc9,
    Osc777,
}

/// Size of the terminal as the kernel knows it; pixels are 0 where nobody told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TtySize {
    pub cols: u16,
    pub rows: u16,
    pub width_px: u16,
    pub height_px: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    pub colours: Colours,
    pub graphics: Graphics,
    /// Pixels of a cell, (width, height); [`Caps::UNKNOWN_CELL`] where nobody knows.
    pub cell_px: (u16, u16),
    /// `None`: the terminal did not say.
    pub light_background: Option<bool>,
    pub multiplexer: Option<Mux>,
    /// Every byte crosses a network: fewer frames, smaller pictures.
    pub ssh: bool,
    /// May other characters than ASCII be drawn?
    pub unicode: bool,
    /// Is the clipboard worth trying? Terminals do not tell whether they obeyed.
    pub osc52: bool,
    pub notify: Notify,
}

impl Default for Caps {
    /// A terminal of which nothing is known.
    fn default() -> Self {
        Self {
            colours: Colours::default(),
            graphics: Graphics::None,
            cell_px: Self::UNKNOWN_CELL,
            light_background: None,
            multiplexer: None,
            ssh: false,
            unicode: true,
            osc52: true,
            notify: Notify::Bell,
        }
    }
}

impl Caps {
    /// The shape that most fonts have.
    pub const UNKNOWN_CELL: (u16, u16) = (8, 16);

    /// Sixel pictures of more than 1000 pixels a side are cut off by xterm and squeezed by viuer.
    const SIXEL_SIDE: u16 = 1000;

    /// `env` looks up a variable of the environment; an empty one counts as not set.
    pub fn decide(env: &dyn Fn(&str) -> Option<String>, replies: &ProbeReplies, tty: TtySize) -> Self {
        let env = Env(env);
        let multiplexer = multiplexer(&env);
        let colours = forced_colours(&env).unwrap_or_else(|| colours(&env, replies, multiplexer));
        let ssh = ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"].iter().any(|name| env.is_set(name));
        Self {
            colours,
            graphics: forced_graphics(&env).unwrap_or_else(|| graphics(&env, replies, multiplexer)),
            cell_px: cell(replies, tty),
            light_background: light_background(&env, replies),
            multiplexer,
            ssh,
            unicode: unicode(&env),
            osc52: env.get("TERM_PROGRAM") != "Apple_Terminal" && !matches!(env.get("TERM").as_str(), "linux" | "dumb"),
            notify: notify(&env, replies, multiplexer),
        }
    }

    /// Most cells a picture may have, where the way of showing pixels has a limit.
    pub fn picture_limit(&self) -> Option<(u16, u16)> {
        let side = |cell: u16| (Self::SIXEL_SIDE / cell.max(1)).max(1);
        (self.graphics == Graphics::Sixel).then(|| (side(self.cell_px.0), side(self.cell_px.1)))
    }
}

struct Env<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Env<'_> {
    fn get(&self, name: &str) -> String {
        (self.0)(name).unwrap_or_default()
    }

    fn is_set(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// What the terminal calls itself, all names in one lower-case text: TERM_PROGRAM is the first to be missing.
    fn names(&self, replies: &ProbeReplies) -> String {
        let name = replies.name.as_deref().unwrap_or_default();
        format!("{} {} {} {name}", self.get("TERM"), self.get("TERM_PROGRAM"), self.get("LC_TERMINAL")).to_lowercase()
    }
}

fn multiplexer(env: &Env) -> Option<Mux> {
    let term = env.get("TERM");
    match () {
        () if env.is_set("ZELLIJ") => Some(Mux::Zellij),
        () if env.is_set("TMUX") || term.starts_with("tmux") => Some(Mux::Tmux),
        // tmux calls itself "screen" too by default; with TMUX not forwarded by ssh this is the safe side for both.
        () if env.is_set("STY") || term.starts_with("screen") => Some(Mux::Screen),
        () => None,
    }
}

fn forced_colours(env: &Env) -> Option<Colours> {
    match env.get("LIGHTBOX_COLOURS").to_lowercase().as_str() {
        "none" | "off" | "0" => Some(Colours::None),
        "16" => Some(Colours::Ansi16),
        "256" => Some(Colours::Ansi256),
        "true" | "24bit" | "truecolor" => Some(Colours::True),
        _ => None,
    }
}

fn forced_graphics(env: &Env) -> Option<Graphics> {
    match env.get("LIGHTBOX_GRAPHICS").to_lowercase().as_str() {
        "kitty" => Some(Graphics::Kitty),
        "iterm" => Some(Graphics::Iterm),
        "sixel" => Some(Graphics::Sixel),
        "blocks" | "off" => Some(Graphics::None),
        _ => None,
    }
}

const TRUE_COLOUR: [&str; 11] =
    ["kitty", "ghostty", "wezterm", "alacritty", "foot", "iterm", "konsole", "contour", "rio", "vscode", "-direct"];

fn colours(env: &Env, replies: &ProbeReplies, multiplexer: Option<Mux>) -> Colours {
    let term = env.get("TERM");
    if env.is_set("NO_COLOR") || term == "dumb" || term.starts_with("vt1") || term.starts_with("vt2") {
        return Colours::None;
    }
    let says_true = matches!(env.get("COLORTERM").as_str(), "truecolor" | "24bit") || replies.true_colour == Some(true);
    // Under a multiplexer the outer terminal's name says nothing about what is passed on.
    let named = multiplexer.is_none() && TRUE_COLOUR.iter().any(|name| env.names(replies).contains(name));
    // GNU screen before 5 turns 24-bit colours into whatever the digits happen to mean.
    if (says_true || named || env.is_set("WT_SESSION")) && multiplexer != Some(Mux::Screen) {
        Colours::True
    } else if term.contains("256color") || env.get("TERM_PROGRAM") == "Apple_Terminal" || multiplexer.is_some() {
        Colours::Ansi256
    } else {
        Colours::Ansi16
    }
}

fn graphics(env: &Env, replies: &ProbeReplies, multiplexer: Option<Mux>) -> Graphics {
    // A multiplexer that can draw sixels says so itself (tmux 3.4, zellij). Kitty's pictures would need placeholders and
    // a passthrough that is off by default, and iTerm2's are swallowed: the pane stays blank. Those get half blocks.
    let sixel = if replies.sixel() { Graphics::Sixel } else { Graphics::None };
    if multiplexer.is_some() {
        return if multiplexer == Some(Mux::Screen) { Graphics::None } else { sixel };
    }
    // A terminal that answers nothing at all is not what its name says (a pipe in between, a recorder, an old proxy).
    if !replies.complete {
        return Graphics::None;
    }
    let names = env.names(replies);
    // WezTerm and Konsole answer kitty's query, but their placements are incomplete; iTerm2's way works in both.
    let iterm = ["iterm", "wezterm", "mintty", "konsole", "rio", "warp"].iter().any(|name| names.contains(name));
    if iterm || env.is_set("KONSOLE_VERSION") {
        Graphics::Iterm
    } else if replies.kitty {
        Graphics::Kitty
    } else {
        sixel
    }
}

fn cell(replies: &ProbeReplies, tty: TtySize) -> (u16, u16) {
    let kernel = || {
        let (width, height) = (tty.width_px.checked_div(tty.cols)?, tty.height_px.checked_div(tty.rows)?);
        Some((width, height))
    };
    // Anything else than this is a mistake of somebody on the way, and would ask for enormous pictures.
    let sane = |&(width, height): &(u16, u16)| (3..=100).contains(&width) && (5..=200).contains(&height);
    replies.cell_px.filter(sane).or_else(|| kernel().filter(sane)).unwrap_or(Caps::UNKNOWN_CELL)
}

fn light_background(env: &Env, replies: &ProbeReplies) -> Option<bool> {
    let luminance = |[r, g, b]: [u8; 3]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b);
    replies.background.map(|colour| luminance(colour) > 128.0).or_else(|| {
        // rxvt and Konsole: "15;0" is white on black.
        let background: u8 = env.get("COLORFGBG").rsplit(';').next()?.parse().ok()?;
        Some(background == 7 || background == 15)
    })
}

fn unicode(env: &Env) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().map(|name| env.get(name)).find(|value| !value.is_empty());
    // No locale at all is a container or a service: its terminal is nearly always UTF-8. The Linux console's font is not.
    let named = locale.is_none_or(|l| !matches!(l.as_str(), "C" | "POSIX") && !l.to_uppercase().contains("ISO"));
    named && env.get("TERM") != "linux"
}

fn notify(env: &Env, replies: &ProbeReplies, multiplexer: Option<Mux>) -> Notify {
    let names = env.names(replies);
    let is = |list: &[&str]| list.iter().any(|name| names.contains(name));
    match multiplexer {
        Some(_) => Notify::Bell,
        None if is(&["foot", "ghostty", "rxvt"]) => Notify::Osc777,
        None if is(&["kitty", "wezterm", "iterm", "konsole"]) => Notify::Osc9,
        None => Notify::Bell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered() -> ProbeReplies {
        ProbeReplies { complete: true, da1: Some(vec![62, 22]), ..ProbeReplies::default() }
    }

    fn kitty() -> ProbeReplies {
        ProbeReplies { kitty: true, ..answered() }
    }

    fn sixel() -> ProbeReplies {
        ProbeReplies { da1: Some(vec![62, 4, 22]), ..answered() }
    }

    fn decide(vars: &str, replies: &ProbeReplies) -> Caps {
        let get = |name: &str| {
            let value = vars.split_whitespace().find_map(|v| v.strip_prefix(name)?.strip_prefix('='));
            value.map(str::to_owned)
        };
        Caps::decide(&get, replies, TtySize { cols: 80, rows: 24, width_px: 0, height_px: 0 })
    }

    #[test]
    fn colours_and_graphics_of_known_terminals() {
        use Colours::{Ansi16, Ansi256, True};
        use Graphics::{Iterm, Kitty, Sixel};
        let silent = ProbeReplies::default();
        let named = |name: &str| ProbeReplies { name: Some(name.into()), ..kitty() };
        let true_colour = ProbeReplies { true_colour: Some(true), ..answered() };
        for (vars, replies, colours, graphics) in [
            ("TERM=xterm-kitty COLORTERM=truecolor", kitty(), True, Kitty),
            ("TERM=xterm-kitty SSH_TTY=/dev/pts/1", kitty(), True, Kitty),
            ("TERM=xterm-ghostty TERM_PROGRAM=ghostty", kitty(), True, Kitty),
            ("TERM=xterm-256color TERM_PROGRAM=WezTerm COLORTERM=truecolor", kitty(), True, Iterm),
            ("TERM=xterm-256color SSH_CLIENT=1", named("WezTerm 20240203"), True, Iterm),
            ("TERM=xterm-256color KONSOLE_VERSION=230804 COLORTERM=truecolor", kitty(), True, Iterm),
            ("TERM=xterm-256color SSH_CLIENT=1", named("Konsole 23.08.4"), True, Iterm),
            ("TERM=xterm-256color TERM_PROGRAM=iTerm.app COLORTERM=truecolor", sixel(), True, Iterm),
            ("TERM=xterm-256color LC_TERMINAL=iTerm2 SSH_CLIENT=1", sixel(), True, Iterm),
            ("TERM=foot COLORTERM=truecolor", sixel(), True, Sixel),
            ("TERM=xterm", sixel(), Ansi16, Sixel),
            ("TERM=xterm-256color", answered(), Ansi256, Graphics::None),
            ("TERM=xterm-256color", true_colour, True, Graphics::None),
            ("TERM=xterm-256color TERM_PROGRAM=vscode COLORTERM=truecolor", answered(), True, Graphics::None),
            ("TERM=xterm-256color TERM_PROGRAM=vscode", sixel(), True, Sixel),
            ("TERM=xterm-256color TERM_PROGRAM=Apple_Terminal", answered(), Ansi256, Graphics::None),
            ("TERM=linux", answered(), Ansi16, Graphics::None),
            ("TERM=xterm-kitty", silent.clone(), True, Graphics::None),
            ("TERM=xterm-256color LC_TERMINAL=iTerm2", silent, True, Graphics::None),
            ("", answered(), Ansi16, Graphics::None),
        ] {
            let caps = decide(vars, &replies);
            assert_eq!((caps.colours, caps.graphics), (colours, graphics), "{vars} {replies:?}");
        }
    }

    #[test]
    fn a_multiplexer_hides_the_terminal_behind_it() {
        let iterm = "TERM=tmux-256color TMUX=/tmp/t LC_TERMINAL=iTerm2";
        for (vars, replies, mux, colours, graphics) in [
            (iterm, answered(), Mux::Tmux, Colours::Ansi256, Graphics::None),
            ("TERM=screen-256color TMUX=/tmp/t COLORTERM=truecolor", kitty(), Mux::Tmux, Colours::True, Graphics::None),
            ("TERM=tmux-256color", sixel(), Mux::Tmux, Colours::Ansi256, Graphics::Sixel),
            ("TERM=screen COLORTERM=truecolor STY=1.x", sixel(), Mux::Screen, Colours::Ansi256, Graphics::None),
            ("TERM=screen.xterm-256color", answered(), Mux::Screen, Colours::Ansi256, Graphics::None),
            ("TERM=xterm-kitty ZELLIJ=0 COLORTERM=truecolor", kitty(), Mux::Zellij, Colours::True, Graphics::None),
        ] {
            let caps = decide(vars, &replies);
            assert_eq!((caps.multiplexer, caps.colours, caps.graphics), (Some(mux), colours, graphics), "{vars}");
            assert_eq!(caps.notify, Notify::Bell);
        }
    }

    #[test]
    fn the_user_has_the_last_word() {
        for (vars, colours, graphics) in [
            ("TERM=xterm-kitty NO_COLOR=1", Colours::None, Graphics::Kitty),
            ("TERM=xterm-kitty NO_COLOR=", Colours::True, Graphics::Kitty),
            ("TERM=xterm-kitty NO_COLOR=1 LIGHTBOX_COLOURS=256", Colours::Ansi256, Graphics::Kitty),
            ("TERM=xterm-kitty LIGHTBOX_COLOURS=none LIGHTBOX_GRAPHICS=blocks", Colours::None, Graphics::None),
            ("TERM=xterm-kitty LIGHTBOX_COLOURS=16 LIGHTBOX_GRAPHICS=off", Colours::Ansi16, Graphics::None),
            ("TERM=xterm-kitty LIGHTBOX_COLOURS=true LIGHTBOX_GRAPHICS=sixel", Colours::True, Graphics::Sixel),
            ("TERM=xterm-kitty LIGHTBOX_GRAPHICS=iterm", Colours::True, Graphics::Iterm),
            ("TERM=xterm-kitty LIGHTBOX_GRAPHICS=auto LIGHTBOX_COLOURS=what", Colours::True, Graphics::Kitty),
            ("TERM=tmux-256color LIGHTBOX_GRAPHICS=kitty", Colours::Ansi256, Graphics::Kitty),
            ("TERM=dumb", Colours::None, Graphics::Kitty),
        ] {
            let caps = decide(vars, &kitty());
            assert_eq!((caps.colours, caps.graphics), (colours, graphics), "{vars}");
        }
    }

    #[test]
    fn a_cell_is_what_the_terminal_says_then_what_the_kernel_says_then_a_guess() {
        let none = |_: &str| None;
        let tty = TtySize { cols: 100, rows: 50, width_px: 900, height_px: 1000 };
        let asked = |cell_px| ProbeReplies { cell_px, ..answered() };
        assert_eq!(Caps::decide(&none, &asked(Some((10, 21))), tty).cell_px, (10, 21));
        assert_eq!(Caps::decide(&none, &asked(None), tty).cell_px, (9, 20));
        assert_eq!(Caps::decide(&none, &asked(Some((0, 9000))), tty).cell_px, (9, 20), "nonsense is not believed");
        assert_eq!(Caps::decide(&none, &asked(None), TtySize::default()).cell_px, Caps::UNKNOWN_CELL);
    }

    #[test]
    fn background_locale_ssh_and_notices() {
        let light = ProbeReplies { background: Some([250, 250, 240]), ..answered() };
        assert_eq!(decide("COLORFGBG=15;0", &light).light_background, Some(true), "the answer wins over the variable");
        assert_eq!(decide("COLORFGBG=15;0", &answered()).light_background, Some(false));
        assert_eq!(decide("COLORFGBG=0;default;15", &answered()).light_background, Some(true));
        assert_eq!(decide("", &answered()).light_background, None);
        assert!(decide("SSH_CONNECTION=a", &answered()).ssh && !decide("", &answered()).ssh);
        assert!(decide("LANG=zh_CN.UTF-8", &answered()).unicode && decide("", &answered()).unicode);
        assert!(
            !decide("LC_ALL=C LANG=en_GB.UTF-8", &answered()).unicode && !decide("TERM=linux", &answered()).unicode
        );
        assert!(!decide("LANG=de_DE.ISO-8859-1", &answered()).unicode);
        assert_eq!(decide("TERM=foot", &answered()).notify, Notify::Osc777);
        assert_eq!(decide("TERM=xterm-kitty", &answered()).notify, Notify::Osc9);
        assert_eq!(decide("TERM=xterm", &answered()).notify, Notify::Bell);
    }

    #[test]
    fn sixel_pictures_have_a_limit() {
        let caps = Caps { graphics: Graphics::Sixel, cell_px: (10, 20), ..Caps::default() };
        assert_eq!(caps.picture_limit(), Some((100, 50)));
        assert_eq!(Caps::default().picture_limit(), None);
    }
}
