//! Every escape sequence that is ours, in one place. Text that goes into one passes the cleaning function, because a
//! control character inside would end the sequence and begin another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lightbox_core::safe_text::clean_line;

use super::caps::{Caps, Mux, Notify};

/// What follows is shown at once at [`END_SYNC`] (mode 2026); terminals without it ignore both.
pub const BEGIN_SYNC: &str = "\x1b[?2026h";
pub const END_SYNC: &str = "\x1b[?2026l";

/// Title saved; alternate screen, empty; pasted text in brackets; focus told; cursor hidden.
pub const ENTER: &str = "\x1b[22;2t\x1b[?1049h\x1b[2J\x1b[?2004h\x1b[?1004h\x1b[?25l";
/// Clicks, drags and the wheel, in SGR form.
pub const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";
pub const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1002l\x1b[?1000l";
/// Shift-Enter and Ctrl-Enter become keys of their own (kitty's keyboard protocol, first level).
pub const KEYBOARD_ON: &str = "\x1b[>1u";
pub const KEYBOARD_OFF: &str = "\x1b[<1u";
/// Everything back, whatever was being sent: ends a string that was cut and a frame that was not ended, then mouse,
/// focus, paste, colours, cursor, screen and title.
pub const LEAVE: &str = "\x1b\\\x1b[?2026l\x1b[?1006l\x1b[?1002l\x1b[?1000l\x1b[?1004l\x1b[?2004l\x1b[0m\x1b[?25h\
    \x1b[?1049l\x1b[23;2t";
/// Every kitty picture, its data included. A lower-case `a` would leave the data in the terminal's memory.
pub const KITTY_DELETE_ALL: &str = "\x1b\\\x1b_Gq=2,a=d,d=A\x1b\\";

/// The window's title.
pub fn set_title(text: &str) -> String {
    format!("\x1b]2;{}\x1b\\", clean_line(text, 200))
}

/// Most bytes of text that are copied: base64 makes 100 KB of them, the most that common terminals take.
pub const COPY_MAX: usize = 74 * 1024;

/// Puts text into the clipboard of the terminal's own machine (OSC 52), as it is: it comes back only by the user's paste.
///
/// # Errors
/// The text is too long, as a sentence for the user.
pub fn copy(text: &str, caps: &Caps) -> Result<String, String> {
    if text.len() > COPY_MAX {
        let (kb, most) = (text.len().div_ceil(1024), COPY_MAX / 1024);
        return Err(format!(
            "{kb} KB are too much for a terminal's clipboard (at most {most} KB); save it to a file instead"
        ));
    }
    let sequence = format!("\x1b]52;c;{}\x07", STANDARD.encode(text));
    // tmux takes OSC 52 itself only with `set-clipboard on`; wrapped it needs `allow-passthrough`. One of the two is
    // usually on, and copying the same text twice does no harm.
    Ok(if caps.multiplexer == Some(Mux::Tmux) { format!("{sequence}{}", through_tmux(&sequence)) } else { sequence })
}

/// Hands a sequence to the terminal behind tmux.
pub fn through_tmux(sequence: &str) -> String {
    format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))
}

/// Tells the user who looks elsewhere.
pub fn notify(title: &str, text: &str, caps: &Caps) -> String {
    // A semicolon separates the fields of OSC 777, and "4;" at the start of OSC 9 is a progress bar.
    let field = |text: &str| clean_line(text, 200).replace(';', ",");
    match caps.notify {
        Notify::Bell => "\x07".to_owned(),
        Notify::Osc9 => format!("\x1b]9;{}: {}\x1b\\", field(title), field(text)),
        Notify::Osc777 => format!("\x1b]777;notify;{};{}\x1b\\", field(title), field(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_sequence() {
        let attack = "a\x07\x1b\\\x1b]52;c;cm0=\x07\u{9c}b\nc";
        let title = set_title(attack);
        assert_eq!(title.matches('\x1b').count(), 2, "{title:?}");
        assert!(!title.contains(['\x07', '\u{9c}', '\n']));
        for kind in [Notify::Osc9, Notify::Osc777] {
            let notice = notify(attack, attack, &Caps { notify: kind, ..Caps::default() });
            assert_eq!(notice.matches('\x1b').count(), 2, "{notice:?}");
            assert!(!notice.contains(['\x07', '\u{9c}', '\n']));
        }
        assert_eq!(
            notify("4;1", "2;3", &Caps { notify: Notify::Osc777, ..Caps::default() }),
            "\x1b]777;notify;4,1;2,3\x1b\\"
        );
        assert_eq!(notify("run", "done", &Caps::default()), "\x07");
    }

    #[test]
    fn copying_is_base64_has_a_limit_and_reaches_through_tmux() {
        assert_eq!(copy("héllo", &Caps::default()).unwrap(), "\x1b]52;c;aMOpbGxv\x07");
        let tmux = Caps { multiplexer: Some(Mux::Tmux), ..Caps::default() };
        assert_eq!(copy("a", &tmux).unwrap(), "\x1b]52;c;YQ==\x07\x1bPtmux;\x1b\x1b]52;c;YQ==\x07\x1b\\");
        assert!(copy(&"a".repeat(COPY_MAX), &Caps::default()).is_ok());
        assert!(copy(&"a".repeat(COPY_MAX + 1), &Caps::default()).unwrap_err().contains("75 KB"));
    }
}
