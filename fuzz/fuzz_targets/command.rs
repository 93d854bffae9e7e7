//! A command in the drop-box: whatever can be read says the same when it is written and read again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::runs::commands::Envelope;

fuzz_target!(|input: &[u8]| {
    lightbox_fuzz::bounded(input, 0, || {
        if let Ok(envelope) = serde_json::from_slice::<Envelope>(input) {
            let written = serde_json::to_string(&envelope).expect("a command that was read can be written");
            assert_eq!(serde_json::from_str::<Envelope>(&written).expect("and read again"), envelope);
        }
    });
});
