//! What is said about pictures of shapes ([`super::shapes`]): captions and questions, in English and Chinese.

use super::rng::Rng;
use super::shapes::Object;
use super::words::{Color, Column, Lang, Level};
use super::{Turn, turn};

/// Prompts that ask for a caption.
pub fn caption_prompts(lang: Lang) -> &'static [&'static str] {
    match lang {
        Lang::En => &["Describe the image.", "What is in the picture?", "What do you see?"],
        Lang::Zh => &["请描述这张图像。", "图片里有什么？", "你看到了什么？"],
    }
}

/// The whole picture in one sentence, shapes from left to right, then from top to bottom.
pub fn caption(objects: &[Object], lang: Lang) -> String {
    let mut objects: Vec<&Object> = objects.iter().collect();
    objects.sort_by_key(|o| (o.column, o.row));
    match lang {
        Lang::En if objects.is_empty() => "The image shows no shape.".to_owned(),
        Lang::Zh if objects.is_empty() => "图中没有图形。".to_owned(),
        Lang::En => {
            let part =
                |o: &&Object| format!("{} {} {} {}", article(o.size.en()), o.color.en(), o.shape.en(), place(o, lang));
            format!(
                "The image shows {}: {}.",
                count(objects.len(), lang),
                objects.iter().map(part).collect::<Vec<_>>().join("; ")
            )
        }
        Lang::Zh => {
            let part =
                |o: &&Object| format!("{}有一个{}的{}{}", place(o, lang), o.size.zh(), o.color.zh(), o.shape.zh());
            format!(
                "图中有{}图形：{}。",
                count(objects.len(), lang),
                objects.iter().map(part).collect::<Vec<_>>().join("；")
            )
        }
    }
}

/// All questions that have one right answer: about each shape that its colour or its form singles out, about the
/// number of shapes, and about a colour that is there and one that is not.
pub fn questions(objects: &[Object], lang: Lang, rng: &mut Rng) -> Vec<Turn> {
    let mut turns = Vec::new();
    for o in objects {
        if objects.iter().filter(|p| p.color == o.color).count() == 1 {
            turns.extend(about_color(o, lang));
        }
        if objects.iter().filter(|p| p.shape == o.shape).count() == 1 {
            turns.extend(about_shape(o, lang));
        }
    }
    turns.push(how_many(objects.len(), lang));
    let absent: Vec<Color> = Color::ALL.iter().copied().filter(|&c| objects.iter().all(|o| o.color != c)).collect();
    turns.push(absent_color(*rng.pick(&absent), lang));
    if !objects.is_empty() {
        turns.push(present_color(rng.pick(objects), lang));
    }
    turns
}

fn about_color(o: &Object, lang: Lang) -> [Turn; 3] {
    match lang {
        Lang::En => {
            let (color, shape) = (o.color.en(), o.shape.en());
            let side = if o.column == Column::Center {
                "It is in the center.".to_owned()
            } else {
                format!("It is on the {} side.", o.column.en())
            };
            [
                turn(format!("Where is the {color} shape?"), format!("The {color} {shape} is {}.", place(o, lang))),
                turn(format!("Which side is the {color} shape on?"), side),
                turn(format!("How large is the {color} shape?"), format!("It is {} {shape}.", article(o.size.en()))),
            ]
        }
        Lang::Zh => {
            let (color, shape) = (o.color.zh(), o.shape.zh());
            [
                turn(format!("{color}的图形在哪里？"), format!("{color}{shape}位于{}。", place(o, lang))),
                turn(format!("{color}的图形在哪一侧？"), format!("位于{}。", o.column.zh())),
                turn(format!("{color}的图形有多大？"), format!("为{}的{shape}。", o.size.zh())),
            ]
        }
    }
}

fn about_shape(o: &Object, lang: Lang) -> [Turn; 2] {
    match lang {
        Lang::En => {
            let (color, shape) = (o.color.en(), o.shape.en());
            [
                turn(format!("What color is the {shape}?"), format!("The {shape} is {color}.")),
                turn(format!("Where is the {shape}?"), format!("The {color} {shape} is {}.", place(o, lang))),
            ]
        }
        Lang::Zh => {
            let (color, shape) = (o.color.zh(), o.shape.zh());
            [
                turn(format!("{shape}是什么颜色？"), format!("{shape}是{color}。")),
                turn(format!("{shape}在哪里？"), format!("{color}{shape}位于{}。", place(o, lang))),
            ]
        }
    }
}

