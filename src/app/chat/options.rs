//! How answers are chosen: the generation keys, as a list in which each can be changed.
use super::Msg;
use crate::app::messages::Level;
use crate::app::overlay::{Item, Msg as OverlayMsg, Overlay, Prompt};
use crate::app::{Action, App, Effects};
use crate::text::{T, chat as text};
use lightbox_core::chat::AskOptions;
use tui_input::Input;

/// A key: its name in profiles, what it does, how it is read and written.
struct Option_ {
    name: &'static str,
    doc: T,
    get: fn(&AskOptions) -> String,
    /// `None`: the text is no such value.
    set: fn(&mut AskOptions, &str) -> Option<()>,
}

/// A number within its bounds.
fn number<N: std::str::FromStr + PartialOrd + Copy>(word: &str, min: N, max: N) -> Option<N> {
    word.trim().parse().ok().filter(|n| (min..=max).contains(n))
}

fn pixels(word: &str) -> Option<Option<u64>> {
    match word.trim() {
        "" | "auto" => Some(None),
        // products, as people write pixel counts
        word => word
            .split('*')
            .map(|factor| number(factor, 1, 1 << 40))
            .try_fold(1u64, |all, n| all.checked_mul(n?))
            .map(Some),
    }
}

fn shown(pixels: Option<u64>) -> String {
    pixels.map_or("auto".into(), |n| n.to_string())
}

const ALL: &[Option_] = &[
    Option_ {
        name: "max_new_tokens",
        doc: text::O_MAX,
        get: |o| o.max_new_tokens.to_string(),
        set: |o, w| {
            o.max_new_tokens = number(w, 1, 1 << 20)?;
            Some(())
        },
    },
    Option_ {
        name: "do_sample",
        doc: text::O_SAMPLE,
        get: |o| o.do_sample.to_string(),
        set: |o, w| {
            o.do_sample = w.trim().parse().ok()?;
            Some(())
        },
    },
    Option_ {
        name: "temperature",
        doc: text::O_TEMPERATURE,
        get: |o| o.temperature.to_string(),
        set: |o, w| {
            o.temperature = number(w, 0.0, 100.0)?;
            Some(())
        },
    },
    Option_ {
        name: "top_p",
        doc: text::O_TOP_P,
        get: |o| o.top_p.to_string(),
        set: |o, w| {
            o.top_p = number(w, 0.0, 1.0)?;
            Some(())
        },
    },
    Option_ {
        name: "top_k",
        doc: text::O_TOP_K,
        get: |o| o.top_k.to_string(),
        set: |o, w| {
            o.top_k = number(w, 0, 1 << 30)?;
            Some(())
        },
    },
    Option_ {
        name: "repetition_penalty",
        doc: text::O_PENALTY,
        get: |o| o.repetition_penalty.to_string(),
        set: |o, w| {
            o.repetition_penalty = number(w, 0.01, 100.0)?;
            Some(())
        },
    },
    Option_ {
        name: "seed",
        doc: text::O_SEED,
        get: |o| o.seed.to_string(),
        set: |o, w| {
            o.seed = number(w, 0, u64::MAX)?;
            Some(())
        },
    },
    Option_ {
        name: "image_max_pixels",
        doc: text::O_MAX_PIXELS,
        get: |o| shown(o.image_max_pixels),
        set: |o, w| {
            o.image_max_pixels = pixels(w)?;
            Some(())
        },
    },
    Option_ {
        name: "image_min_pixels",
        doc: text::O_MIN_PIXELS,
        get: |o| shown(o.image_min_pixels),
        set: |o, w| {
            o.image_min_pixels = pixels(w)?;
            Some(())
        },
    },
];

/// What asks for the value of key `row`; one function each, since an overlay's action is plain data.
const THEN: [fn(String) -> Action; 9] = [
    |w| Action::Chat(Msg::Option(0, w)),
    |w| Action::Chat(Msg::Option(1, w)),
    |w| Action::Chat(Msg::Option(2, w)),
    |w| Action::Chat(Msg::Option(3, w)),
    |w| Action::Chat(Msg::Option(4, w)),
    |w| Action::Chat(Msg::Option(5, w)),
    |w| Action::Chat(Msg::Option(6, w)),
    |w| Action::Chat(Msg::Option(7, w)),
    |w| Action::Chat(Msg::Option(8, w)),
];

fn ask(app: &App, row: usize, value: String, error: Option<String>) -> Overlay {
    let label = format!("{}: {}", ALL[row].name, app.t(ALL[row].doc));
    Overlay::Prompt(Prompt { title: ALL[row].name.to_owned(), label, input: Input::new(value), error, then: THEN[row] })
}

/// The list of all keys.
pub fn open(app: &mut App) -> Effects {
    let options = &app.chat.options;
    let item = |(row, option): (usize, &Option_)| {
        let value = (option.get)(options);
        // a switch is turned at once
        let action = if option.name == "do_sample" {
            Action::Chat(Msg::Option(row, (!options.do_sample).to_string()))
        } else {
            Action::Overlay(OverlayMsg::Open(Box::new(ask(app, row, value.clone(), None))))
        };
        Item { label: format!("{:<19} {value}", option.name), detail: app.t(option.doc).to_owned(), action }
    };
    let items = ALL.iter().enumerate().map(item).collect();
    app.choose(app.t(text::OPTIONS_TITLE), items)
}

pub fn set(app: &mut App, row: usize, value: &str) -> Effects {
    let Some(option) = ALL.get(row) else { return Vec::new() };
    if (option.set)(&mut app.chat.options, value).is_none() {
        let error =
            text::BAD_OPTION.fill(app.lang(), &[&option.name, &lightbox_core::safe_text::clean_line(value, 60)]);
        let again = ask(app, row, value.to_owned(), Some(error));
        return app.open(again);
    }
    let said = format!("{} = {}", option.name, (option.get)(&app.chat.options));
    app.say(Level::Info, said);
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reads_back_what_it_writes_and_refuses_nonsense() {
        let mut options = AskOptions::default();
        for option in ALL {
            let value = (option.get)(&options);
            assert_eq!((option.set)(&mut options, &value), Some(()), "{}", option.name);
            assert_eq!((option.set)(&mut options, "nonsense"), None, "{}", option.name);
        }
        assert_eq!(options, AskOptions::default());
        assert_eq!(ALL.len(), THEN.len());
        (ALL[7].set)(&mut options, "768*768").unwrap();
        assert_eq!(options.image_max_pixels, Some(589_824));
    }
}
