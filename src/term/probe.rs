//! Asks the terminal what it is: all questions in one write, one deadline for all answers, before any event reader exists.
//!
//! The last question (DA1) is one that every terminal answers and answers come in order, so its answer ends the wait;
//! whoever stays silent costs the time limit once. What arrives is read byte by byte with an incremental parser, because
//! over SSH an answer may be cut anywhere (libraries that read keys here hang, or take the cut for the Escape key).
//! Keys typed meanwhile are handed back. Answers that come after all are kept from the event reader by [`LateReplies`].

use std::io;
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyModifiers};

/// kitty's pictures, the terminal's name, a cell in pixels, the background, whether a 24-bit colour is kept, DA1.
const QUESTIONS: &[u8] = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[>0q\x1b[16t\x1b]11;?\x1b\\\
    \x1b[48;2;1;2;3m\x1bP$qm\x1b\\\x1b[m\x1b[c";

/// Local terminals answer within some 20 ms; over SSH a round trip may take several hundred.
pub const PATIENCE_LOCAL: Duration = Duration::from_millis(200);
pub const PATIENCE_SSH: Duration = Duration::from_secs(1);

/// What the terminal said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeReplies {
    /// DA1 came, so nothing more is to be expected.
    pub complete: bool,
    /// kitty's graphics query was answered with OK.
    pub kitty: bool,
    pub name: Option<String>,
    /// (width, height)
    pub cell_px: Option<(u16, u16)>,
    pub background: Option<[u8; 3]>,
    pub true_colour: Option<bool>,
    /// The numbers of DA1; 4 is sixel.
    pub da1: Option<Vec<u16>>,
    /// Bytes that were no answer: keys typed meanwhile.
    pub typed: Vec<u8>,
}

impl ProbeReplies {
    pub fn sixel(&self) -> bool {
        self.da1.as_ref().is_some_and(|numbers| numbers.contains(&4))
    }
}

/// Asks on the terminal behind `fd`, which must be in raw mode. Takes at most `patience`, however the terminal behaves.
///
/// # Errors
/// The terminal cannot be written to or read from: it is gone.
pub fn ask(fd: i32, patience: Duration) -> io::Result<ProbeReplies> {
    let until = Instant::now() + patience;
    super::frame::write_all(fd, QUESTIONS)?;
    let mut parser = Parser::default();
    while !parser.replies.complete {
        let left = until.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd for the length of the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left.as_millis() as i32) };
        match ready {
            0 => break,
            n if n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => continue,
            n if n < 0 => return Err(io::Error::last_os_error()),
            _ => {}
        }
        let mut bytes = [0u8; 1024];
        // SAFETY: the buffer is valid for its length.
        let n = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
        match n {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n if n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            n if n < 0 => return Err(io::Error::last_os_error()),
            n => parser.feed(&bytes[..n as usize]),
        }
    }
    Ok(parser.finish())
}

/// Answers out of a stream of bytes, cut anywhere.
#[derive(Debug, Default)]
pub struct Parser {
    replies: ProbeReplies,
    /// The sequence that is not complete yet, from its ESC.
    held: Vec<u8>,
}

/// Longer than any answer; what grows beyond it is not one.
const LONGEST: usize = 512;

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.held.is_empty() && byte != 0x1b {
                self.replies.typed.push(byte);
                continue;
            }
            self.held.push(byte);
            match classify(&self.held) {
                Sequence::Partial if self.held.len() < LONGEST => {}
                Sequence::Complete if self.reply() => self.held.clear(),
                _ => self.replies.typed.append(&mut self.held),
            }
        }
    }

    /// What was understood. A sequence that was begun and never ended counts as typed only if it can be a key.
    pub fn finish(mut self) -> ProbeReplies {
        if !matches!(self.held.get(1), Some(b'_' | b']' | b'P')) {
            self.replies.typed.append(&mut self.held);
        }
        self.replies
    }

    /// Takes the complete sequence in `held` as an answer; false if it is none.
    fn reply(&mut self) -> bool {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        let body = &text[2..];
        let string = body.trim_end_matches('\x07').trim_end_matches("\x1b\\");
        let replies = &mut self.replies;
        match self.held[1] {
            b'[' if body.starts_with('?') && body.ends_with('c') => {
                let numbers = body[1..body.len() - 1].split(';').filter_map(|n| n.parse().ok()).collect();
                (replies.da1, replies.complete) = (Some(numbers), true);
            }
            b'[' if body.ends_with('t') => {
                let mut numbers = body[..body.len() - 1].split(';').filter_map(|n| n.parse().ok());
                if let (Some(6), Some(height), Some(width)) = (numbers.next(), numbers.next(), numbers.next()) {
                    replies.cell_px = Some((width, height));
                }
            }
            b'_' if string.starts_with('G') => replies.kitty |= string.ends_with(";OK"),
            b']' if string.starts_with("11;") => replies.background = colour(&string[3..]).or(replies.background),
            b'P' if string.starts_with(">|") => replies.name = Some(string[2..].to_owned()),
            b'P' if string.contains("$r") => {
                // "48:2::1:2:3m", "48:2:1:2:3m" or "48;2;1;2;3m"; a terminal that rounded it says "48:5:16m".
                replies.true_colour = Some(string.trim_end_matches('m').replace(';', ":").ends_with(":1:2:3"));
            }
            // Other strings come from the terminal as well: nobody types them.
            b'_' | b']' | b'P' => {}
            _ => return false,
        }
        true
    }
}

