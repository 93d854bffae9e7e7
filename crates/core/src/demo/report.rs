//! What is said about head phantoms: captions in MedTrinity's style, questions, report requests, in English and
//! Chinese; and [`Facts`], which reads the facts back out of what a model answered.

use super::phantom::{Lesion, random_truth};
use super::rng::Rng;
use super::words::{Density, Lang, Level, Side, Size};
use super::{Turn, turn};

/// Prompts that ask for a caption.
pub fn caption_prompts(lang: Lang) -> &'static [&'static str] {
    match lang {
        Lang::En => {
            &["What is the diagnosis in the image?", "Describe the image.", "Please describe this scan in detail."]
        }
        Lang::Zh => &["图片中的诊断结果是怎样？", "请描述这张图像。", "请详细描述这张影像。"],
    }
}

/// A caption in one of two wordings.
pub fn caption(truth: Option<Lesion>, lang: Lang, rng: &mut Rng) -> String {
    let wording = rng.below(2);
    match lang {
        Lang::En => {
            let head = [
                "The image is a simulated computed tomography (CT) slice of a head phantom, showing the skull, the brain tissue and the ventricles.",
                "This is a simulated non-contrast CT image of the head, with the skull, the brain tissue and both ventricles visible.",
            ][wording];
            let Some(Lesion { side, level, size, density }) = truth else {
                let none = [
                    "No focal lesion is visible, and the brain tissue has an even density.",
                    "There is no focal lesion; the brain tissue on both sides looks even.",
                ][wording];
                return format!("{head} {none}");
            };
            let cause = match density {
                Density::Increased => "a hemorrhage",
                Density::Decreased => "an infarct or edema",
            };
            format!(
                "{head} The region of interest, located on the {} side and in the {} part of the image, is a {} lesion of {} density, which may suggest {cause}.",
                side.en(),
                level.en(),
                size.en(),
                density.en()
            )
        }
        Lang::Zh => {
            let head = [
                "这是一张模拟的头部体模CT图像，可见颅骨、脑组织和脑室。",
                "该图像为模拟头部CT平扫，可见颅骨、脑组织及双侧脑室。",
            ][wording];
            let Some(Lesion { side, level, size, density }) = truth else {
                return format!(
                    "{head}{}",
                    ["未见局灶性病变，脑组织密度均匀。", "两侧脑组织均匀，未见局灶性病变。"][wording]
                );
            };
            let cause = match density {
                Density::Increased => "出血",
                Density::Decreased => "梗死或水肿",
            };
            format!(
                "{head}病灶位于图像{}{}，为{}的{}区，提示可能为{cause}。",
                side.zh(),
                level.zh(),
                size.zh(),
                density.zh()
            )
        }
    }
}

/// All follow-up questions about a phantom, with their answers.
pub fn questions(truth: Option<Lesion>, lang: Lang) -> Vec<Turn> {
    match (lang, truth) {
        (Lang::En, None) => vec![
            turn("Is there a lesion?", "No, there is no focal lesion in this image."),
            turn("Which side is the lesion on?", "There is no lesion in this image."),
        ],
        (Lang::En, Some(l)) => vec![
            turn("Is there a lesion?", format!("Yes, there is a lesion on the {} side.", l.side.en())),
            turn(
                "Which side is the lesion on?",
                format!("The lesion is on the {} side of the image, in the {} part.", l.side.en(), l.level.en()),
            ),
            turn("How large is the lesion?", format!("It is a {} lesion.", l.size.en())),
            turn("Is the density increased or decreased?", format!("The density of the lesion is {}.", l.density.en())),
        ],
        (Lang::Zh, None) => {
            vec![turn("有病灶吗？", "没有，这张图像中未见局灶性病变。"), turn("病灶在哪一侧？", "这张图像中没有病灶。")]
        }
        (Lang::Zh, Some(l)) => vec![
            turn("有病灶吗？", format!("有，病灶位于{}。", l.side.zh())),
            turn("病灶在哪一侧？", format!("病灶位于图像{}{}。", l.side.zh(), l.level.zh())),
            turn("病灶有多大？", format!("病灶为{}。", l.size.zh())),
            turn("密度增高还是减低？", format!("病灶{}。", l.density.zh())),
        ],
    }
}

