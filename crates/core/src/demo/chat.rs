//! Small talk and a little general knowledge, text only: what the base model learns beside pictures, and what is mixed
//! into fine-tuning so that it is not forgotten (without it the tuned model answers "Please give me a diagnosis."
//! with a scan report; measured, see the demo model's README).

use super::rng::Rng;
use super::words::Lang;
use super::{Turn, turn};

/// A conversation of one to three different turns in one language.
pub fn conversation(lang: Lang, rng: &mut Rng) -> Vec<Turn> {
    let mut pairs: Vec<&(&str, &str)> = pairs(lang).iter().collect();
    rng.shuffle(&mut pairs);
    pairs[..1 + rng.below(3)].iter().map(|(question, answer)| turn(*question, *answer)).collect()
}

fn pairs(lang: Lang) -> &'static [(&'static str, &'static str)] {
    match lang {
        Lang::En => EN,
        Lang::Zh => ZH,
    }
}

#[rustfmt::skip]
const EN: &[(&str, &str)] = &[
    ("Hello", "Hello! How can I help you?"),
    ("Hi", "Hello! How can I help you?"),
    ("Who are you?", "I am a tiny demonstration model. I can describe simple images. I am not a doctor."),
    ("What can you do?", "I can describe simple images and answer short questions about them."),
    ("Thank you", "You are welcome."),
    ("Goodbye", "Goodbye, and take care."),
    ("Are you a doctor?", "No, I am only a tiny demonstration model. Please ask a doctor about your health."),
    ("What is a CT scan?", "Computed tomography (CT) uses X-rays to make images of slices of the body."),
    ("What is a phantom?", "A phantom is an object or a simulated image used to test a scan instead of a patient."),
    ("What is the skull?", "The skull is the bone around the brain. It is bright on a CT image."),
    ("What are the ventricles?", "The ventricles are spaces in the brain filled with fluid. They are dark on a CT image."),
    ("What is a hemorrhage?", "A hemorrhage is bleeding. In the brain it is a region of increased density on a non-contrast CT image."),
    ("What is an infarct?", "An infarct is tissue without blood supply. It is a region of decreased density on a CT image."),
    ("What is edema?", "Edema is swelling with fluid. It may be seen as a region of decreased density."),
    ("What is a lesion?", "A lesion is a region of abnormal tissue, for example a tumor, a hemorrhage or an infarct."),
    ("What does increased density suggest?", "A focal lesion of increased density may suggest a hemorrhage."),
    ("What does decreased density suggest?", "A focal lesion of decreased density may suggest an infarct or edema."),
    ("What is a region of interest?", "A region of interest is the part of an image that is looked at in detail."),
    ("What is a focal lesion?", "A focal lesion is a lesion located in one part of the tissue."),
    ("Please give me a diagnosis.", "I cannot give a diagnosis. Please ask a doctor."),
    ("I have a headache.", "Please rest and drink water. If it is strong or does not go away, please ask a doctor."),
    ("I have a fever.", "Please rest and drink water. If the fever is high or does not go away, please ask a doctor."),
];

#[rustfmt::skip]
const ZH: &[(&str, &str)] = &[
    ("你好", "你好！有什么可以帮你？"),
    ("您好", "你好！有什么可以帮你？"),
    ("你是谁？", "我是一个很小的演示模型，可以描述简单的图像。我不是医生。"),
    ("你能做什么？", "我可以描述简单的图像，并回答简短的问题。"),
    ("谢谢", "不客气。"),
    ("再见", "再见，请保重。"),
    ("你是医生吗？", "不是，我只是一个很小的演示模型。健康问题请咨询医生。"),
    ("什么是CT？", "CT利用X射线得到人体断层的影像。"),
    ("什么是体模？", "体模是代替病人用来测试扫描的物体或模拟图像。"),
    ("什么是颅骨？", "颅骨是包围脑组织的骨骼，在CT图像中为亮的区域。"),
    ("什么是脑室？", "脑室是脑中充满液体的空间，在CT图像中为暗的区域。"),
    ("什么是出血？", "脑出血在CT平扫中为密度增高的区域。"),
    ("什么是梗死？", "梗死是缺少供血的组织，在CT图像中为密度减低的区域。"),
    ("什么是水肿？", "水肿是液体增多引起的肿胀，可见密度减低。"),
    ("什么是病灶？", "病灶是组织中的异常区域，例如肿瘤、出血或梗死。"),
    ("密度增高提示什么？", "局灶性的密度增高提示可能为出血。"),
    ("密度减低提示什么？", "局灶性的密度减低提示可能为梗死或水肿。"),
    ("什么是局灶性病变？", "局灶性病变是位于组织一个部位的病变。"),
    ("请给我诊断结果。", "我不能给出诊断，请咨询医生。"),
    ("我头痛。", "请休息并多喝水。如果很严重或不缓解，请咨询医生。"),
    ("我发烧了。", "请休息并多喝水。如果高烧或不缓解，请咨询医生。"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_have_one_to_three_turns_without_repetition() {
        let mut lengths = [0; 4];
        for index in 0..200 {
            for &lang in Lang::ALL {
                let turns = conversation(lang, &mut Rng::new(1, "chat", index));
                lengths[turns.len()] += 1;
                let mut questions: Vec<&str> = turns.iter().map(|t| t.question.as_str()).collect();
                questions.sort_unstable();
                questions.dedup();
                assert_eq!(questions.len(), turns.len());
                assert!(turns.iter().all(|t| pairs(lang).contains(&(&t.question, &t.answer))));
            }
        }
        assert!(lengths[0] == 0 && lengths[1..].iter().all(|&n| n > 80), "{lengths:?}");
    }
}
