//! What is asked, read from bodies; refusals are told from the outside (tests/serve/answers.rs).

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn parse(fields: Value) -> Result<ChatRequest, ApiError> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ChatRequest::parse(body.to_string().as_bytes())
}

#[test]
fn parts_keep_their_order_and_texts_are_joined() {
    let picture = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let content = json!([text("First "), picture("x"), text(", then "), picture("y"), text("?")]);
    let request = parse(json!({"messages": [
        {"role": "developer", "content": [text("Be "), text("brief.")]},
        {"role": "user", "content": content, "name": "me"},
    ]}))
    .unwrap();
    assert_eq!(request.system.as_deref(), Some("Be brief."));
    assert_eq!(request.messages[0].content, "First <image>, then <image>?");
    let params: Vec<(&str, &str)> = request.messages[0].pictures.iter().map(|p| (&*p.param, &*p.url)).collect();
    let at = |n: usize| format!("messages[1].content[{n}].image_url");
    assert_eq!(params, [(at(1).as_str(), "x"), (at(3).as_str(), "y")]);
}

#[test]
fn a_mark_cannot_be_smuggled_in_by_halves() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let picture = json!({"type": "image_url", "image_url": {"url": "x"}});
    for content in [json!([text("<ima"), text("ge>")]), json!([picture, text("<vid"), text("eo>")]), json!("<audio>")] {
        let error = parse(json!({"messages": [{"role": "user", "content": content}]})).unwrap_err();
        assert!(error.message.contains("media"), "{error:?}");
    }
}

#[test]
fn sampling_fields_have_the_names_of_openai_vllm_and_llamafactory() {
    let options = parse(json!({
        "max_tokens": 5, "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": -1, "min_p": 0.1,
        "repetition_penalty": 1.2, "do_sample": true, "seed": -1, "stop": ["a", "b"],
    }));
    let options = options.unwrap().options;
    let wanted = AskOptions {
        max_new_tokens: Some(7),
        do_sample: Some(true),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(0),
        min_p: Some(0.1),
        repetition_penalty: Some(1.2),
        seed: Some(u64::MAX),
        stop: vec!["a".into(), "b".into()],
        ..AskOptions::default()
    };
    assert_eq!(options, wanted);
    assert_eq!(parse(json!({"temperature": null})).unwrap().options, AskOptions::default());
}

/// JSON of any shape, with the field names of requests in it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z<>]{0,8}".prop_map(Value::from),
        Just(json!("user")),
        Just(json!("image_url")),
    ];
    let key =
        prop::sample::select(vec!["role", "content", "type", "text", "image_url", "url", "model", "messages", "stop"]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_comes_is_a_request_or_an_error_with_a_field(messages in any_json(), stop in any_json()) {
        match parse(json!({"messages": messages, "stop": stop})) {
            Ok(request) => prop_assert!(request.messages.len() % 2 == 1),
            Err(error) => prop_assert!(error.status == 400 && error.param.is_some() && !error.message.is_empty()),
        }
    }
}
