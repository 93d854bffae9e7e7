//! kitty's graphics protocol (kitty, Ghostty). A picture is sent once, as PNG in base64, and then placed, moved and taken
//! away with a few dozen bytes; showing it again after a popup costs some 60 instead of half a megabyte.
//!
//! - `q=2` on every command: an answer would reach the event reader, which takes it for keys.
//! - `C=1`, and the cursor is saved: a picture must not move the cursor that a text field shows.
//! - `z=0`: below the text (`z<0`) kitty 0.26 left ghosts. Overlays hide the picture instead.
//! - Text may come between the pieces of an upload, other graphics commands may not: what is under way is then given up and
//!   begun anew later.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _, RgbImage};
use ratatui::layout::Rect;

use super::sink::PixelSink;
use super::workshop::{Job, Progress};
use super::{Picture, PictureId};

/// What the protocol allows in one piece.
const PIECE: usize = 4096;
/// kitty keeps 320 MB of raw pixels for all its windows; this much PNG is well below.
const UPLOADS_MAX: usize = 32 << 20;

#[derive(Debug)]
pub struct Kitty {
    /// Every byte counts more than the processor's time.
    slow_line: bool,
    next_id: u32,
    clock: u64,
    uploads: Vec<Upload>,
    placements: Vec<Placement>,
    waiting: VecDeque<Wish>,
    work: Option<(Wish, Work)>,
    /// Commands that must come before the next ones.
    owed: Vec<u8>,
}

/// Pixels in the terminal's memory.
#[derive(Debug)]
struct Upload {
    key: Key,
    id: u32,
    bytes: usize,
    used: u64,
}

/// The same picture in another size is another upload.
type Key = (PictureId, (u32, u32));

#[derive(Debug)]
struct Placement {
    picture: PictureId,
    id: u32,
    number: u32,
}

#[derive(Debug)]
struct Wish {
    key: Key,
    pixels: Arc<RgbImage>,
    at: Rect,
}

#[derive(Debug)]
enum Work {
    Encoding(Job),
    Sending { id: u32, data: Vec<u8>, sent: usize },
}

impl Kitty {
    pub fn new(slow_line: bool) -> Self {
        // Other programs in this terminal number their pictures too, mostly from 1: start somewhere else.
        let next_id = (std::process::id() % 0x7fff) << 16 | 0x4000_0001;
        Self {
            slow_line,
            next_id,
            clock: 0,
            uploads: Vec::new(),
            placements: Vec::new(),
            waiting: VecDeque::new(),
            work: None,
            owed: Vec::new(),
        }
    }

    /// Makes way for a command: pays what is owed, and ends an upload under way with an empty last piece, which makes it a
    /// broken picture that the terminal drops.
    fn make_way(&mut self, out: &mut Vec<u8>) {
        self.give_up();
        out.append(&mut self.owed);
    }

    fn give_up(&mut self) {
        let Some((wish, work)) = self.work.take() else { return };
        match work {
            Work::Sending { id, sent, .. } => {
                if sent > 0 {
                    self.owed.extend_from_slice(b"\x1b_Gq=2,m=0;\x1b\\");
                    command(&mut self.owed, &format!("a=d,d=I,i={id}"));
                }
                self.waiting.push_front(wish);
            }
            Work::Encoding(_) => self.work = Some((wish, work)), // nothing was sent
        }
    }

    fn place(&mut self, out: &mut Vec<u8>, key: Key, at: Rect) -> bool {
        self.clock += 1;
        let Some(upload) = self.uploads.iter_mut().find(|upload| upload.key == key) else { return false };
        upload.used = self.clock;
        let id = upload.id;
        let number = 1 + self.placements.iter().filter(|placement| placement.id == id).count() as u32;
        out.extend_from_slice(format!("\x1b7\x1b[{};{}H", at.y + 1, at.x + 1).as_bytes());
        command(out, &format!("a=p,i={id},p={number},c={},r={},C=1,z=0", at.width, at.height));
        out.extend_from_slice(b"\x1b8");
        self.placements.push(Placement { picture: key.0, id, number });
        true
    }

