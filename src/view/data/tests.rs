use crate::app::data::tests as states;
use crate::view::testing::{screen, snapshots};

#[test]
fn nothing_found() {
    snapshots("data-empty", &mut states::empty());
}

#[test]
fn a_set_with_a_picture_and_a_conversation() {
    snapshots("data-open", &mut states::opened());
}

#[test]
fn a_set_of_25_million_rows_that_are_not_there_yet() {
    snapshots("data-millions", &mut states::millions());
}

#[test]
fn a_file_that_cannot_be_opened() {
    snapshots("data-failed", &mut states::failed());
}

#[test]
fn what_the_model_sees() {
    snapshots("data-seen", &mut states::seen());
}

#[test]
fn tokens_one_by_one() {
    snapshots("data-tokens", &mut states::tokens());
}

#[test]
fn a_search_at_work() {
    snapshots("data-search", &mut states::searching());
}

#[test]
fn problems_of_a_check() {
    snapshots("data-problems", &mut states::problems());
}

#[test]
fn statistics() {
    snapshots("data-stats", &mut states::statistics());
}

#[test]
fn hostile_text_is_shown_and_never_obeyed() {
    let mut app = states::hostile();
    let text = screen(&mut app, 120, 40);
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
    snapshots("data-hostile", &mut app);
}

#[test]
fn every_row_of_the_list_keeps_its_number_at_any_width() {
    let mut app = states::opened();
    for width in [60, 80, 100, 140, 200] {
        let text = screen(&mut app, width, 30);
        assert!((0..5).all(|row| text.contains(&format!("│  {row} "))), "{width}: {text}");
    }
}