fn how_many(n: usize, lang: Lang) -> Turn {
    match (lang, n) {
        (Lang::En, 0) => turn("How many shapes are there?", "There is no shape in this image."),
        (Lang::En, _) => turn(
            "How many shapes are there?",
            format!("There {} {}.", if n == 1 { "is" } else { "are" }, count(n, lang)),
        ),
        (Lang::Zh, 0) => turn("有几个图形？", "这张图像中没有图形。"),
        (Lang::Zh, _) => turn("有几个图形？", format!("有{}图形。", count(n, lang))),
    }
}

fn absent_color(color: Color, lang: Lang) -> Turn {
    match lang {
        Lang::En => turn(
            format!("Is there {} shape?", article(color.en())),
            format!("No, there is no {} shape in this image.", color.en()),
        ),
        Lang::Zh => turn(format!("有{}的图形吗？", color.zh()), format!("没有，这张图像中没有{}的图形。", color.zh())),
    }
}

fn present_color(o: &Object, lang: Lang) -> Turn {
    match lang {
        Lang::En => turn(
            format!("Is there {} shape?", article(o.color.en())),
            format!("Yes, there is {} {}.", article(o.color.en()), o.shape.en()),
        ),
        Lang::Zh => turn(format!("有{}的图形吗？", o.color.zh()), format!("有，{}{}。", o.color.zh(), o.shape.zh())),
    }
}

fn article(word: &str) -> String {
    format!("{} {word}", if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

fn place(o: &Object, lang: Lang) -> String {
    match (lang, o.column, o.row) {
        (Lang::En, Column::Center, Level::Middle) => "in the center".to_owned(),
        (Lang::En, Column::Center, row) => format!("in the {} part, in the center", row.en()),
        (Lang::En, column, row) => format!("on the {} side, in the {} part", column.en(), row.en()),
        (Lang::Zh, column, row) => format!("{}{}", column.zh(), row.zh()),
    }
}

/// "one shape", "two shapes"; in Chinese without the noun.
fn count(n: usize, lang: Lang) -> String {
    const EN: [&str; 4] = ["no", "one", "two", "three"];
    const ZH: [&str; 4] = ["零", "一", "两", "三"];
    let digits = n.to_string();
    match lang {
        Lang::En => format!("{} shape{}", EN.get(n).copied().unwrap_or(&digits), if n == 1 { "" } else { "s" }),
        Lang::Zh => format!("{}个", ZH.get(n).copied().unwrap_or(&digits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::words::{Shape, Size};

    const RING: Object = Object {
        color: Color::White,
        shape: Shape::Ring,
        size: Size::Large,
        row: Level::Middle,
        column: Column::Right,
        x: 0.5,
        y: 0.0,
    };
    const BAR: Object = Object {
        color: Color::Orange,
        shape: Shape::Bar,
        size: Size::Small,
        row: Level::Upper,
        column: Column::Center,
        x: 0.0,
        y: -0.5,
    };

    #[test]
    fn captions_name_the_shapes_from_left_to_right() {
        assert_eq!(
            caption(&[RING, BAR], Lang::En),
            "The image shows two shapes: a small orange bar in the upper part, in the center; a large white ring on the right side, in the middle part."
        );
        assert_eq!(
            caption(&[RING, BAR], Lang::Zh),
            "图中有两个图形：中间上部有一个小的橙色长条；右侧中部有一个大的白色圆环。"
        );
        assert_eq!(caption(&[], Lang::En), "The image shows no shape.");
        assert_eq!(caption(&[], Lang::Zh), "图中没有图形。");
    }

    #[test]
    fn questions_about_an_ambiguous_colour_or_form_are_not_asked() {
        let white_bar = Object { color: Color::White, ..BAR };
        let texts: Vec<String> =
            questions(&[RING, white_bar], Lang::En, &mut Rng::new(1, "q", 0)).into_iter().map(|t| t.question).collect();
        assert!(!texts.iter().any(|t| t == "Where is the white shape?"), "{texts:?}");
        assert!(texts.iter().any(|t| t == "Where is the ring?"), "{texts:?}");
    }

    #[test]
    fn yes_and_no_questions_are_answered_by_what_is_there() {
        for index in 0..50 {
            for turn in questions(&[RING, BAR], Lang::En, &mut Rng::new(1, "q", index)) {
                if turn.question.starts_with("Is there") {
                    let there = turn.question.contains("white") || turn.question.contains("orange");
                    assert_eq!(turn.answer.starts_with("Yes"), there, "{turn:?}");
                }
            }
        }
        assert!(questions(&[], Lang::Zh, &mut Rng::new(1, "q", 0)).iter().all(|t| t.answer.contains("没有")));
    }

    #[test]
    fn an_goes_before_a_vowel() {
        assert_eq!(present_color(&BAR, Lang::En), turn("Is there an orange shape?", "Yes, there is an orange bar."));
    }
}