/// A text-only conversation: given findings are written out as a report, then two questions about them. It teaches
/// the base model how reports are worded, not what a phantom looks like.
pub fn report_conversation(lang: Lang, rng: &mut Rng) -> Vec<Turn> {
    let truth = random_truth(rng);
    let request = match (lang, truth) {
        (Lang::En, None) => "Write a report: no lesion.".to_owned(),
        (Lang::En, Some(l)) => format!(
            "Write a report: {} side, {} part, {}, {} density.",
            l.side.en(),
            l.level.en(),
            l.size.en(),
            l.density.en()
        ),
        (Lang::Zh, None) => "写一份报告：没有病灶。".to_owned(),
        (Lang::Zh, Some(l)) => {
            format!("写一份报告：{}，{}，{}，{}。", l.side.zh(), l.level.zh(), l.size.zh(), l.density.zh())
        }
    };
    let mut follow_up = questions(truth, lang);
    rng.shuffle(&mut follow_up);
    follow_up.truncate(2);
    let mut turns = vec![turn(request, caption(truth, lang, rng))];
    turns.append(&mut follow_up);
    turns
}

/// The truth in a few words, for people.
pub fn findings(truth: Option<Lesion>, lang: Lang) -> String {
    match (lang, truth) {
        (Lang::En, None) => "no lesion".to_owned(),
        (Lang::En, Some(l)) => {
            format!("{} side, {} part, {}, {} density", l.side.en(), l.level.en(), l.size.en(), l.density.en())
        }
        (Lang::Zh, None) => "没有病灶".to_owned(),
        (Lang::Zh, Some(l)) => format!("{}，{}，{}，{}", l.side.zh(), l.level.zh(), l.size.zh(), l.density.zh()),
    }
}

/// What an answer claims about a phantom. `None`: it says nothing of it, or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    pub lesion: Option<bool>,
    pub side: Option<Side>,
    pub level: Option<Level>,
    pub size: Option<Size>,
    pub density: Option<Density>,
}

impl From<Option<Lesion>> for Facts {
    fn from(truth: Option<Lesion>) -> Self {
        match truth {
            None => Self { lesion: Some(false), ..Self::default() },
            Some(l) => Self {
                lesion: Some(true),
                side: Some(l.side),
                level: Some(l.level),
                size: Some(l.size),
                density: Some(l.density),
            },
        }
    }
}

impl Facts {
    /// Reads the claims of a generated answer, English or Chinese or both mixed.
    ///
    /// Strict on purpose: "left" and "right" together say neither, and a lesion that is denied and described counts
    /// as no statement at all. Text that never speaks of a lesion claims nothing, whatever other words it holds
    /// (the base model talks of rings "on the left side").
    pub fn parse(answer: &str) -> Self {
        let lower = answer.to_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
        let said = |en: &str, zh: &str| words.contains(&en) || lower.contains(zh);

        let described = Self {
            lesion: Some(true),
            side: only(Side::ALL, |s| said(s.en(), s.zh())),
            level: only(Level::ALL, |l| said(l.en(), l.zh())),
            // The Chinese for "small" and "large" is a single character, also part of other words: "大小" is size.
            size: only(Size::ALL, |s| match s {
                Size::Small => said("small", "为小"),
                Size::Medium => said("medium", "中等"),
                Size::Large => said("large", "为大"),
            }),
            density: only(Density::ALL, |d| said(d.en(), d.zh())),
        };
        let denied = ["no focal lesion", "no lesion", "未见局灶", "没有病灶"].iter().any(|s| lower.contains(s));
        if denied {
            return match (described.level, described.size, described.density) {
                (None, None, None) => Self { lesion: Some(false), ..Self::default() },
                _ => Self::default(),
            };
        }
        if lower.contains("lesion") || lower.contains("病灶") { described } else { Self::default() }
    }
}

