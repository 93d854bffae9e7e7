use super::*;
use crate::app::{Screen, update as act};
use lightbox_core::chat::{Done, Finish};

fn choice(adapters: &[&str]) -> ModelChoice {
    ModelChoice {
        model: "/m/base".into(),
        adapters: adapters.iter().map(PathBuf::from).collect(),
        dtype: Default::default(),
        device: "auto".into(),
    }
}

fn app() -> App {
    let mut app = App { screen: Screen::Chat, ..App::default() };
    app.chat.sides[0].model = Some(choice(&["/runs/a/checkpoint-40"]));
    app
}

fn press(app: &mut App, code: KeyCode, modifiers: KeyModifiers) -> Effects {
    act(app, Action::Key(KeyEvent::new(code, modifiers)))
}

fn write(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, KeyCode::Char(c), KeyModifiers::NONE);
    }
}

fn asks(effects: &Effects) -> Vec<lightbox_core::chat::Ask> {
    let ask = |effect: &super::super::Effect| match effect {
        super::super::Effect::Chat(Effect::Send(Request::Ask(ask))) => Some(ask.clone()),
        _ => None,
    };
    effects.iter().filter_map(ask).collect()
}

fn say(app: &mut App, reply: Reply) -> Effects {
    act(app, Action::Chat(Msg::Reply(reply)))
}

fn done(id: u64, text: &str) -> Reply {
    Reply::Done(Done {
        id,
        text: text.into(),
        tokens: 2,
        prompt_tokens: 9,
        cached_tokens: 0,
        finish: Finish::Stop,
        seconds: 1.0,
        first_token_seconds: Some(0.5),
        tokens_per_second: 4.0,
    })
}

#[test]
fn letters_and_digits_go_into_the_question_and_enter_sends_it_with_its_pictures() {
    let mut app = app();
    app.chat.attached = vec!["/p/a.png".into()];
    write(&mut app, "q: 2 lesions?");
    assert!(!app.quit && app.screen == Screen::Chat, "letters are no commands here");
    press(&mut app, KeyCode::Enter, KeyModifiers::ALT);
    write(&mut app, "中文");
    let sent = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE));
    assert_eq!(sent.len(), 1);
    let message = &sent[0].conversation.messages[0];
    assert_eq!((message.content.as_str(), message.images.len()), ("q: 2 lesions?\n中文", 1));
    assert!(app.chat.composer.is_empty() && app.chat.attached.is_empty() && app.chat.is_busy());
    assert_eq!(app.chat.worker, Worker::Starting);
}

#[test]
fn an_answer_grows_piece_by_piece_and_the_next_question_carries_it() {
    let mut app = app();
    write(&mut app, "one");
    let id = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE))[0].id;
    say(&mut app, Reply::Text { id, text: "hel".into() });
    say(&mut app, Reply::Text { id, text: "lo".into() });
    assert_eq!(app.chat.sides[0].turns[0].said(), "hello");
    write(&mut app, "too early");
    assert!(asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE)).is_empty(), "one after the other");
    say(&mut app, done(id, "hello"));
    let next = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE));
    let texts: Vec<&str> = next[0].conversation.messages.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(texts, ["one", "hello", "too early"]);
}

#[test]
fn escape_stops_the_answer_and_what_was_said_stays() {
    let mut app = app();
    write(&mut app, "long");
    let id = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE))[0].id;
    let effects = press(&mut app, KeyCode::Esc, KeyModifiers::NONE);
    assert!(effects.iter().any(
        |e| matches!(e, super::super::Effect::Chat(Effect::Send(Request::Stop { id: stopped })) if *stopped == id)
    ));
    say(&mut app, done(id, "half"));
    assert_eq!(app.chat.sides[0].turns[0].said(), "half");
}

