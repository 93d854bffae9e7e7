//! A profile: what is accepted is written so that it reads back equal; what is refused says why.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::profile::{KEYS, Profile};

fuzz_target!(|input: &str| {
    lightbox_fuzz::bounded(input.as_bytes(), 0, || match Profile::parse::<&str>("p.yaml", input, &[]) {
        Ok(profile) => {
            let written = profile.to_yaml();
            let again: Profile = written.parse().unwrap_or_else(|e| panic!("{e}\n{written}"));
            for key in KEYS {
                assert_eq!((key.write)(&again), (key.write)(&profile), "{}\n{written}", key.name);
            }
        }
        Err(e) => assert!(!e.problems.is_empty() && e.to_string().lines().count() == e.problems.len(), "{e}"),
    });
});
