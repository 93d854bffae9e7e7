//! `lightbox-engine answer` inside one process: the real queue, the real model, pipes for stdin and stdout.

use crate::golden;
use lightbox_core::args::{ChatArgs, Dtype};
use lightbox_core::chat::serve::serve;
use lightbox_core::chat::{
    Ask, AskOptions, Conversation, Done, Finish, Loading, Message, ModelChoice, Reply, Request, Role,
};
use lightbox_core::generation::Generation;
use lightbox_engine::commands::answer::Answers;
use lightbox_engine::generate::{Memory, generate};
use lightbox_engine::model::Qwen2Vl;
use lightbox_engine::{lora, setup, weights};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tch::{Device, Kind, Tensor};

/// Far more than anything here takes, so that a hang is an error and not a hang.
const DEADLINE: Duration = Duration::from_secs(120);

struct Worker {
    stdin: PipeWriter,
    replies: Receiver<Reply>,
}

impl Worker {
    fn start() -> Self {
        Self::answering(1)
    }

    /// A worker that answers so many questions at once.
    fn answering(batch: usize) -> Self {
        let (requests, stdin): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
        let (stdout, answers) = std::io::pipe().unwrap();
        let (send, replies) = channel();
        std::thread::spawn(move || {
            tch::set_num_threads(1);
            let mut respondent = Answers::default();
            respondent.batch = batch;
            serve(BufReader::new(requests), answers, respondent).unwrap();
        });
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let _ = send.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        let worker = Self { stdin, replies };
        assert!(matches!(worker.next(), Reply::Ready { devices, .. } if devices.contains(&"cpu".to_owned())));
        worker
    }

    fn send(&mut self, request: &Request) {
        writeln!(self.stdin, "{}", serde_json::to_string(request).unwrap()).unwrap();
    }

    fn next(&self) -> Reply {
        self.replies.recv_timeout(DEADLINE).expect("a reply in time")
    }

    /// Everything up to the end of the question, which comes last.
    fn until_end(&self, id: u64) -> Vec<Reply> {
        let mut all = Vec::new();
        loop {
            all.push(self.next());
            match all.last().unwrap() {
                Reply::Done(done) if done.id == id => return all,
                Reply::Failed { id: Some(failed), .. } if *failed == id => return all,
                _ => {}
            }
        }
    }