    /// Drops the uploads that were used longest ago and are not on the screen.
    fn evict(&mut self, out: &mut Vec<u8>) {
        while self.uploads.iter().map(|upload| upload.bytes).sum::<usize>() > UPLOADS_MAX {
            let placements = &self.placements;
            let idle = self.uploads.iter().enumerate().filter(|(_, u)| placements.iter().all(|p| p.id != u.id));
            let Some((oldest, _)) = idle.min_by_key(|(_, upload)| upload.used) else { return };
            let upload = self.uploads.swap_remove(oldest);
            command(out, &format!("a=d,d=I,i={}", upload.id));
        }
    }

    fn start_next(&mut self, out: &mut Vec<u8>) {
        while let Some(wish) = self.waiting.pop_front() {
            // It may have been sent meanwhile for another place on the screen.
            if self.place(out, wish.key, wish.at) {
                continue;
            }
            let (pixels, slow_line) = (Arc::clone(&wish.pixels), self.slow_line);
            self.work = Some((wish, Work::Encoding(Job::start(move || encode(&pixels, slow_line)))));
            return;
        }
    }
}

impl PixelSink for Kitty {
    fn show(&mut self, out: &mut Vec<u8>, picture: &Picture, at: Rect) {
        if !picture.has_pixels() {
            return;
        }
        let key = (picture.id, picture.pixels.dimensions());
        if self.uploads.iter().any(|upload| upload.key == key) {
            self.make_way(out);
            self.place(out, key, at);
        } else {
            self.waiting.push_back(Wish { key, pixels: Arc::clone(&picture.pixels), at });
        }
    }

    fn hide(&mut self, out: &mut Vec<u8>, id: PictureId) {
        if self.work.as_ref().is_some_and(|(wish, _)| wish.key.0 == id) {
            self.give_up();
            self.work = None;
        }
        self.waiting.retain(|wish| wish.key.0 != id);
        let (gone, kept) = self.placements.drain(..).partition(|placement| placement.picture == id);
        self.placements = kept;
        let gone: Vec<Placement> = gone;
        if !gone.is_empty() {
            self.make_way(out);
        }
        out.append(&mut self.owed);
        for placement in gone {
            command(out, &format!("a=d,d=i,i={},p={}", placement.id, placement.number));
        }
    }

    fn hide_all(&mut self, out: &mut Vec<u8>) {
        self.waiting.clear();
        self.make_way(out);
        self.waiting.clear();
        self.work = None;
        for placement in std::mem::take(&mut self.placements) {
            command(out, &format!("a=d,d=i,i={},p={}", placement.id, placement.number));
        }
    }

    fn forget(&mut self) {
        self.give_up();
        self.work = None;
        self.waiting.clear();
        self.placements.clear();
        // Clearing the screen made kitty drop the data of what was shown; the rest is dropped here, so that nothing stays.
        for upload in std::mem::take(&mut self.uploads) {
            command(&mut self.owed, &format!("a=d,d=I,i={}", upload.id));
        }
    }

    fn pending(&self) -> bool {
        self.work.is_some() || !self.waiting.is_empty() || !self.owed.is_empty()
    }

    fn next_chunk(&mut self, out: &mut Vec<u8>, budget: usize) {
        let start = out.len();
        out.append(&mut self.owed);
        loop {
            if self.work.is_none() {
                self.start_next(out);
            }
            let Some((_, work)) = &mut self.work else { return };
            match work {
                Work::Encoding(job) => match job.poll() {
                    Progress::Working => return,
                    Progress::Done(data) if !data.is_empty() => {
                        *work = Work::Sending { id: self.next_id, data, sent: 0 };
                        self.next_id = self.next_id.wrapping_add(1).max(1);
                    }
                    Progress::Done(_) | Progress::Failed => self.work = None,
                },
                Work::Sending { id, data, sent } => {
                    send_piece(out, *id, data, sent);
                    if *sent == data.len()
                        && let Some((wish, Work::Sending { id, data, .. })) = self.work.take()
                    {
                        self.uploads.push(Upload { key: wish.key, id, bytes: data.len(), used: 0 });
                        self.place(out, wish.key, wish.at);
                        self.evict(out);
                    }
                    if out.len() - start >= budget {
                        return;
                    }
                }
            }
        }
    }
}

