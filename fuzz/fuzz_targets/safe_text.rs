//! Text of any origin: what is printed has no control character, and cleaning it again changes nothing.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::safe_text::{clean, clean_line};

fuzz_target!(|input: &str| {
    lightbox_fuzz::bounded(input.as_bytes(), 0, || {
        let cleaned = clean(input);
        assert!(cleaned.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')), "{cleaned:?}");
        assert_eq!(clean(&cleaned), cleaned);
        assert!(clean_line(input, 80).chars().all(|c| !c.is_control()));
    });
});