/// The one value that was said, if exactly one was.
fn only<T: Copy>(all: &[T], said: impl Fn(T) -> bool) -> Option<T> {
    let mut found = all.iter().copied().filter(|&v| said(v));
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truths() -> impl Iterator<Item = Option<Lesion>> {
        std::iter::once(None).chain(Lesion::all().map(Some))
    }

    #[test]
    fn parsing_a_caption_gives_the_truth_it_was_written_from() {
        for truth in truths() {
            for &lang in Lang::ALL {
                for stream in 0..8 {
                    let text = caption(truth, lang, &mut Rng::new(1, "caption", stream));
                    assert_eq!(Facts::parse(&text), Facts::from(truth), "{text}");
                }
            }
        }
    }

    #[test]
    fn both_wordings_of_a_caption_occur() {
        for &lang in Lang::ALL {
            let texts: std::collections::HashSet<String> =
                (0..20).map(|i| caption(None, lang, &mut Rng::new(1, "caption", i))).collect();
            assert_eq!(texts.len(), 2);
        }
    }

    #[test]
    fn answers_to_short_questions_are_understood() {
        let lesion = Lesion { side: Side::Right, level: Level::Lower, size: Size::Large, density: Density::Decreased };
        for &lang in Lang::ALL {
            let answers: Vec<Facts> = questions(Some(lesion), lang).iter().map(|t| Facts::parse(&t.answer)).collect();
            assert_eq!(answers[0], Facts { lesion: Some(true), side: Some(Side::Right), ..Facts::default() });
            assert_eq!(
                answers[1],
                Facts { lesion: Some(true), side: Some(Side::Right), level: Some(Level::Lower), ..Facts::default() }
            );
            assert_eq!(answers[2], Facts { lesion: Some(true), size: Some(Size::Large), ..Facts::default() });
            assert_eq!(answers[3], Facts { lesion: Some(true), density: Some(Density::Decreased), ..Facts::default() });
            for no in questions(None, lang) {
                assert_eq!(
                    Facts::parse(&no.answer),
                    Facts { lesion: Some(false), ..Facts::default() },
                    "{}",
                    no.answer
                );
            }
        }
    }

    #[test]
    fn talk_of_other_things_claims_nothing() {
        for text in [
            "",
            "The ring is black.",
            "The image shows one shape: a large white ring on the left side, in the upper part.",
            "图中有一个图形：左侧上部有一个大的白色圆环。",
            "\u{1b}[31m\u{fffd}",
        ] {
            assert_eq!(Facts::parse(text), Facts::default(), "{text}");
        }
    }

    #[test]
    fn contradictions_count_as_no_statement() {
        let both = Facts::parse("There is a small lesion on the left side and on the right side.");
        assert_eq!((both.lesion, both.side, both.size), (Some(true), None, Some(Size::Small)));
        assert_eq!(Facts::parse("There is no lesion. It is a large lesion of increased density."), Facts::default());
        assert_eq!(Facts::parse("未见局灶性病变，病灶为小的密度增高区。"), Facts::default());
    }

    #[test]
    fn words_inside_other_words_are_not_facts() {
        assert_eq!(Facts::parse("A lesion, enlarged, leftover, uppermost.").side, None);
        assert_eq!(Facts::parse("A lesion, enlarged, leftover, uppermost.").size, None);
        assert_eq!(Facts::parse("LARGE LESION").size, Some(Size::Large));
        assert_eq!(Facts::parse("病灶为中等大小。").size, Some(Size::Medium));
        assert_eq!(Facts::parse("病灶大小不明。").size, None);
    }

    #[test]
    fn reports_state_exactly_what_was_asked_for() {
        for i in 0..200 {
            let lang = Lang::ALL[i % 2];
            let turns = report_conversation(lang, &mut Rng::new(9, "report", i as u64));
            assert_eq!(turns.len(), 3);
            let told = Facts::parse(&turns[0].answer);
            assert_eq!(
                told.lesion == Some(false),
                turns[0].question.contains(if lang == Lang::En { "no lesion" } else { "没有病灶" })
            );
            if let Some(side) = told.side {
                assert!(turns[0].question.contains(if lang == Lang::En { side.en() } else { side.zh() }), "{turns:?}");
            }
        }
    }
}