#[test]
fn comparing_asks_the_base_model_the_questions_that_were_asked_before() {
    let mut app = app();
    for question in ["one", "two"] {
        write(&mut app, question);
        let id = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE))[0].id;
        say(&mut app, done(id, "tuned"));
    }
    let sent = asks(&press(&mut app, KeyCode::Char('c'), KeyModifiers::ALT));
    assert_eq!(sent[0].model, choice(&[]), "the base of the tuned model");
    assert_eq!(sent[0].conversation.messages[0].content, "one");
    let sent = asks(&say(&mut app, done(sent[0].id, "base")));
    let texts: Vec<&str> = sent[0].conversation.messages.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(texts, ["one", "base", "two"], "each model goes on from its own answers");
    say(&mut app, done(sent[0].id, "base again"));
    write(&mut app, "three");
    let both = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE));
    assert_eq!(both.len(), 2, "from now on both are asked");
}

#[test]
fn the_last_question_can_be_changed_or_asked_again_with_another_seed() {
    let mut app = app();
    app.chat.attached = vec!["/p/a.png".into()];
    write(&mut app, "which?");
    let first = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE));
    say(&mut app, done(first[0].id, "this"));
    let again = asks(&press(&mut app, KeyCode::Char('r'), KeyModifiers::ALT));
    assert_eq!(again[0].conversation, first[0].conversation);
    assert_ne!(again[0].options.seed, first[0].options.seed);
    say(&mut app, done(again[0].id, "that"));
    press(&mut app, KeyCode::Char('e'), KeyModifiers::ALT);
    assert_eq!((app.chat.question().as_str(), app.chat.attached.len()), ("which?", 1));
    assert!(app.chat.sides[0].turns.is_empty());
}

#[test]
fn a_new_conversation_can_be_taken_back() {
    let mut app = app();
    write(&mut app, "keep me");
    let id = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE))[0].id;
    say(&mut app, done(id, "kept"));
    press(&mut app, KeyCode::Char('n'), KeyModifiers::ALT);
    assert!(app.chat.sides[0].turns.is_empty());
    press(&mut app, KeyCode::Char('u'), KeyModifiers::ALT);
    assert_eq!(app.chat.sides[0].turns[0].said(), "kept");
}

#[test]
fn a_worker_that_dies_leaves_words_and_the_next_question_starts_another() {
    let mut app = app();
    write(&mut app, "boom");
    press(&mut app, KeyCode::Enter, KeyModifiers::NONE);
    act(&mut app, Action::Chat(Msg::Died("the worker was killed".into())));
    assert!(matches!(&app.chat.sides[0].turns[0].answer, Answer::Failed { error, .. } if error.contains("killed")));
    assert!(!app.chat.is_busy());
    let again = asks(&press(&mut app, KeyCode::Char('r'), KeyModifiers::ALT));
    assert_eq!(again.len(), 1);
    assert_eq!(app.chat.worker, Worker::Starting);
}

#[test]
fn a_dropped_path_is_a_picture_and_other_pasted_text_is_the_question() {
    let mut app = app();
    let effects = act(&mut app, Action::Paste("'/p/my scan.png'".into()));
    assert!(
        matches!(&effects[..], [super::super::Effect::Chat(Effect::CheckPictures(paths))] if paths[0] == std::path::Path::new("/p/my scan.png"))
    );
    act(&mut app, Action::Paste("two\r\nlines\x1b[2J".into()));
    assert_eq!(app.chat.question(), "two\nlines[2J");
}

#[test]
fn a_conversation_is_saved_with_its_pictures_and_as_a_row_to_train_on() {
    let mut app = app();
    app.chat.attached = vec!["/p/a b.png".into()];
    write(&mut app, "what?");
    let id = asks(&press(&mut app, KeyCode::Enter, KeyModifiers::NONE))[0].id;
    say(&mut app, done(id, "a scan\nof a head"));
    let markdown = save::markdown(&app);
    assert!(markdown.contains("![](</p/a b.png>)") && markdown.contains("> a scan\n> of a head"), "{markdown}");
    let json = save::as_json(&app);
    assert_eq!(json["conversations"][0][0]["answer"], "a scan\nof a head");
    let row = save::row(&app.chat.sides[0].turns, std::path::Path::new("/")).unwrap();
    assert_eq!(row["messages"][0]["content"], "<image>what?");
    assert_eq!(row["images"][0], "/p/a b.png");
}