    /// An answer, and what was loaded for it. Its pieces are its text.
    fn answer(&mut self, ask: Ask) -> (Done, Vec<Loading>) {
        let id = ask.id;
        self.send(&Request::Ask(ask));
        let replies = self.until_end(id);
        let Some(Reply::Done(done)) = replies.last().cloned() else { panic!("{replies:?}") };
        let pieces: String = replies
            .iter()
            .filter_map(|r| if let Reply::Text { text, .. } = r { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(pieces, done.text);
        let loading =
            replies.iter().filter_map(|r| if let Reply::Loading { what, .. } = r { Some(*what) } else { None });
        (done, loading.collect())
    }

    fn failure(&mut self, ask: Ask) -> String {
        let id = ask.id;
        self.send(&Request::Ask(ask));
        match self.until_end(id).pop() {
            Some(Reply::Failed { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    }
}

fn root(rel: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(rel)
}

fn choice(adapters: &[&Path]) -> ModelChoice {
    ModelChoice {
        model: root("assets/demo-model"),
        adapters: adapters.iter().map(|a| a.to_path_buf()).collect(),
        dtype: Dtype::F32,
        device: "cpu".into(),
    }
}

fn question(id: u64, adapters: &[&Path], text: &str, images: &[&str], max_new_tokens: usize) -> Ask {
    let images = images.iter().map(|image| root(image)).collect();
    let messages = vec![Message { role: Role::User, content: text.into(), images }];
    let options = AskOptions { do_sample: Some(false), max_new_tokens: Some(max_new_tokens), ..AskOptions::default() };
    Ask { id, model: choice(adapters), conversation: Conversation { system: None, messages }, options }
}

const PICTURE: &str = "tests/golden/images/ct_small.png";

/// An adapter for the demo model that changes every answer.
fn adapter(dir: &Path, seed: i64) {
    let _random = golden::random_alone();
    let mut model = fresh(&[]).model;
    let config = lora::LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        rslora: false,
        target: vec!["q_proj".into(), "down_proj".into()],
    };
    let freeze = lora::Freeze { vision_tower: true, multi_modal_projector: true, language_model: false };
    lora::attach_new(&mut model, &config, freeze, 7).unwrap();
    tch::manual_seed(seed);
    for (_, mut t) in lora::named_parameters(&model) {
        let _ = t.normal_(0.0, 0.3); // B begins at zero, which would hide everything
    }
    lora::save(&model, &config, "demo", dir).unwrap();
}

fn fresh(adapters: &[PathBuf]) -> setup::Ready {
    tch::set_num_threads(1);
    setup::load(&root("assets/demo-model"), adapters, Some(Kind::Float), Device::Cpu).unwrap()
}

/// What a model that was loaded only for this says, by another road than the worker's: template and tokens by hand.
fn fresh_answer(adapters: &[&Path], text: &str, max_new_tokens: usize) -> String {
    let ready = fresh(&adapters.iter().map(|a| a.to_path_buf()).collect::<Vec<_>>());
    let prompt = format!(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    );
    let ids = ready.tokenizer.encode(&prompt).unwrap();
    let prompt = lightbox_engine::generate::Prompt { ids, grids: vec![], pixel_values: vec![] };
    let options = lightbox_engine::generate::Options {
        generation: Generation::greedy(max_new_tokens),
        eos: vec![ready.tokenizer.im_end],
        vocab_limit: Some(ready.tokenizer.vocab_size() as i64),
    };
    let answers =
        generate(&ready.model, &ready.tokenizer, &[&prompt], &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
    ready.tokenizer.decode(&answers[0].ids, true).unwrap()
}

fn base_weights(model: &Qwen2Vl) -> BTreeMap<String, Tensor> {
    model.named_weights().into_iter().collect()
}

#[test]
fn an_adapter_goes_on_and_off_in_place_and_every_answer_is_that_of_a_fresh_load() {
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (temp.path().join("one"), temp.path().join("two"));
    for (dir, seed) in [(&one, 1), (&two, 2)] {
        std::fs::create_dir(dir).unwrap();
        adapter(dir, seed);
    }
    let text = "What is a CT scan?";
    let expected = |adapters: &[&Path]| fresh_answer(adapters, text, 24);
    let (base, tuned, other, both) = (expected(&[]), expected(&[&one]), expected(&[&two]), expected(&[&one, &two]));
    assert!(base.contains("tomography"), "{base}");
    assert!(tuned != base && other != base && other != tuned && both != other, "{base}\n{tuned}\n{other}\n{both}");

    let mut worker = Worker::start();
    let steps: [(&[&Path], &str, &[Loading]); 9] = [
        (&[], &base, &[Loading::Base]),
        (&[&one], &tuned, &[Loading::Adapter]),
        (&[&one], &tuned, &[]),
        (&[], &base, &[Loading::Adapter]),
        (&[&two], &other, &[Loading::Adapter]),
        (&[&one], &tuned, &[Loading::Adapter]),
        (&[&one, &two], &both, &[Loading::Merge]),
        (&[&one], &tuned, &[Loading::Base]),
        (&[], &base, &[Loading::Adapter]),
    ];
    for (i, (adapters, expected, loads)) in steps.into_iter().enumerate() {
        let (done, loaded) = worker.answer(question(i as u64, adapters, text, &[], 24));
        assert_eq!((done.text.as_str(), loaded.as_slice()), (expected, loads), "step {i}");
        assert!(done.tokens > 1 && done.prompt_tokens > 10 && done.seconds > 0.0 && done.tokens_per_second > 0.0);
        assert!(done.first_token_seconds.is_some_and(|first| first < done.seconds));
    }

    // The same folder with another adapter in it: the old one must not answer.
    adapter(&one, 2);
    let (done, loaded) = worker.answer(question(90, &[&one], text, &[], 24));
    assert_eq!((done.text, loaded), (other, vec![Loading::Adapter]));
    // A folder that holds no adapter: the base stays, and stays itself.
    let error = worker.failure(question(91, &[temp.path()], text, &[], 24));
    assert!(error.contains("adapter_config.json"), "{error}");
    let (done, loaded) = worker.answer(question(92, &[], text, &[], 24));
    assert_eq!((done.text, loaded), (base, vec![]));
}

#[test]
fn an_adapter_taken_off_leaves_the_very_weights() {
    let temp = tempfile::tempdir().unwrap();
    adapter(temp.path(), 3);
    let mut ready = fresh(&[]);
    let before = base_weights(&ready.model);
    setup::attach(&mut ready.model, &[temp.path().to_owned()]).unwrap();
    assert!(!lora::named_parameters(&ready.model).is_empty());
    lora::detach(&mut ready.model);
    assert!(lora::named_parameters(&ready.model).is_empty());
    for (name, t) in base_weights(&ready.model) {
        assert_eq!(t.data_ptr(), before[&name].data_ptr(), "{name} was copied");
    }
}

#[test]
fn greedy_answers_are_those_of_chat() {
    use clap::Parser;
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        chat: ChatArgs,
    }
    let model = root("assets/demo-model");
    let args = ["chat", "--greedy", "--device", "cpu", "--dtype", "f32", "--max-new-tokens", "24", "--model"];
    let args = Cli::parse_from(args.iter().map(std::ffi::OsStr::new).chain([model.as_os_str()])).chat;
    let resolved = args.model.resolve().unwrap();
    let ready = fresh(&[]);
    let mut worker = Worker::start();
    let asked: [(&str, &[&str]); 3] =
        [("Describe the image.", &[PICTURE]), ("Hello", &[]), ("<image>And<image>?", &[PICTURE, PICTURE])];
    for (i, (text, images)) in asked.into_iter().enumerate() {
        let mut ask = question(i as u64, &[], text, images, 24);
        let (conversation, pictures) = ask.conversation.for_template();
        let question = lightbox_engine::commands::ask::Question {
            conversation: &conversation,
            images: &pictures,
            budget: resolved.budget,
            generation: &args.generate.options().settle(None, &ready.defaults).unwrap(),
            number_pictures: false,
        };
        let mut image_tokens = None;
        let chat = lightbox_engine::commands::ask::ask(&ready, &question, &mut Memory::default(), &mut |heard| {
            if let lightbox_engine::commands::ask::Heard::Started { image_tokens: n, .. } = heard {
                image_tokens = Some(n);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        let (done, _) = worker.answer(ask.clone());
        assert_eq!((&done.text, done.tokens, done.prompt_tokens), (&chat.text, chat.ids.len(), chat.prompt_tokens));
        assert_eq!(done.finish, chat.finish);
        assert_eq!(image_tokens.unwrap() > 0, !images.is_empty());
        assert_eq!(chat.text, ready.tokenizer.decode(&chat.ids, true).unwrap(), "the pieces are the text");

        // A second turn reads the first.
        ask.id += 100;
        ask.conversation.messages.push(Message { role: Role::Assistant, content: done.text.clone(), images: vec![] });
        ask.conversation.messages.push(Message { role: Role::User, content: "Sure?".into(), images: vec![] });
        let (second, _) = worker.answer(ask);
        assert!(second.prompt_tokens > done.prompt_tokens + done.tokens);
    }
}

#[test]
fn a_question_that_fails_is_told_and_the_next_one_is_answered() {
    let mut worker = Worker::start();
    let temp = tempfile::tempdir().unwrap();
    let broken = temp.path().join("broken.png");
    std::fs::write(&broken, b"\x89PNG\r\n\x1a\nnot really").unwrap();
    assert!(worker.failure(question(1, &[], "What?", &["no/such.png"], 8)).contains("no/such.png"));
    assert!(worker.failure(question(2, &[], "What?", &[broken.to_str().unwrap()], 8)).contains("broken.png"));
    assert!(worker.failure(question(3, &[], "<image>What?", &[], 8)).contains("<image>"));
    let mut gone = question(4, &[], "What?", &[], 8);
    gone.model.model = temp.path().join("gone");
    assert!(worker.failure(gone).contains("there is no such model folder"));
    let mut empty = question(5, &[], "What?", &[], 8);
    empty.conversation.messages.clear();
    assert!(worker.failure(empty).contains("no question"));
    let mut gpu = question(6, &[], "What?", &[], 8);
    gpu.model.device = "cuda:99".into();
    assert!(worker.failure(gpu).contains("cuda:99"));
    writeln!(worker.stdin, "this is no JSON").unwrap();
    assert!(matches!(worker.next(), Reply::Failed { id: None, .. }));
    assert_eq!(worker.answer(question(7, &[], "Hello", &[], 8)).0.tokens, 8);
}

#[test]
fn stop_ends_an_answer_that_speaks_and_one_that_waits() {
    let _random = golden::random_alone();
    let mut worker = Worker::start();
    // So hot that every token is as likely as the next: with this seed it goes on for some hundred tokens.
    let mut long = question(1, &[], "Hello", &[], 100_000);
    let hot = AskOptions {
        do_sample: Some(true),
        temperature: Some(1000.0),
        top_k: Some(0),
        top_p: Some(1.0),
        seed: Some(2),
        ..long.options
    };
    long.options = hot;
    worker.send(&Request::Ask(long));
    worker.send(&Request::Ask(question(2, &[], "Hello", &[], 8)));
    worker.send(&Request::Ask(question(3, &[], "Hello", &[], 8)));
    while !matches!(worker.next(), Reply::Text { id: 1, .. }) {}
    worker.send(&Request::Stop { id: 2 });
    let replies = worker.until_end(2);
    let Some(Reply::Done(waited)) = replies.last() else { panic!("{replies:?}") };
    assert_eq!((waited.finish, waited.tokens), (Finish::Cancelled, 0), "before the first has ended");
    assert!(!replies.iter().any(|r| matches!(r, Reply::Done(done) if done.id == 1)), "the first one still speaks");
    worker.send(&Request::Stop { id: 1 });
    let Some(Reply::Done(spoke)) = worker.until_end(1).pop() else { panic!() };
    assert_eq!(spoke.finish, Finish::Cancelled);
    assert!(spoke.tokens > 0 && spoke.tokens < 100_000 && !spoke.text.is_empty());
    let Some(Reply::Done(third)) = worker.until_end(3).pop() else { panic!() };
    assert_eq!((third.finish, third.tokens), (Finish::Length, 8));
}

#[test]
fn load_says_what_it_takes_and_unload_frees_it() {
    let mut worker = Worker::start();
    let load = Request::Load { model: choice(&[]) };
    worker.send(&load);
    assert!(matches!(worker.next(), Reply::Loading { what: Loading::Base, .. }));
    let Reply::Loaded { memory_bytes, dtype, device, seconds, .. } = worker.next() else { panic!() };
    let file = weights::Weights::open_model(&root("assets/demo-model")).unwrap();
    let numbers: usize = file.names().map(|name| file.get_any(name).unwrap().numel()).sum();
    assert_eq!((memory_bytes, dtype, device.as_str()), (4 * numbers as u64, Dtype::F32, "cpu"));
    assert!(seconds > 0.0);
    worker.send(&load);
    assert!(matches!(worker.next(), Reply::Loaded { seconds: 0.0, .. }), "it is there already");
    worker.send(&Request::Unload);
    assert_eq!(worker.next(), Reply::Unloaded);
    worker.send(&load);
    assert!(matches!(worker.next(), Reply::Loading { what: Loading::Base, .. }));
}

#[test]
fn questions_that_wait_are_answered_together_each_with_its_own_options_stop_and_faults() {
    let asks = || {
        let mut drawn = question(3, &[], "What is a CT scan?", &[PICTURE], 16);
        drawn.options = AskOptions { do_sample: Some(true), temperature: Some(2.0), seed: Some(5), ..drawn.options };
        let mut stopping = question(4, &[], "What is a CT scan?", &[], 24);
        stopping.options.stop = vec!["tomography".into()];
        vec![question(2, &[], "Describe the image.", &[PICTURE], 24), drawn, stopping]
    };
    let mut worker = Worker::start();
    let alone: Vec<Done> = asks().into_iter().map(|ask| worker.answer(ask).0).collect();
    assert!(alone[2].finish == Finish::Stop && !alone[2].text.contains("tomography"), "{:?}", alone[2]);

    let mut worker = Worker::answering(5);
    let hot = |id| {
        let mut long = question(id, &[], "Hello", &[], 100_000);
        let options = AskOptions { do_sample: Some(true), temperature: Some(1000.0), ..long.options };
        long.options = AskOptions { top_k: Some(0), top_p: Some(1.0), seed: Some(2), ..options };
        long
    };
    worker.send(&Request::Ask(hot(1)));
    while !matches!(worker.next(), Reply::Text { id: 1, .. }) {}
    // While the first speaks these come into line, the last of them one too many for the batch.
    for ask in asks().into_iter().chain([
        hot(5),
        question(6, &[], "What?", &["no/such.png"], 8),
        question(7, &[], "Hello", &[], 8),
    ]) {
        worker.send(&Request::Ask(ask));
    }
    // Lines are read in order: when this is refused, all are in line.
    writeln!(worker.stdin, "this is no JSON").unwrap();
    while !matches!(worker.next(), Reply::Failed { id: None, .. }) {}
    worker.send(&Request::Stop { id: 1 });
    worker.until_end(1);

    let (mut started, mut ended, mut pieces) = (Vec::new(), BTreeMap::new(), BTreeMap::<u64, String>::new());
    let mut failed = Vec::new();
    while ended.len() < 5 {
        match worker.next() {
            Reply::Started { id, .. } => {
                assert!(id != 7 || ended.len() == 4, "7 is of the next batch");
                assert!(id == 7 || pieces.is_empty(), "all of the batch are read before one speaks");
                started.push(id);
            }
            Reply::Text { id, text } => {
                *pieces.entry(id).or_default() += &text;
                // The three others end by themselves long before this one.
                if id == 5 && pieces[&5].len() == text.len() {
                    worker.send(&Request::Stop { id: 5 });
                }
            }
            Reply::Done(done) => {
                ended.insert(done.id, done);
            }
            Reply::Failed { id, error, .. } => failed.push((id, error)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started, [2, 3, 4, 5, 7]);
    assert!(matches!(&failed[..], [(Some(6), error)] if error.contains("no/such.png")), "{failed:?}");
    for alone in &alone {
        let together = &ended[&alone.id];
        assert_eq!((&together.text, together.tokens, together.finish), (&alone.text, alone.tokens, alone.finish));
        assert_eq!(pieces.get(&alone.id).map_or("", String::as_str), alone.text);
    }
    assert_eq!((ended[&5].finish, &ended[&5].text), (Finish::Cancelled, &pieces[&5]));
    assert!(ended[&5].tokens < 100_000);
    assert_eq!((ended[&7].finish, ended[&7].tokens), (Finish::Length, 8));
}

#[test]
fn a_conversation_that_goes_on_is_not_read_again_even_when_another_model_answers_in_between() {
    let temp = tempfile::tempdir().unwrap();
    adapter(temp.path(), 4);
    let mut worker = Worker::start();
    let turn = |id: u64, adapters: &[&Path], before: Option<&Done>| {
        let mut ask = question(id, adapters, "Describe the image.", &[PICTURE], 12);
        if let Some(done) = before {
            let said = Message { role: Role::Assistant, content: done.text.clone(), images: vec![] };
            ask.conversation
                .messages
                .extend([said, Message { role: Role::User, content: "Sure?".into(), images: vec![] }]);
        }
        ask
    };
    let (base, _) = worker.answer(turn(1, &[], None));
    let (tuned, _) = worker.answer(turn(2, &[temp.path()], None));
    assert_eq!((base.cached_tokens, tuned.cached_tokens), (0, 0), "other weights read another thing");
    for (id, adapters, first) in [(3, vec![], &base), (4, vec![temp.path()], &tuned)] {
        let (second, _) = worker.answer(turn(id, &adapters, Some(first)));
        assert!(second.cached_tokens >= first.prompt_tokens && second.cached_tokens < second.prompt_tokens);
        let (fresh, _) = Worker::start().answer(turn(id, &adapters, Some(first)));
        assert_eq!((fresh.cached_tokens, &fresh.text), (0, &second.text));
    }
    // Written anew, the adapter is another one.
    adapter(temp.path(), 5);
    assert_eq!(worker.answer(turn(5, &[temp.path()], None)).0.cached_tokens, 0);
}