fn command(out: &mut Vec<u8>, keys: &str) {
    out.extend_from_slice(format!("\x1b_Gq=2,{keys}\x1b\\").as_bytes());
}

fn send_piece(out: &mut Vec<u8>, id: u32, data: &[u8], sent: &mut usize) {
    let end = (*sent + PIECE).min(data.len());
    let more = u8::from(end < data.len());
    let head = if *sent == 0 { format!("q=2,a=t,f=100,i={id},m={more}") } else { format!("q=2,m={more}") };
    let _ = write!(out, "\x1b_G{head};"); // a Vec takes everything
    out.extend_from_slice(&data[*sent..end]);
    out.extend_from_slice(b"\x1b\\");
    *sent = end;
}

/// PNG in base64; empty if it cannot be made.
fn encode(pixels: &RgbImage, slow_line: bool) -> Vec<u8> {
    let effort = if slow_line { CompressionType::Default } else { CompressionType::Fast };
    let mut png = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut png, effort, FilterType::Adaptive);
    match encoder.write_image(pixels.as_raw(), pixels.width(), pixels.height(), ExtendedColorType::Rgb8) {
        Ok(()) => STANDARD.encode(png).into_bytes(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::test_picture;
    use std::time::{Duration, Instant};

    const AT: Rect = Rect { x: 5, y: 2, width: 12, height: 6 };

    fn picture(id: u64) -> Picture {
        test_picture(id, (12, 6), (10, 20))
    }

    /// Everything that is to be sent, in pieces of `budget`.
    fn drain(sink: &mut Kitty, budget: usize) -> Vec<u8> {
        let (mut out, until) = (Vec::new(), Instant::now() + Duration::from_secs(20));
        while sink.pending() {
            let before = out.len();
            sink.next_chunk(&mut out, budget);
            assert!(out.len() - before <= budget + PIECE + 200, "a call keeps to its budget");
            assert!(Instant::now() < until, "still pending: {sink:?}");
            std::thread::yield_now();
        }
        out
    }

    /// (keys, payload) of each graphics command.
    fn commands(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let bodies = text.split("\x1b_G").skip(1).map(|rest| rest.split("\x1b\\").next().unwrap());
        bodies.map(|body| body.split_once(';').unwrap_or((body, ""))).map(|(k, p)| (k.to_owned(), p.into())).collect()
    }

    fn keys(bytes: &[u8]) -> Vec<String> {
        commands(bytes).into_iter().map(|(keys, _)| keys).collect()
    }

    fn shown(sink: &mut Kitty, id: u64) -> Vec<u8> {
        let mut out = Vec::new();
        sink.show(&mut out, &picture(id), AT);
        out.extend(drain(sink, 16 << 10));
        out
    }

    #[test]
    fn a_picture_is_sent_once_and_then_only_placed() {
        let mut sink = Kitty::new(false);
        let first = shown(&mut sink, 1);
        let all = commands(&first);
        assert!(all.len() > 3, "{} commands", all.len());
        assert!(all.iter().all(|(keys, payload)| keys.contains("q=2") && payload.len() <= PIECE), "{:?}", keys(&first));
        let (last, pieces) = all.split_last().unwrap();
        assert!(pieces[0].0.contains("a=t,f=100") && pieces[0].0.ends_with("m=1"));
        assert!(
            pieces.last().unwrap().0.ends_with("m=0") && pieces.iter().filter(|p| p.0.ends_with("m=0")).count() == 1
        );
        assert!(last.0.contains("a=p") && last.0.ends_with("p=1,c=12,r=6,C=1,z=0"), "{}", last.0);
        assert!(
            String::from_utf8(first.clone()).unwrap().contains("\x1b7\x1b[3;6H\x1b_G"),
            "row 2, column 5, from one"
        );

        let data: Vec<u8> = pieces.iter().flat_map(|(_, payload)| payload.clone()).collect();
        let png = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!(png.into_rgb8(), *picture(1).pixels);

        let mut out = Vec::new();
        sink.hide(&mut out, PictureId(1));
        let hidden = keys(&out);
        assert!(hidden.len() == 1 && hidden[0].contains("a=d,d=i,i="), "{hidden:?}");
        let again = shown(&mut sink, 1);
        assert!(again.len() < 200 && keys(&again).len() == 1, "{} bytes", again.len());
        out.clear();
        sink.hide(&mut out, PictureId(9));
        assert!(out.is_empty(), "hiding what is not shown says nothing");
        assert!(!sink.pending());
    }

    #[test]
    fn an_upload_gives_way_to_other_commands_and_is_begun_anew() {
        let mut sink = Kitty::new(true);
        shown(&mut sink, 1);
        let mut out = Vec::new();
        sink.show(&mut out, &picture(2), Rect { y: 10, ..AT });
        let until = Instant::now() + Duration::from_secs(20);
        while out.is_empty() {
            sink.next_chunk(&mut out, 1);
            assert!(Instant::now() < until);
        }
        assert_eq!(keys(&out).len(), 1, "one piece");
        out.clear();
        sink.hide(&mut out, PictureId(1));
        let seen = keys(&out);
        assert_eq!(seen[0], "q=2,m=0");
        assert!(seen[1].contains("d=I") && seen[2].contains("d=i"), "{seen:?}");
        let rest = keys(&drain(&mut sink, usize::MAX / 2));
        assert!(rest[0].contains("a=t") && rest.last().unwrap().contains("a=p"), "{rest:?}");
    }

    #[test]
    fn hiding_during_an_upload_ends_it() {
        let mut sink = Kitty::new(false);
        let mut out = Vec::new();
        sink.show(&mut out, &picture(2), AT);
        sink.hide(&mut out, PictureId(2));
        assert!(out.is_empty() && !sink.pending(), "nothing was sent yet");
        sink.show(&mut out, &picture(2), AT);
        while out.is_empty() {
            sink.next_chunk(&mut out, 1);
        }
        out.clear();
        sink.hide_all(&mut out);
        assert_eq!(keys(&out)[0], "q=2,m=0");
        assert!(!sink.pending());
    }

    #[test]
    fn after_a_cleared_screen_everything_is_sent_again() {
        let mut sink = Kitty::new(false);
        shown(&mut sink, 1);
        sink.forget();
        let again = keys(&shown(&mut sink, 1));
        assert!(again[0].contains("d=I") && again[1].contains("a=t"), "{again:?}");
    }

    #[test]
    fn one_picture_twice_on_the_screen_is_sent_once() {
        let mut sink = Kitty::new(false);
        let mut out = Vec::new();
        sink.show(&mut out, &picture(1), AT);
        sink.show(&mut out, &picture(1), Rect { x: 40, ..AT });
        out.extend(drain(&mut sink, 1 << 20));
        let seen = keys(&out);
        assert_eq!(seen.iter().filter(|k| k.contains("a=t")).count(), 1);
        assert!(seen.iter().any(|k| k.contains("p=1,")) && seen.iter().any(|k| k.contains("p=2,")), "{seen:?}");
        out.clear();
        sink.hide(&mut out, PictureId(1));
        assert_eq!(keys(&out).len(), 2);
    }

    #[test]
    fn uploads_are_dropped_when_they_become_too_many() {
        let mut sink = Kitty::new(false);
        shown(&mut sink, 1);
        let mut out = Vec::new();
        sink.hide(&mut out, PictureId(1));
        sink.uploads[0].bytes = UPLOADS_MAX;
        let second = keys(&shown(&mut sink, 2));
        assert!(second.last().unwrap().contains("d=I"), "{second:?}");
        assert_eq!(sink.uploads.len(), 1);
        let first = keys(&shown(&mut sink, 1));
        assert!(first[0].contains("a=t"));
    }
}
