//! The real engine, and OpenAI's own Python client.

use crate::rig::{PICTURE, ROOT, Rig, about, beside, command, data_url};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_real_engine_answers_as_chat_does() {
    let program = beside("lightbox-engine");
    if !program.exists() {
        println!("skipped: {} is not built; `make build` does it", program.display());
        return;
    }
    let mut server = command();
    server.env("LIGHTBOX_ENGINE", &program).args(["--num-threads", "1"]);
    let rig = Rig::start(server);
    let picture = data_url(&std::fs::read(Path::new(ROOT).join(PICTURE)).unwrap());
    let mut asked = about(&[&picture], "Describe the image.");
    asked["temperature"] = json!(0);
    asked["max_tokens"] = json!(24);
    let answer = rig.chat(&asked).json();
    let chat = Command::new(&program)
        .args(["chat", "--model", "assets/demo-model", "--device", "cpu", "--dtype", "f32", "--greedy", "--json"])
        .args(["--max-new-tokens", "24", "--image", PICTURE, "--prompt", "Describe the image."])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let chat: Value = serde_json::from_slice(&chat.stdout).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], chat["text"]);
    assert_eq!(answer["usage"]["prompt_tokens"], chat["prompt_tokens"]);
    assert_eq!(answer["usage"]["completion_tokens"].as_u64(), chat["token_ids"].as_array().map(|ids| ids.len() as u64));
    asked["stream"] = json!(true);
    let events = rig.chat(&asked).events();
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let said: String =
        chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect();
    assert_eq!(chat["text"], said.as_str());
    // The demo's model reads 2,048 tokens.
    let mut long = asked;
    (long["stream"], long["messages"][0]["content"][1]["text"]) = (json!(false), json!("word ".repeat(4000)));
    let refused = rig.chat(&long);
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("messages")), "{}", refused.error());
    assert!(refused.error().contains("at most 2048"), "{}", refused.error());
}

/// Prints `ok` at the end, or fails.
const CLIENT: &str = r#"
import base64, sys
import openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="secret-key", max_retries=0)
assert [m.id for m in client.models.list()] == ["demo-model"]
picture = "data:image/png;base64," + base64.b64encode(open(sys.argv[2], "rb").read()).decode()
messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "What is 这个?"},
    ]},
]
wanted = "demo-model with 1 picture answers: What is 这个?"
args = dict(model="demo-model", messages=messages, temperature=0, max_completion_tokens=50)
whole = client.chat.completions.create(**args, extra_body={"top_k": 5, "repetition_penalty": 1.1})
assert whole.choices[0].message.content.replace("  ", " ") == wanted, whole
assert whole.choices[0].finish_reason == "stop" and whole.usage.completion_tokens == 8, whole
chunks = list(client.chat.completions.create(**args, stream=True, stream_options={"include_usage": True}))
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert text.replace("  ", " ") == wanted, text
assert chunks[-1].usage.completion_tokens == 8
def raises(kind, **change):
    try:
        client.chat.completions.create(**{**args, **change})
    except kind as e:
        return e
    raise AssertionError(f"no {kind}")
assert "demo-model" in raises(openai.NotFoundError, model="other").message
assert raises(openai.BadRequestError, n=2).param == "n"
wrong = openai.OpenAI(base_url=sys.argv[1], api_key="wrong", max_retries=0)
try:
    wrong.models.list()
    raise AssertionError("no key was asked for")
except openai.AuthenticationError:
    pass
print("ok")
"#;

fn reference_python() -> Option<PathBuf> {
    let named = std::env::var_os("LIGHTBOX_REFERENCE_PYTHON").map(PathBuf::from);
    let own = Path::new(ROOT).join(".reference/bin/python");
    named.or(Some(own)).filter(|p| p.exists())
}

#[test]
fn openai_s_own_client_gets_along() {
    let Some(python) = reference_python() else {
        println!("skipped: no reference environment; `make reference` makes one");
        return;
    };
    let has_client = Command::new(&python).args(["-c", "import openai"]).output().unwrap();
    if !has_client.status.success() {
        println!("skipped: {} has no openai; `make reference` installs it", python.display());
        return;
    }
    let rig = Rig::with(&[], &[("LIGHTBOX_API_KEY", "secret-key")]);
    let mut client = Command::new(python);
    client.args(["-c", CLIENT, &format!("http://127.0.0.1:{}/v1", rig.port)]).arg(Path::new(ROOT).join(PICTURE));
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        client.env_remove(name);
    }
    let output = client.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim() == "ok", "{out}{err}");
}
