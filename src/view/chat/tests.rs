use crate::app::chat::{Answer, Focus, Loaded, Turn, Worker};
use crate::app::{App, Screen};
use crate::view::testing::{screen, snapshots};
use lightbox_core::chat::{Done, Finish, ModelChoice};

fn choice(adapters: &[&str]) -> ModelChoice {
    ModelChoice {
        model: "/m/Qwen2-VL-2B-Instruct".into(),
        adapters: adapters.iter().map(std::path::PathBuf::from).collect(),
        dtype: Default::default(),
        device: "auto".into(),
    }
}

fn turn(question: &str, adapters: &[&str], answer: Answer) -> Turn {
    Turn {
        question: question.into(),
        images: vec!["/scans/patient-7/slice-041.png".into()],
        model: choice(adapters),
        answer,
    }
}

fn done(text: &str) -> Answer {
    Answer::Done(Done {
        id: 1,
        text: text.into(),
        tokens: 31,
        prompt_tokens: 340,
        cached_tokens: 0,
        finish: Finish::Stop,
        seconds: 1.4,
        first_token_seconds: Some(0.31),
        tokens_per_second: 28.0,
    })
}

fn app() -> App {
    let mut app = App { screen: Screen::Chat, ..App::default() };
    app.chat.sides[0].model = Some(choice(&["/runs/medtrinity/checkpoint-1200"]));
    app
}

#[test]
fn nothing_asked_yet() {
    snapshots("chat-empty", &mut App { screen: Screen::Chat, ..App::default() });
}

#[test]
fn an_answer_that_is_being_spoken() {
    let mut app = app();
    app.chat.worker = Worker::Ready { version: "lightbox-engine 0.1.0".into() };
    app.chat.loaded =
        Some(Loaded { model: choice(&[]), device: "cuda:0".into(), dtype: "bf16".into(), memory_bytes: 4_420_000_000 });
    app.chat.sides[0].turns = vec![
        turn(
            "What does the scan show?",
            &["/runs/medtrinity/checkpoint-1200"],
            done(
                "An axial CT slice of the head with a hyperdense lesion in the left frontal lobe, about 12 mm across.",
            ),
        ),
        turn(
            "图片中的诊断结果是怎样？",
            &["/runs/medtrinity/checkpoint-1200"],
            Answer::Speaking { id: 2, text: "这是一张头部 CT 轴位图像，左侧额叶可见".into() },
        ),
    ];
    app.chat.composer.insert_str("And how large is it, compared with the slice before?");
    snapshots("chat-speaking", &mut app);
}

#[test]
fn two_models_side_by_side() {
    let mut app = app();
    app.chat.compare = true;
    app.chat.sides[1].model = Some(choice(&[]));
    app.chat.sides[0].turns = vec![turn(
        "What does the scan show?",
        &["/runs/medtrinity/checkpoint-1200"],
        done("A lesion in the left frontal lobe."),
    )];
    app.chat.sides[1].turns = vec![turn(
        "What does the scan show?",
        &[],
        Answer::Failed {
            error: "/scans/patient-7/slice-041.png: there is no such picture".into(),
            hint: Some("choose another".into()),
        },
    )];
    app.chat.focus = Focus::Side(1);
    snapshots("chat-compare", &mut app);
}

#[test]
fn hostile_text_shows_itself_and_does_nothing() {
    let mut app = app();
    app.chat.sides[0].turns =
        vec![turn("\x1b]52;c;cm0=\x07\x1b[2J\u{202e}", &["/runs/\x1b[31m"], done("\x1b[31mred\u{9b}2J"))];
    app.chat.worker = Worker::Died("\x1b[2Jgone".into());
    let shown = screen(&mut app, 100, 30);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(shown.contains("\\u{1b}"), "{shown}");
}