enum Sequence {
    Partial,
    Complete,
    /// Not a sequence that an answer can be.
    Other,
}

fn classify(held: &[u8]) -> Sequence {
    let last = held[held.len() - 1];
    match (held.len(), held.get(1)) {
        (1, _) => Sequence::Partial,
        (2, Some(b'[' | b'_' | b']' | b'P')) => Sequence::Partial,
        (2, _) => Sequence::Other,
        (_, Some(b'[')) => match last {
            0x40..=0x7e => Sequence::Complete,
            0x20..=0x3f => Sequence::Partial,
            _ => Sequence::Other,
        },
        _ if last == 0x07 || held.ends_with(b"\x1b\\") => Sequence::Complete,
        _ => Sequence::Partial,
    }
}

/// `rgb:ffff/ff/f`: one to four hexadecimal digits a channel.
fn colour(text: &str) -> Option<[u8; 3]> {
    let (_, channels) = text.split_once(':')?;
    let mut channels = channels.split('/').map(|digits| {
        let most = (1u32 << (4 * digits.len().clamp(1, 4))) - 1;
        Some((u32::from_str_radix(digits.get(..digits.len().min(4))?, 16).ok()? * 255 / most) as u8)
    });
    Some([channels.next()??, channels.next()??, channels.next()??])
}

/// Swallows answers that arrive when the event reader is already running, which takes them for keys: an error message of
/// a graphics query was some 60 letters, and any `q` among them would have left the program. Needed only after a probe
/// that was not complete.
#[derive(Debug)]
pub struct LateReplies {
    until: Instant,
    /// Inside a string since then.
    inside: Option<Instant>,
}

impl LateReplies {
    /// Nothing is this late.
    const WATCH: Duration = Duration::from_secs(10);
    /// Bytes of one answer arrive together; a key after this long is a key.
    const GAP: Duration = Duration::from_millis(250);

    /// `None` when everything was answered.
    pub fn after(replies: &ProbeReplies, now: Instant) -> Option<Self> {
        (!replies.complete).then(|| Self { until: now + Self::WATCH, inside: None })
    }

