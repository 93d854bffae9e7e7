//! Event and metric logs: each complete line is a record or is counted as damaged; none is lost.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::runs::log::read;
use lightbox_core::runs::record::{Event, Metric};

fuzz_target!(|input: &[u8]| {
    let path = lightbox_fuzz::file("events.jsonl", input);
    let lines = input.iter().filter(|&&b| b == b'\n').count();
    // A line of a few characters becomes a record of a few hundred bytes.
    lightbox_fuzz::bounded(input, 1000 * lines, || {
        let events = read::<Event>(&path).expect("a readable file");
        assert!(events.lines.len() + events.damaged <= lines);
        let metrics = read::<Metric>(&path).expect("a readable file");
        assert!(metrics.lines.len() + metrics.damaged <= lines);
    });
});
