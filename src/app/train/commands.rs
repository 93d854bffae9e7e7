//! The commands of the Train screen.

use super::form::Row;
use super::{Pane, edit, estimate, figures, files, pane, preview, start};
use crate::app::commands::Command;
use crate::app::{App, Screen};
use crate::text::T;
use lightbox_core::profile::Kind;

/// The form has the keys, not the YAML pane.
fn in_form(app: &App) -> bool {
    app.train.yaml.is_none()
}

fn on_key(app: &App) -> bool {
    in_form(app) && app.train.key().is_some()
}

fn is_set(app: &App) -> bool {
    in_form(app) && app.train.row().is_some_and(|row| app.train.draft.entry(row.name()).is_some())
}

fn idle(app: &App) -> bool {
    in_form(app) && app.train.starting.is_none()
}

pub static COMMANDS: &[Command] = &[
    Command {
        name: "train-edit",
        title: T("edit", "编辑"),
        doc: T(
            "Changes the value: types, chooses or toggles, as suits the key",
            "修改当前值：按键的类型输入、选择或切换",
        ),
        keys: &["enter"],
        hint: 20,
        enabled: |app| in_form(app) && app.train.row().is_some(),
        run: edit::open,
    },
    Command {
        name: "train-toggle",
        title: T("toggle", "切换"),
        doc: T("The other of two values, or the next of several", "切换到另一个值或下一个值"),
        keys: &["space"],
        hint: 19,
        enabled: |app| {
            in_form(app) && app.train.key().is_some_and(|key| matches!(key.kind, Kind::Bool | Kind::Choice(_)))
        },
        run: |app| edit::next(app, true),
    },
    Command {
        name: "train-more",
        title: T("next value", "下一个值"),
        doc: T("A larger number, the next choice", "更大的数值或下一个选项"),
        keys: &["+", "=", "right"],
        hint: 0,
        enabled: |app| in_form(app) && edit::can_step(app),
        run: |app| edit::next(app, true),
    },
    Command {
        name: "train-less",
        title: T("previous value", "上一个值"),
        doc: T("A smaller number, the choice before", "更小的数值或上一个选项"),
        keys: &["-", "left"],
        hint: 0,
        enabled: |app| in_form(app) && edit::can_step(app),
        run: |app| edit::next(app, false),
    },
    Command {
        name: "train-type",
        title: T("type the value", "直接输入"),
        doc: T("Types the value, whatever its kind", "以文本方式输入值"),
        keys: &["i"],
        hint: 0,
        enabled: on_key,
        run: edit::type_in,
    },
    Command {
        name: "train-pick",
        title: T("pick", "挑选"),
        doc: T("Picks data sets from dataset_info.json, or a folder", "从 dataset_info.json 挑选数据集，或挑选文件夹"),
        keys: &["p"],
        hint: 18,
        enabled: |app| in_form(app) && app.train.key().is_some_and(edit::can_pick),
        run: edit::pick,
    },
    Command {
        name: "train-reset",
        title: T("to default", "恢复默认"),
        doc: T("Takes the key out of the profile: its default holds again", "从配置中删除该键，恢复默认值"),
        keys: &["del", "x"],
        hint: 0,
        enabled: is_set,
        run: edit::reset,
    },
    Command {
        name: "train-undo",
        title: T("undo", "撤销"),
        doc: T("Takes back the last change", "撤销上一次更改"),
        keys: &["u"],
        hint: 11,
        enabled: |app| in_form(app) && app.train.draft.can_undo(),
        run: |app| edit::undo(app, true),
    },
    Command {
        name: "train-redo",
        title: T("redo", "重做"),
        doc: T("Makes the change again that was taken back", "重做被撤销的更改"),
        keys: &["U", "ctrl-r"],
        hint: 0,
        enabled: |app| in_form(app) && app.train.draft.can_redo(),
        run: |app| edit::undo(app, false),
    },
    Command {
        name: "train-search",
        title: T("search", "搜索"),
        doc: T(
            "Searches all keys by name, text and LLaMA Board's labels, in both languages",
            "按名称、说明和 LLaMA Board 标签搜索所有键，中英文均可",
        ),
        keys: &["/"],
        hint: 17,
        enabled: in_form,
        run: |app| {
            (app.train.searching, app.train.pane, app.train.field) = (true, Pane::Keys, None);
            app.train.count();
            Vec::new()
        },
    },
    Command {
        name: "train-start",
        title: T("start", "开始训练"),
        doc: T(
            "Checks the profile, says what will happen, and starts the run",
            "检查配置、说明将发生什么，然后启动训练",
        ),
        keys: &["s"],
        hint: 16,
        enabled: idle,
        run: |app| start::begin(app, start::Way::Now),
    },
    Command {
        name: "train-queue",
        title: T("queue", "排队"),
        doc: T("Puts the run at the end of the queue", "将训练加入队列末尾"),
        keys: &["Q"],
        hint: 7,
        enabled: idle,
        run: |app| start::begin(app, start::Way::Queue),
    },
    Command {
        name: "train-save",
        title: T("save", "保存"),
        doc: T("Writes the profile to its file", "将配置写入文件"),
        keys: &["ctrl-s"],
        hint: 15,
        enabled: |_| true,
        run: files::save,
    },
    Command {
        name: "train-save-as",
        title: T("save as", "另存为"),
        doc: T("Writes the profile to another file", "将配置写入另一个文件"),
        keys: &["w"],
        hint: 0,
        enabled: in_form,
        run: files::save_as,
    },
    Command {
        name: "train-open",
        title: T("open", "打开"),
        doc: T("Opens a profile: a file, a template, the settings of a run", "打开配置：文件、模板或某次训练的设置"),
        keys: &["o"],
        hint: 14,
        enabled: in_form,
        run: files::open,
    },
    Command {
        name: "train-yaml",
        title: T("YAML", "YAML"),
        doc: T("Edits the profile as text, checked as you type", "以文本方式编辑配置，边输入边检查"),
        keys: &["e"],
        hint: 13,
        enabled: in_form,
        run: |app| pane::open(app, None),
    },
    Command {
        name: "train-editor",
        title: T("in $EDITOR", "用 $EDITOR 编辑"),
        doc: T("Edits the profile in your own editor", "用您自己的编辑器编辑配置"),
        keys: &["E"],
        hint: 0,
        enabled: in_form,
        run: pane::edit_outside,
    },
    Command {
        name: "train-yaml-close",
        title: T("to the form", "回到表单"),
        doc: T("Leaves the text; what was typed stays", "离开文本编辑，保留所输入的内容"),
        keys: &["esc"],
        hint: 20,
        enabled: |app| app.train.yaml.is_some(),
        run: pane::close,
    },
    Command {
        name: "train-copy",
        title: T("copy command", "复制命令"),
        doc: T("Copies `lightbox train …` to your clipboard", "复制 `lightbox train …` 命令到剪贴板"),
        keys: &["y"],
        hint: 12,
        enabled: in_form,
        run: preview::copy_lightbox,
    },
    Command {
        name: "train-copy-llama-factory",
        title: T("copy LLaMA-Factory's", "复制 LLaMA-Factory 命令"),
        doc: T(
            "Copies `llamafactory-cli train …` as LLaMA Board previews it",
            "复制与 LLaMA Board 预览相同的 `llamafactory-cli train …` 命令",
        ),
        keys: &["Y"],
        hint: 0,
        enabled: |app| in_form(app) && app.train.draft.profile().is_some(),
        run: preview::copy_llama_factory,
    },
    Command {
        name: "train-preview",
        title: T("preview command", "预览命令"),
        doc: T("Shows the commands that do what the form says", "显示与表单等价的命令"),
        keys: &["v"],
        hint: 0,
        enabled: in_form,
        run: preview::page,
    },
    Command {
        name: "train-estimate",
        title: T("estimate", "估算"),
        doc: T("Memory, steps, time and disk, in full", "完整显示显存、步数、时间与磁盘估算"),
        keys: &["t"],
        hint: 10,
        enabled: in_form,
        run: figures::page,
    },
    Command {
        name: "train-estimate-again",
        title: T("estimate again", "重新估算"),
        doc: T("Reads model, data and machine anew", "重新读取模型、数据与机器信息"),
        keys: &["r"],
        hint: 0,
        enabled: in_form,
        run: estimate::again,
    },
    Command {
        name: "train-compare",
        title: T("compare with file", "与文件比较"),
        doc: T("What differs from the file: key, file, now", "与文件的差异：键、文件中的值、当前值"),
        keys: &["c"],
        hint: 0,
        enabled: in_form,
        run: preview::compare,
    },
    Command {
        name: "train-set-only",
        title: T("only what is set", "仅显示已设置"),
        doc: T(
            "Shows only keys that are set, from all groups; again shows all",
            "只显示所有分组中已设置的键；再按一次显示全部",
        ),
        keys: &["f"],
        hint: 6,
        enabled: in_form,
        run: |app| {
            let name = app.train.row().map(|row: Row| row.name().to_owned());
            app.train.only_set = !app.train.only_set;
            app.train.search = tui_input::Input::default();
            app.train.count();
            if let Some(name) = name.filter(|name| app.train.draft.entry(name).is_some()) {
                app.train.show(&name);
            }
            Vec::new()
        },
    },
    Command {
        name: "train-next-problem",
        title: T("next problem", "下一个问题"),
        doc: T("Goes to the next key with a problem", "跳到下一个有问题的键"),
        keys: &["n"],
        hint: 21,
        enabled: |app| in_form(app) && !app.train.draft.problems().is_empty(),
        run: |app| edit::next_problem(app, true),
    },
    Command {
        name: "train-previous-problem",
        title: T("previous problem", "上一个问题"),
        doc: T("Goes to the key with a problem before", "跳到上一个有问题的键"),
        keys: &["N"],
        hint: 0,
        enabled: |app| in_form(app) && !app.train.draft.problems().is_empty(),
        run: |app| edit::next_problem(app, false),
    },
    Command {
        name: "train-focus",
        title: T("groups / keys", "分组 / 键"),
        doc: T("Moves between the groups and their keys", "在分组与键之间移动"),
        keys: &["tab", "shift-tab"],
        hint: 0,
        enabled: in_form,
        run: |app| {
            app.train.pane = if app.train.pane == Pane::Keys { Pane::Groups } else { Pane::Keys };
            Vec::new()
        },
    },
    Command {
        name: "train-next-group",
        title: T("next group", "下一组"),
        doc: T("Shows the next group of keys", "显示下一组"),
        keys: &["]"],
        hint: 0,
        enabled: in_form,
        run: |app| edit::next_group(app, true),
    },
    Command {
        name: "train-previous-group",
        title: T("previous group", "上一组"),
        doc: T("Shows the group of keys before", "显示上一组"),
        keys: &["["],
        hint: 0,
        enabled: in_form,
        run: |app| edit::next_group(app, false),
    },
    Command {
        name: "train-dataset",
        title: T("look at the data", "查看数据"),
        doc: T(
            "Goes to the Data screen: samples with their pictures (LLaMA Board: preview dataset)",
            "转到数据界面查看样本与图片（LLaMA Board：预览数据集）",
        ),
        keys: &["d"],
        hint: 0,
        enabled: in_form,
        run: |app| app.go(Screen::Data),
    },
];
