//! Every sentence of `lightbox demo`, in English and in Chinese. `{}` is filled in order by [`fill`].

use std::fmt::Display;

/// One table of all sentences; [`EN`] and [`ZH`] are the two of them.
pub struct Text {
    pub title: &'static str,
    pub not_medical: &'static str,
    /// step number, number of steps, name of the step
    pub step: &'static str,
    pub steps: [&'static str; 7],
    /// seconds
    pub done: &'static str,
    pub reused: &'static str,
    pub resumed: &'static str,
    pub changed: &'static str,
    /// folder
    pub fresh: &'static str,
    /// folder
    pub model_is: &'static str,
    /// training rows, held-out rows in English, in Chinese, folder
    pub phantoms_are: &'static str,
    /// rows, text-only rows, file
    pub data_is: &'static str,
    /// file name of the profile
    pub profile_is: &'static str,
    pub truth: &'static str,
    pub before: &'static str,
    pub after: &'static str,
    /// held-out phantoms in English, in Chinese
    pub table_head: &'static str,
    pub table_columns: &'static str,
    /// in the order of `Fact::ALL`, then "every fact of a phantom", then "all facts together"
    pub rows: [&'static str; 7],
    /// first loss, last loss
    pub loss: &'static str,
    /// seconds of this run, seconds of training
    pub time: &'static str,
    pub files: &'static str,
    /// what each line below "files" names: base model, adapter and loss curve, answers, profile
    pub file_kinds: [&'static str; 4],
    pub next: &'static str,
    pub next_ask: &'static str,
    pub next_change: &'static str,
}

/// Puts `values` in the places of `{}`.
pub fn fill(template: &str, values: &[&dyn Display]) -> String {
    let mut pieces = template.split("{}");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for (i, piece) in pieces.enumerate() {
        if let Some(value) = values.get(i) {
            text += &value.to_string();
        }
        text += piece;
    }
    text
}

impl Text {
    /// By POSIX's order: LC_ALL, LC_MESSAGES, LANG; the first that is set decides.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> &'static Self {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(var).find(|value| !value.is_empty());
        if locale.is_some_and(|l| l.starts_with("zh")) { &ZH } else { &EN }
    }
}

pub static EN: Text = Text {
    title: "Lightbox demo: a tiny Qwen2-VL learns to read head phantoms.",
    not_medical: "Pictures and texts are simulated. Nothing here is medical advice.",
    step: "[{}/{}] {}",
    steps: [
        "Unpack the base model",
        "Draw head phantoms as parquet files, laid out like MedTrinity-25M",
        "Convert them to training conversations",
        "Ask the base model about phantoms it has never seen",
        "Fine-tune with LoRA",
        "Ask the tuned model the same",
        "Compare",
    ],
    done: "      done in {} s",
    reused: "      kept from an earlier run: nothing it depends on has changed",
    resumed: "      goes on where an earlier run was interrupted",
    changed: "      something it depends on has changed: made anew",
    fresh: "Removed what an earlier demo had made in {}.",
    model_is: "      {} (1.6 million parameters; it knows coloured shapes, not phantoms)",
    phantoms_are: "      {} to train on, {} + {} held out (English + Chinese question): {}",
    data_is: "      {} picture conversations and {} text-only ones: {}",
    profile_is: "      settings: {} (change it and run the demo again: only training and what follows is repeated)",
    truth: "truth ",
    before: "before",
    after: "after ",
    table_head: "   English question ({})   Chinese question ({})",
    table_columns: "      before      after     before      after   facts told right on held-out phantoms",
    rows: [
        "lesion present or absent",
        "side",
        "upper, middle or lower part",
        "size",
        "density",
        "every fact of a phantom",
        "all facts together",
    ],
    loss: "Loss: {} at the first step, {} at the last.",
    time: "Time: {} s in this run, {} s of training.",
    files: "Files:",
    file_kinds: ["base model", "adapter (PEFT format), log, loss curve", "all answers", "training settings"],
    next: "Try next:",
    next_ask: "ask the tuned model (leave out --adapter to ask the base model)",
    next_change: "repeat the training with your own settings",
};

pub static ZH: Text = Text {
    title: "Lightbox 演示：让一个很小的 Qwen2-VL 学会看头部体模。",
    not_medical: "图像和文字均为模拟，不构成任何医疗建议。",
    step: "[{}/{}] {}",
    steps: [
        "解包基础模型",
        "绘制头部体模，按 MedTrinity-25M 的格式存为 parquet 文件",
        "转换为训练对话",
        "向基础模型提问（它从未见过的体模）",
        "LoRA 微调",
        "向微调后的模型提同样的问题",
        "比较",
    ],
    done: "      用时 {} 秒",
    reused: "      沿用上次的结果：所依赖的内容没有变化",
    resumed: "      从上次中断处继续",
    changed: "      所依赖的内容有变化：重新生成",
    fresh: "已删除以前的演示在 {} 中生成的内容。",
    model_is: "      {}（164 万参数；只认识彩色图形，没见过体模）",
    phantoms_are: "      训练 {} 张，保留测试 {} + {} 张（英文 + 中文提问）：{}",
    data_is: "      {} 条图像对话，{} 条纯文本对话：{}",
    profile_is: "      训练设置：{}（修改后重新运行演示，只重复训练及其后的步骤）",
    truth: "真实  ",
    before: "微调前",
    after: "微调后",
    table_head: "      英文提问（{} 张）        中文提问（{} 张）",
    table_columns: "      微调前     微调后     微调前     微调后   保留体模上答对的事实",
    rows: ["有无病灶", "左右", "上、中、下部", "大小", "密度", "一张体模的全部事实", "所有事实合计"],
    loss: "损失：第一步 {}，最后 {}。",
    time: "用时：本次 {} 秒，其中训练 {} 秒。",
    files: "文件：",
    file_kinds: ["基础模型", "适配器（PEFT 格式）、日志、损失曲线", "全部回答", "训练设置"],
    next: "接下来可以试试：",
    next_ask: "向微调后的模型提问（去掉 --adapter 则向基础模型提问）",
    next_change: "用自己的设置重新训练",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_puts_values_in_order() {
        assert_eq!(fill("[{}/{}] {}", &[&1, &7, &"x {} y"]), "[1/7] x {} y");
        assert_eq!(fill("plain", &[]), "plain");
    }

    #[test]
    fn both_languages_have_the_same_places_to_fill() {
        let places = |t: &Text| {
            [t.step, t.done, t.fresh, t.model_is, t.phantoms_are, t.data_is, t.profile_is, t.table_head, t.loss, t.time]
                .map(|s| s.matches("{}").count())
        };
        assert_eq!(places(&EN), places(&ZH));
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let with = |vars: &'static [(&str, &str)]| {
            let text = Text::from_env(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()));
            std::ptr::eq(text, &ZH)
        };
        assert!(with(&[("LANG", "zh_CN.UTF-8")]));
        assert!(!with(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]));
        assert!(with(&[("LC_ALL", ""), ("LC_MESSAGES", "zh_TW")]));
        assert!(!with(&[]));
    }
}
