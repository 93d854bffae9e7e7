//! The words of the tour.
use crate::texts;

texts! {
    TITLE = "Tour {0}/{1}", "导览 {0}/{1}";
    KEYS = "F8 goes on · F7 ends the tour", "F8 继续 · F7 结束导览";
    MAKING = "Making the demo in ./{0} …", "正在 ./{0} 中生成演示内容……";
    MAKE_TASK = "Demo content", "演示内容";
    WELCOME = "Welcome. In about five minutes you can go the whole way here: look at pictures, train a small model on them, ask it, on this machine's CPU. F8 writes the demo (a tiny model and simulated head scans, about 15 MB) into ./lightbox-demo. F7 if you would rather look around alone; the tour stays in the palette (ctrl-p, tour).",
        "欢迎！只需约五分钟，即可在本机 CPU 上走完全程：查看图片、用它们训练一个小模型、向它提问。按 F8 会在 ./lightbox-demo 中写入演示内容（一个微型模型和模拟头部扫描，约 15 MB）。若想自行浏览请按 F7；导览随时可在命令面板（ctrl-p，输入 tour）中打开。";
    LOOK = "These are the samples: simulated scans, each with a question and the right answer. Go down the list with ↓ or j; the picture follows. Tab goes from pane to pane.",
        "这些是样本：模拟扫描图，每张都带有问题和正确答案。用 ↓ 或 j 向下浏览，图片随之变化。Tab 在各窗格间切换。";
    SEEN = "Press t: what the model sees of this sample. Coloured text is what it is trained to say; the picture has become a row of picture tokens.",
        "按 t：查看模型眼中的这个样本。彩色文字是训练它说出的内容；图片已变成一串图像 token。";
    FORM = "Press 2: the training profile as a form. Every key says what it does, what is allowed and where its value came from. Change what you like; u takes it back.",
        "按 2：以表单显示的训练配置。每一项都说明作用、取值范围和来源。可随意修改，u 撤销。";
    TRAIN = "Press s to start the training: 550 steps, two to five minutes on two CPU cores. The window that opens says what it will take.",
        "按 s 开始训练：550 步，在两个 CPU 核心上约需两到五分钟。弹出的窗口会说明所需资源。";
    WATCH = "This is your run. The curve is its loss; the grey one is raw, the bright one smoothed. + and - zoom, l makes the scale logarithmic.",
        "这是您的训练。曲线为损失：灰色为原始值，亮色为平滑值。+ 与 - 缩放，l 切换对数刻度。";
    LEAVE = "The run does not need you: quit with q, close the laptop, come back with `lightbox` – it goes on. When it has ended (or right now, with its newest checkpoint), press F8.",
        "训练无需您在场：按 q 退出、合上电脑，稍后用 `lightbox` 回来，它仍在继续。训练结束后（或现在就用最新的检查点）请按 F8。";
    ASK = "Press 4: ask the model. Write a question and press enter; the picture of the demo is attached already.",
        "按 4：向模型提问。输入问题后按回车；演示图片已附上。";
    COMPARE = "Turn on compare to put the same question to the base model and to the tuned one, side by side.",
        "打开比较，把同一个问题同时交给基础模型与微调后的模型，并排查看。";
    END = "That was all of it. With a GPU and Qwen2-VL-2B it is the same. Screen 5 gets models and merges adapters; ? lists the keys of every screen. F8 closes the tour.",
        "全部流程到此结束。换成 GPU 与 Qwen2-VL-2B 也完全一样。第 5 屏用于下载模型和合并适配器；? 列出每个界面的按键。按 F8 关闭导览。";
}