    /// Is this event part of a late answer?
    pub fn swallow(&mut self, event: &Event, now: Instant) -> bool {
        let Event::Key(key) = event else { return false };
        if self.inside.is_some_and(|since| now.duration_since(since) > Self::GAP) {
            self.inside = None;
        }
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match (self.inside, key.code) {
            // Strings begin with ESC and one of these, which a reader of keys calls Alt.
            (None, KeyCode::Char('_' | ']' | 'P')) if alt && now < self.until => self.inside = Some(now),
            (None, _) => return false,
            (Some(_), KeyCode::Char('\\')) if alt => self.inside = None,
            (Some(_), KeyCode::Char('g')) if key.modifiers.contains(KeyModifiers::CONTROL) => self.inside = None,
            (Some(_), _) => self.inside = Some(now),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;
    use proptest::prelude::*;

    const KITTY: &[u8] = b"\x1b_Gi=31;OK\x1b\\\x1bP>|kitty(0.36.4)\x1b\\\x1b[6;20;10t\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\\
        \x1bP1$r48:2:1:2:3m\x1b\\\x1b[?62;52;c";

    fn kitty() -> ProbeReplies {
        ProbeReplies {
            complete: true,
            kitty: true,
            name: Some("kitty(0.36.4)".into()),
            cell_px: Some((10, 20)),
            background: Some([0x1e, 0x1e, 0x2e]),
            true_colour: Some(true),
            da1: Some(vec![62, 52]),
            typed: vec![],
        }
    }

    fn parse(chunks: &[&[u8]]) -> ProbeReplies {
        let mut parser = Parser::default();
        chunks.iter().for_each(|chunk| parser.feed(chunk));
        parser.finish()
    }

    #[test]
    fn answers_are_understood_wherever_they_are_cut() {
        assert_eq!(parse(&[KITTY]), kitty());
        for cut in 0..KITTY.len() {
            assert_eq!(parse(&[&KITTY[..cut], &KITTY[cut..]]), kitty(), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = KITTY.chunks(1).collect();
        assert_eq!(parse(&bytes), kitty());
    }

    #[test]
    fn keys_typed_between_answers_are_handed_back() {
        let replies = parse(&[b"jj\x1b[A\x1bx", KITTY, b"\x1b[Bq\xc3\xa9"]);
        assert_eq!(replies.typed, b"jj\x1b[A\x1bx\x1b[Bq\xc3\xa9");
        assert_eq!(ProbeReplies { typed: vec![], ..replies }, kitty());
    }

    #[test]
    fn silence_and_half_an_answer_are_no_answer_and_no_keys() {
        assert_eq!(parse(&[]), ProbeReplies::default());
        assert_eq!(parse(&[b"\x1b_Gi=31;O"]), ProbeReplies::default());
        assert_eq!(parse(&[b"\x1b"]).typed, b"\x1b", "a lone ESC is the Escape key");
    }

    #[test]
    fn other_terminals_answer_differently() {
        let xterm =
            parse(&[b"\x1bP>|XTerm(388)\x1b\\\x1b]11;rgb:ff/ff/ee\x07\x1bP1$r0;48:5:16m\x1b\\\x1b[?64;1;4;22c"]);
        assert!(xterm.sixel() && !xterm.kitty);
        assert_eq!((xterm.background, xterm.true_colour), (Some([255, 255, 238]), Some(false)));
        assert!(!parse(&[b"\x1b_Gi=31;ENOTSUP:no\x1b\\\x1b[?6c"]).kitty);
        assert!(!parse(&[b"\x1b[?64;14;44c"]).sixel());
        assert_eq!(parse(&[b"\x1b[4;480;800t\x1b[?6c"]).cell_px, None, "a window is not a cell");
        for (odd, expected) in [("rgb:f/8/0", Some([255, 136, 0])), ("rgb:zz/0/0", None), ("", None), ("rgb:", None)] {
            assert_eq!(colour(odd), expected, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_never_hides_the_end(junk in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&[&junk]);
            // Whatever was begun, a long enough rest closes it and DA1 is seen.
            prop_assert!(parse(&[&junk, b"\x07", b"\x1b[?6c"]).complete || junk.contains(&0x1b));
        }
    }

    #[test]
    fn late_answers_are_not_keys() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let plain = |c| key(KeyCode::Char(c), KeyModifiers::NONE);
        let alt = |c| key(KeyCode::Char(c), KeyModifiers::ALT);
        let now = Instant::now();
        assert!(LateReplies::after(&kitty(), now).is_none());
        let mut late = LateReplies::after(&ProbeReplies::default(), now).unwrap();
        assert!(!late.swallow(&plain('q'), now) && !late.swallow(&alt('x'), now));
        for event in [alt('_'), plain('G'), plain('q'), alt('\\')] {
            assert!(late.swallow(&event, now));
        }
        assert!(!late.swallow(&plain('q'), now), "after its end keys are keys again");
        assert!(late.swallow(&alt(']'), now) && late.swallow(&plain('1'), now));
        assert!(!late.swallow(&plain('q'), now + Duration::from_secs(1)), "a string that never ends does not eat keys");
        assert!(!late.swallow(&alt('_'), now + Duration::from_secs(11)), "much later it is the user's Alt");
    }
}
