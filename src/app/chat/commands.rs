//! What can be done on the Chat screen. While a question is being written, letters belong to it: then it is `alt` and the
//! letter.
use super::{Effect, Focus, Msg, find_models, options, pick_pictures, save, talk};
use crate::app::commands::{ALWAYS, Command};
use crate::app::{Action, App};
use crate::text::{T, chat as text};

fn busy(app: &App) -> bool {
    app.chat.is_busy()
}

fn said(app: &App) -> bool {
    app.chat.sides.iter().any(|side| !side.turns.is_empty())
}

pub static COMMANDS: &[Command] = &[
    Command {
        name: "chat-write",
        title: T("write", "输入"),
        doc: T("Writes a question; enter sends it, alt-enter begins a new line", "输入问题；回车发送，alt-回车换行"),
        keys: &["i", "enter"],
        hint: 0,
        enabled: |app| app.chat.focus != Focus::Composer,
        run: |app| {
            app.chat.focus = Focus::Composer;
            Vec::new()
        },
    },
    Command {
        name: "chat-attach",
        title: T("picture", "图片"),
        doc: T(
            "Adds pictures to the question, from a list with preview; pasted and dropped paths work, too",
            "为问题添加图片（带预览的列表）；也可粘贴或拖入路径",
        ),
        keys: &["alt-a", "a"],
        hint: 7,
        enabled: ALWAYS,
        run: pick_pictures,
    },
    Command {
        name: "chat-detach",
        title: T("drop pictures", "移除图片"),
        doc: T("Takes the pictures off the question again", "移除问题中的图片"),
        keys: &["alt-d"],
        hint: 0,
        enabled: |app| !app.chat.attached.is_empty(),
        run: |app| {
            app.chat.attached.clear();
            Vec::new()
        },
    },
    Command {
        name: "chat-model",
        title: T("model", "模型"),
        doc: T(
            "Chooses base model, adapter or checkpoint for the side that has the focus",
            "为当前一侧选择基础模型、适配器或检查点",
        ),
        keys: &["alt-m", "m"],
        hint: 7,
        enabled: ALWAYS,
        run: |app| find_models(app, Some(app.chat.side())),
    },
    Command {
        name: "chat-compare",
        title: T("compare", "比较"),
        doc: T("The same questions to two models, side by side", "把同样的问题交给两个模型，并排显示"),
        keys: &["alt-c", "c"],
        hint: 6,
        enabled: ALWAYS,
        run: talk::compare,
    },
    Command {
        name: "chat-stop",
        title: T("stop", "停止"),
        doc: T("Stops the answer at once", "立即停止回答"),
        keys: &["alt-x", "x", "esc"],
        hint: 8,
        enabled: busy,
        run: talk::stop,
    },
    Command {
        name: "chat-retry",
        title: T("again", "重试"),
        doc: T(
            "The last question once more; with another seed where tokens are drawn",
            "再问一次上一个问题；采样时使用新的随机种子",
        ),
        keys: &["alt-r", "r"],
        hint: 5,
        enabled: |app| said(app) && !busy(app),
        run: talk::retry,
    },
    Command {
        name: "chat-edit",
        title: T("edit", "修改"),
        doc: T("Takes the last question back to change it", "取回上一个问题进行修改"),
        keys: &["alt-e", "e"],
        hint: 4,
        enabled: |app| said(app) && !busy(app),
        run: talk::edit_last,
    },
    Command {
        name: "chat-options",
        title: T("options", "选项"),
        doc: T("Length, sampling, temperature, seed, picture size", "长度、采样、温度、随机种子、图片尺寸"),
        keys: &["alt-o", "o"],
        hint: 3,
        enabled: ALWAYS,
        run: options::open,
    },
    Command {
        name: "chat-system",
        title: T("system prompt", "系统提示词"),
        doc: T("What the model is told before everything else", "在一切之前告诉模型的话"),
        keys: &["alt-p", "p"],
        hint: 0,
        enabled: ALWAYS,
        run: |app| {
            let system = app.chat.system.clone().unwrap_or_default();
            app.ask(app.t(text::SYSTEM_TITLE), app.t(text::SYSTEM_LABEL), &system, |s| Action::Chat(Msg::System(s)))
        },
    },
    Command {
        name: "chat-new",
        title: T("new", "新对话"),
        doc: T("Begins a new conversation; undo brings the old one back", "开始新对话；可用撤销恢复旧对话"),
        keys: &["alt-n", "n"],
        hint: 3,
        enabled: said,
        run: talk::clear,
    },
    Command {
        name: "chat-undo",
        title: T("undo", "撤销"),
        doc: T("Brings back the conversation that was put away", "恢复被清除的对话"),
        keys: &["alt-u", "u"],
        hint: 0,
        enabled: |app| app.chat.put_away.is_some(),
        run: talk::undo,
    },
    Command {
        name: "chat-save",
        title: T("save", "保存"),
        doc: T("Saves the conversation as Markdown or JSON", "将对话保存为 Markdown 或 JSON"),
        keys: &["alt-w", "w"],
        hint: 2,
        enabled: said,
        run: save::choose,
    },
    Command {
        name: "chat-to-data",
        title: T("to data set", "加入数据集"),
        doc: T("Adds the conversation to a data set, as a row to train on", "把对话作为一条训练样本加入数据集"),
        keys: &["alt-t", "t"],
        hint: 2,
        enabled: said,
        run: |app| {
            app.ask(app.t(text::ADD_TITLE), app.t(text::ADD_LABEL), "my_chat", |name| Action::Chat(Msg::AddTo(name)))
        },
    },
    Command {
        name: "chat-copy",
        title: T("copy answer", "复制回答"),
        doc: T("Copies the last answer to your own machine's clipboard", "把最后的回答复制到您本机的剪贴板"),
        keys: &["alt-y", "y"],
        hint: 0,
        enabled: said,
        run: |app| {
            let side = &app.chat.sides[app.chat.side()];
            let answer = side.turns.last().map(|turn| turn.said().to_owned()).unwrap_or_default();
            app.copy(answer)
        },
    },
    Command {
        name: "chat-unload",
        title: T("unload", "卸载"),
        doc: T("Ends the worker and frees the memory that its model takes", "结束工作进程，释放模型占用的内存"),
        keys: &["U"],
        hint: 0,
        enabled: |app| !matches!(app.chat.worker, super::Worker::Off),
        run: |app| {
            let mut effects = talk::stop(app);
            (app.chat.worker, app.chat.loaded, app.chat.loading) = (super::Worker::Off, None, None);
            effects.push(crate::app::Effect::Chat(Effect::End));
            effects
        },
    },
];
