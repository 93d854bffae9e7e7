//! How answers are chosen: the generation keys, as a list in which each can be changed.
use super::{Effect, Msg};
use crate::app::messages::Level;
use crate::app::overlay::{Item, Msg as OverlayMsg, Overlay, Prompt};
use crate::app::{self, Action, App, Effects};
use crate::text::{T, chat as text};
use lightbox_core::generation::{AskOptions, Generation, ModelDefaults};
use tui_input::Input;

/// A key: its name in profiles, what it does, how it is read and written.
struct Option_ {
    name: &'static str,
    doc: T,
    /// The value that will be used.
    get: fn(&AskOptions, &Generation) -> String,
    /// `None`: the text is no such value.
    set: fn(&mut AskOptions, &str) -> Option<()>,
}

/// A number within its bounds. No text: nothing is given, so the default counts again.
fn number<N: std::str::FromStr + PartialOrd + Copy>(word: &str, min: N, max: N) -> Option<Option<N>> {
    match word.trim() {
        "" => Some(None),
        word => word.parse().ok().filter(|n| (min..=max).contains(n)).map(Some),
    }
}

fn switch(word: &str) -> Option<Option<bool>> {
    match word.trim() {
        "" => Some(None),
        word => word.parse().ok().map(Some),
    }
}

fn pixels(word: &str) -> Option<Option<u64>> {
    match word.trim() {
        "" | "auto" => Some(None),
        // products, as people write pixel counts
        word => word
            .split('*')
            .map(|factor| number(factor, 1, 1 << 40).flatten())
            .try_fold(1u64, |all, n| all.checked_mul(n?))
            .map(Some),
    }
}

fn shown(pixels: Option<u64>) -> String {
    pixels.map_or("auto".into(), |n| n.to_string())
}

/// Stop texts as a JSON list, because they may hold line breaks and commas; what is no list is one text.
fn stops(word: &str) -> Option<Vec<String>> {
    match word.trim() {
        "" => Some(Vec::new()),
        list if list.starts_with('[') => serde_json::from_str(list).ok(),
        text => Some(vec![text.to_owned()]),
    }
}

macro_rules! option {
    ($name:ident, $doc:ident, |$o:ident, $g:ident| $get:expr, |$w:ident| $set:expr) => {
        Option_ {
            name: stringify!($name),
            doc: text::$doc,
            get: |$o, $g| $get,
            set: |o, $w| {
                o.$name = $set?;
                Some(())
            },
        }
    };
}

const ALL: &[Option_] = &[
    option!(max_new_tokens, O_MAX, |_o, g| g.max_new_tokens.to_string(), |w| number(w, 1, 1 << 20)),
    option!(do_sample, O_SAMPLE, |_o, g| g.do_sample.to_string(), |w| switch(w)),
    option!(temperature, O_TEMPERATURE, |_o, g| g.temperature.to_string(), |w| number(w, 0.0, 100.0)),
    option!(top_p, O_TOP_P, |_o, g| g.top_p.to_string(), |w| number(w, 1e-6, 1.0)),
    option!(top_k, O_TOP_K, |_o, g| g.top_k.to_string(), |w| number(w, 0, 1 << 30)),
    option!(min_p, O_MIN_P, |_o, g| g.min_p.to_string(), |w| number(w, 0.0, 1.0)),
    option!(repetition_penalty, O_PENALTY, |_o, g| g.repetition_penalty.to_string(), |w| number(w, 0.01, 100.0)),
    option!(seed, O_SEED, |_o, g| g.seed.to_string(), |w| number(w, 0, u64::MAX)),
    option!(stop, O_STOP, |o, _g| serde_json::to_string(&o.stop).unwrap_or_default(), |w| stops(w)),
    option!(number_pictures, O_NUMBER, |o, _g| o.number_pictures.to_string(), |w| switch(w)?),
    option!(image_max_pixels, O_MAX_PIXELS, |o, _g| shown(o.image_max_pixels), |w| pixels(w)),
    option!(image_min_pixels, O_MIN_PIXELS, |o, _g| shown(o.image_min_pixels), |w| pixels(w)),
];

/// What asks for the value of key `row`; one function each, since an overlay's action is plain data.
const THEN: [fn(String) -> Action; 12] = [
    |w| Action::Chat(Msg::Option(0, w)),
    |w| Action::Chat(Msg::Option(1, w)),
    |w| Action::Chat(Msg::Option(2, w)),
    |w| Action::Chat(Msg::Option(3, w)),
    |w| Action::Chat(Msg::Option(4, w)),
    |w| Action::Chat(Msg::Option(5, w)),
    |w| Action::Chat(Msg::Option(6, w)),
    |w| Action::Chat(Msg::Option(7, w)),
    |w| Action::Chat(Msg::Option(8, w)),
    |w| Action::Chat(Msg::Option(9, w)),
    |w| Action::Chat(Msg::Option(10, w)),
    |w| Action::Chat(Msg::Option(11, w)),
];

