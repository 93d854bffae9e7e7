use super::*;
use serde_json::{Value, json};

fn choice() -> ModelChoice {
    ModelChoice { model: "m".into(), adapters: vec!["a".into()], dtype: Dtype::Bf16, device: "cuda:1".into() }
}

fn ask() -> Ask {
    let message = Message { role: Role::User, content: "<image>你好\n".into(), images: vec!["p.png".into()] };
    let conversation = Conversation { system: Some("Be brief.".into()), messages: vec![message] };
    let options = AskOptions { seed: Some(u64::MAX), image_max_pixels: Some(7), ..AskOptions::default() };
    Ask { id: u64::MAX, model: choice(), conversation, options }
}

fn one_line<T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(x: &T) -> Value {
    let line = serde_json::to_string(x).unwrap();
    assert!(!line.contains('\n'), "{line}");
    assert_eq!(&serde_json::from_str::<T>(&line).unwrap(), x);
    serde_json::from_str(&line).unwrap()
}

#[test]
fn every_request_is_one_line_and_comes_back_the_same() {
    let ask = one_line(&Request::Ask(ask()));
    assert_eq!((&ask["do"], &ask["conversation"]["messages"][0]["role"]), (&json!("ask"), &json!("user")));
    assert_eq!((&ask["model"]["dtype"], &ask["id"]), (&json!("bf16"), &json!(u64::MAX)));
    assert_eq!(one_line(&Request::Stop { id: 3 }), json!({"do": "stop", "id": 3}));
    assert_eq!(one_line(&Request::Load { model: choice() })["do"], "load");
    assert_eq!(one_line(&Request::Unload), json!({"do": "unload"}));
    assert_eq!(one_line(&Request::Quit), json!({"do": "quit"}));
}

#[test]
fn every_reply_is_one_line_and_comes_back_the_same() {
    one_line(&Reply::Ready { version: "1".into(), devices: vec!["cpu".into()] });
    for what in [Loading::Base, Loading::Adapter, Loading::Merge] {
        one_line(&Reply::Loading { model: choice(), what });
    }
    let (device, dtype) = ("cpu".to_owned(), Dtype::F32);
    one_line(&Reply::Loaded { model: choice(), seconds: 0.1, device, dtype, memory_bytes: 5 });
    one_line(&Reply::Started { id: 1, prompt_tokens: 20, image_tokens: 16 });
    one_line(&Reply::Text { id: 1, text: "线\u{2028}\r\n\u{1b}[31m".into() });
    let done = Done { text: "x".into(), tokens: 2, cached_tokens: 9, ..Done::unsaid(1, 20, Finish::Cancelled) };
    assert_eq!(one_line(&Reply::Done(done))["finish"], "cancelled");
    one_line(&Reply::Failed { id: None, error: "e".into(), hint: Some("h".into()), code: Exit::Data });
    assert_eq!(one_line(&Reply::Unloaded), json!({"event": "unloaded"}));
}

#[test]
fn what_a_request_leaves_out_has_its_default() {
    let line =
        br#"{"do":"ask","id":1,"model":{"model":"m"},"conversation":{"messages":[{"role":"user","content":"x"}]},
        "options":{"temperature":0.5}}"#;
    let Request::Ask(ask) = Request::parse(line).unwrap() else { panic!() };
    assert_eq!((ask.model.dtype, ask.model.device.as_str()), (Dtype::Auto, "auto"));
    assert_eq!(ask.options, AskOptions { temperature: Some(0.5), ..AskOptions::default() });
    assert_eq!(serde_json::to_value(&ask.options).unwrap(), json!({"temperature": 0.5, "number_pictures": false}));
}

#[test]
fn a_line_that_is_no_request_is_answered_with_its_id() {
    let failed = |line: &str| match *Request::parse(line.as_bytes()).unwrap_err() {
        Reply::Failed { id, error, .. } => (id, error),
        other => panic!("{other:?}"),
    };
    assert_eq!(failed("no json").0, None);
    let (id, error) = failed(r#"{"do":"sing","id":4}"#);
    assert!(id == Some(4) && error.contains("sing"), "{error}");
    assert!(failed(r#"{"do":"ask","id":5}"#).1.contains("model"));
}

#[test]
fn options_out_of_range_and_a_device_that_is_none_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = ModelChoice { model: folder.path().into(), adapters: vec![], dtype: Dtype::Auto, device: auto() };
    let refused = |change: fn(&mut AskOptions)| {
        let mut options = AskOptions::default();
        change(&mut options);
        model.resolve(&options).unwrap_err().to_string()
    };
    assert!(refused(|o| o.max_new_tokens = Some(0)).starts_with("max_new_tokens is 0; it needs"));
    assert!(refused(|o| o.temperature = Some(-1.0)).contains("temperature"));
    assert!(refused(|o| o.top_p = Some(1.5)).contains("top_p"));
    assert!(refused(|o| o.repetition_penalty = Some(0.0)).contains("repetition_penalty"));
    assert!(refused(|o| o.image_max_pixels = Some(100)).contains("must not be larger"));
    let device = ModelChoice { device: "tpu".into(), ..model.clone() };
    assert!(device.resolve(&AskOptions::default()).unwrap_err().to_string().contains("tpu"));
    let gone = ModelChoice { adapters: vec![folder.path().join("gone")], ..model.clone() };
    assert!(gone.resolve(&AskOptions::default()).unwrap_err().to_string().contains("no such adapter folder"));
}

#[test]
fn pixel_limits_are_those_of_the_adapter_s_own_run_unless_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let profile = "stage: sft\nmodel_name_or_path: m\ndataset: d\ntemplate: qwen2_vl\noutput_dir: o\n\
                   image_max_pixels: 4096\nimage_min_pixels: 2048\ndevice: cpu\nnum_threads: 1\n";
    std::fs::write(folder.path().join("profile.yaml"), profile).unwrap();
    let adapters = vec![folder.path().to_owned()];
    let model = ModelChoice { model: folder.path().into(), adapters, dtype: Dtype::Auto, device: auto() };
    let resolved = model.resolve(&AskOptions::default()).unwrap();
    assert_eq!((resolved.budget.min, resolved.budget.max), (2048, 4096));
    assert_eq!((resolved.device, resolved.num_threads), (Device::Auto, None));
    let given = AskOptions { image_max_pixels: Some(9999), ..AskOptions::default() };
    assert_eq!(model.resolve(&given).unwrap().budget.max, 9999);
    let base = ModelChoice { adapters: vec![], ..model };
    assert_eq!(base.resolve(&AskOptions::default()).unwrap().budget, crate::vision::PixelBudget::default());
}

#[test]
fn pictures_keep_the_order_of_their_marks_over_several_turns() {
    let message = |role, content: &str, images: &[&str]| Message {
        role,
        content: content.into(),
        images: images.iter().map(PathBuf::from).collect(),
    };
    let conversation = Conversation {
        system: None,
        messages: vec![
            message(Role::User, "Left <image>?", &["1", "2"]),
            message(Role::Assistant, "Yes.", &[]),
            message(Role::User, "And?", &["3"]),
        ],
    };
    let (text, images) = conversation.for_template();
    assert_eq!(text.messages[0].content, "<image>Left <image>?");
    assert_eq!(text.messages[2].content, "<image>And?");
    assert_eq!(images.iter().map(ImageRef::describe).collect::<Vec<_>>(), ["1", "2", "3"]);
}
