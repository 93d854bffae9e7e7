//! A JSON data file in every layout: each row is a sample or a problem with its place.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::data::{Dataset, DatasetOptions};

const INFO: &str = r#"{
    "alpaca": {"file_name": "rows.json", "columns": {"prompt": "instruction", "query": "input", "response": "output",
        "history": "history", "system": "system", "tools": "tools", "images": "images"}},
    "sharegpt": {"file_name": "rows.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images",
        "system": "system", "tools": "tools"}, "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user",
        "assistant_tag": "assistant", "observation_tag": "observation", "function_tag": "function", "system_tag": "system"}},
    "openai": {"file_name": "rows.json", "formatting": "openai", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        "observation_tag": "tool", "function_tag": "function", "system_tag": "system"}}}"#;

fuzz_target!(|input: &[u8]| {
    let rows = lightbox_fuzz::file("rows.json", input);
    lightbox_fuzz::file("dataset_info.json", INFO.as_bytes());
    for name in ["alpaca", "sharegpt", "openai", &rows.to_string_lossy()] {
        lightbox_fuzz::bounded(input, 0, || {
            let options = DatasetOptions {
                dataset_dir: lightbox_fuzz::folder(),
                media_dir: None,
                names: vec![name.to_owned()],
                max_samples: None,
                seed: 0,
                mix: Default::default(),
            };
            let Ok(set) = Dataset::open(&options) else { return };
            for i in 0..set.len().min(200) {
                match set.get(i) {
                    Ok(sample) => assert!(sample.origin.contains("rows.json:")),
                    Err(problem) => assert!(problem.index == i && problem.origin.contains("rows.json:")),
                }
            }
        });
    }
});