fn ask(app: &App, row: usize, value: String, error: Option<String>) -> Overlay {
    let label = format!("{}: {}", ALL[row].name, app.t(ALL[row].doc));
    Overlay::Prompt(Prompt { title: ALL[row].name.to_owned(), label, input: Input::new(value), error, then: THEN[row] })
}

/// Asks what the model itself says, which the list needs to show what will be used.
pub fn open(app: &mut App) -> Effects {
    match &app.chat.sides[app.chat.side()].model {
        Some(choice) => vec![app::Effect::Chat(Effect::ReadDefaults(choice.model.clone()))],
        None => list(app, &ModelDefaults::default()),
    }
}

/// The list of all keys, over what the model itself says.
pub fn list(app: &mut App, model: &ModelDefaults) -> Effects {
    let options = &app.chat.options;
    // They were checked one by one as they came.
    let settled = options.settle(None, model).unwrap_or_else(|_| Generation::greedy(1));
    let item = |(row, option): (usize, &Option_)| {
        let value = (option.get)(options, &settled);
        // a switch is turned at once
        let action = match value.as_str() {
            "true" => Action::Chat(Msg::Option(row, "false".into())),
            "false" => Action::Chat(Msg::Option(row, "true".into())),
            _ => Action::Overlay(OverlayMsg::Open(Box::new(ask(app, row, value.clone(), None)))),
        };
        let shown = lightbox_core::safe_text::clean_line(&value, 60);
        Item { label: format!("{:<19} {shown}", option.name), detail: app.t(option.doc).to_owned(), action }
    };
    let items = ALL.iter().enumerate().map(item).collect();
    app.choose(app.t(text::OPTIONS_TITLE), items)
}

pub fn set(app: &mut App, row: usize, value: &str) -> Effects {
    let Some(option) = ALL.get(row) else { return Vec::new() };
    let mut changed = app.chat.options.clone();
    if (option.set)(&mut changed, value).is_none() || changed.check().is_err() {
        let shown = lightbox_core::safe_text::clean_line(value, 60);
        let error = text::BAD_OPTION.fill(app.lang(), &[&option.name, &shown]);
        let again = ask(app, row, value.to_owned(), Some(error));
        return app.open(again);
    }
    app.chat.options = changed;
    let value = value.trim();
    let value = if value.is_empty() {
        app.t(text::DEFAULT).to_owned()
    } else {
        lightbox_core::safe_text::clean_line(value, 60)
    };
    app.say(Level::Info, format!("{} = {value}", option.name));
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reads_back_what_it_writes_and_refuses_nonsense() {
        let mut options = AskOptions::default();
        let settled = |o: &AskOptions| o.settle(None, &ModelDefaults::default()).unwrap();
        for option in ALL {
            let value = (option.get)(&options, &settled(&options));
            assert_eq!((option.set)(&mut options, &value), Some(()), "{}", option.name);
            assert_eq!((option.get)(&options, &settled(&options)), value, "{}", option.name);
            if option.name != "stop" {
                assert_eq!((option.set)(&mut options, "nonsense"), None, "{}", option.name);
            }
            if option.name != "number_pictures" {
                assert_eq!((option.set)(&mut options, " "), Some(()), "{}: back to the default", option.name);
            }
        }
        assert_eq!(options, AskOptions::default());
        assert_eq!(ALL.len(), THEN.len());
        let set = |options: &mut AskOptions, name: &str, value: &str| {
            let option = ALL.iter().find(|option| option.name == name).unwrap();
            (option.set)(options, value)
        };
        set(&mut options, "image_max_pixels", "768*768").unwrap();
        assert_eq!(options.image_max_pixels, Some(589_824));
        set(&mut options, "stop", r#"["\n", "END"]"#).unwrap();
        assert_eq!(options.stop, ["\n", "END"]);
        set(&mut options, "stop", "one, text").unwrap();
        assert_eq!(options.stop, ["one, text"]);
        assert_eq!(set(&mut options, "stop", "[1]"), None);
    }

    #[test]
    fn the_list_shows_what_will_be_used_and_a_given_value_before_the_model_s_own() {
        let model = ModelDefaults { temperature: Some(0.01), top_k: Some(1), ..ModelDefaults::default() };
        let mut app = App::default();
        let labels = |app: &App| match app.overlays.last() {
            Some(Overlay::Choose(list)) => {
                list.items.iter().map(|item| item.label.clone()).collect::<Vec<_>>().join("\n")
            }
            other => panic!("{other:?}"),
        };
        list(&mut app, &model);
        let shown = labels(&app);
        assert!(shown.contains("temperature         0.01") && shown.contains("top_k               1\n"), "{shown}");
        set(&mut app, 2, "0.5");
        list(&mut app, &model);
        let shown = labels(&app);
        assert!(shown.contains("temperature         0.5") && shown.contains("top_k               50"), "{shown}");
    }
}
