//! A conversation to ids and labels. The first byte picks roles and options, the rest are the texts, parted by NUL.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::text::{Conversation, EncodeOptions, IGNORE_INDEX, Message, Role, Tokenizer, encode_conversation};
use std::path::Path;
use std::sync::LazyLock;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models/tiny-tied");
    Tokenizer::from_dir(&model).expect("the tiny model's tokenizer")
});

fuzz_target!(|input: &[u8]| {
    let Some((&choice, text)) = input.split_first() else { return };
    let tokenizer = &*TOKENIZER;
    let text = String::from_utf8_lossy(text);
    let mut texts = text.split('\0').map(str::to_owned);
    let (asks, answers) = match choice & 1 {
        0 => (Role::User, Role::Assistant),
        _ => (Role::Observation, Role::Function),
    };
    let conversation = Conversation {
        system: texts.next_if(choice & 2 != 0),
        tools: texts.next_if(choice & 4 != 0),
        messages: texts
            .enumerate()
            .map(|(i, content)| Message { role: if i % 2 == 0 { asks } else { answers }, content })
            .collect(),
    };
    let options = EncodeOptions {
        cutoff_len: if choice & 8 == 0 { 2048 } else { 40 },
        train_on_prompt: choice & 16 != 0,
        mask_history: choice & 32 != 0,
        ..EncodeOptions::default()
    };
    let grids = vec![[1, 4, 4]; conversation.messages.iter().map(|m| m.content.matches("<image>").count()).sum()];
    lightbox_fuzz::bounded(input, 0, || {
        if let Ok(encoded) = encode_conversation(tokenizer, &conversation, &grids, &options) {
            assert_eq!(encoded.input_ids.len(), encoded.labels.len());
            assert!(encoded.input_ids.len() <= options.cutoff_len);
            let taken = encoded.input_ids.iter().zip(&encoded.labels);
            assert!(taken.clone().all(|(id, label)| label == id || *label == IGNORE_INDEX));
        }
    });
});

trait NextIf {
    fn next_if(&mut self, wanted: bool) -> Option<String>;
}

impl<I: Iterator<Item = String>> NextIf for I {
    fn next_if(&mut self, wanted: bool) -> Option<String> {
        if wanted { self.next() } else { None }
    }
}
