//! Every word of a report, in both languages, and the names of the measures.

use super::comparison::Row;
use crate::text::Lang;
use crate::texts;

texts! {
    TITLE = "Evaluation: {0}", "评估：{0}";
    ANSWERED = "{0} samples that every model answered.", "所有模型都作答的样本共 {0} 个。";
    LEFT_OUT = "{0} answers of {1} are to other samples and count nowhere.", "{1} 另有 {0} 条回答属于其他样本，不计入任何指标。";
    INTERVALS = "In brackets: 95 % of {0} bootstrap draws over the samples (seed {1}).", "括号内为 95 % 区间：对样本做 {0} 次自助抽样（种子 {1}）。";
    BETWEEN = "{0} ({1} to {2})", "{0}（{1} 至 {2}）";

    MEASURES = "Measures", "指标";
    MEASURE = "measure", "指标";
    EXACT_MATCH = "exact match, %", "完全匹配，%";
    EXACT_MATCH_STRICT = "exact match, strict, %", "完全匹配（严格），%";
    ACCURACY = "{0}: accuracy, %", "{0}：准确率，%";
    LOSS = "loss of the label, nats per token", "标签的损失，每词元奈特数";
    PERPLEXITY = "perplexity of the label", "标签的困惑度";

    DIFFERENCES = "Differences to {0}", "与 {0} 的差异";
    PAIRED = "Paired: the same samples in each draw.", "配对比较：每次抽样都用相同的样本。";
    COLOURED = "Coloured where the interval leaves out 0.", "区间不含 0 处着色。";
    SIGNED = "▲ better and ▼ worse where the interval leaves out 0.", "区间不含 0 处标出：▲ 更好，▼ 更差。";

    LABELS_WITHOUT = "{0} labels name no class of it and do not count.", "{0} 个标签未提到其中任何类别，不计入。";
    LABEL_DOWN = "label ↓ answer →", "标签 ↓ 回答 →";
    NO_CLASS = "none", "无";
    PRECISION = "precision", "精确率";
    RECALL = "recall", "召回率";
    F1 = "F1", "F1";
    UNMATCHED = "{0} answers name no class: samples {1}.", "{0} 条回答未提到任何类别：样本 {1}。";

    CHANGES = "Largest changes", "变化最大的样本";
    CHANGED_FROM = "From {0} to {1}, by the mean of BLEU-4 and ROUGE-L.", "从 {0} 到 {1}，按 BLEU-4 与 ROUGE-L 的平均值。";
    BETTER = "Better", "更好";
    WORSE = "Worse", "更差";
    CHANGED = "sample {0} ({1})", "样本 {0}（{1}）";
    NOTHING_CHANGED = "none", "无";

    SAMPLES = "Samples", "样本";
    SHOWN = "{0} of {1}.", "共 {1} 个，显示 {0} 个。";
    MARKED = "Marked", "标记";
    BOLD = "Bold", "粗体";
    MARKED_ARE = ": words of an answer that its label does not have there.", "：回答中标签在该处没有的词。";
    SAMPLE = "Sample {0}", "样本 {0}";
    PICTURE = "picture {0}", "图片 {0}";
    PICTURE_LOST = "({0}: {1})", "（{0}：{1}）";
    LABEL = "label", "标签";
    SCORES = "BLEU-4 {0}, ROUGE-L {1}", "BLEU-4 {0}，ROUGE-L {1}";
    EXACT = ", exact", "，完全匹配";
    LABEL_LOSS = ", loss of the label {0}", "，标签的损失 {0}";
}

/// A measure's name.
pub fn measure(row: &Row, lang: Lang) -> String {
    let words = match row.key.as_str() {
        "exact_match" => EXACT_MATCH,
        "exact_match_strict" => EXACT_MATCH_STRICT,
        "loss" => LOSS,
        "perplexity" => PERPLEXITY,
        key => {
            let group = key.strip_prefix("accuracy_");
            return group.map_or_else(|| row.title.clone(), |group| ACCURACY.fill(lang, &[&group]));
        }
    };
    words.get(lang).to_owned()
}

/// What stands between two sentences.
pub fn gap(lang: Lang) -> &'static str {
    match lang {
        Lang::En => " ",
        Lang::Zh => "",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_word_of_a_report_is_there_in_both_languages_with_the_same_places() {
        for (name, text) in super::ALL {
            assert_eq!(text.fault(), None, "{name}");
        }
    }
}
