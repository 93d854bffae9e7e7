//! What can be said of a demo picture: each fact as an enum with its English and Chinese word.
//!
//! The words are those the demo's tokenizer (assets/demo-model/tokenizer.json) was trained on; others would be cut
//! into many small tokens and the tiny model would be lost.

pub use crate::text::Lang;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($value:ident $en:literal $zh:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($value),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$value),+];

            pub fn en(self) -> &'static str {
                match self { $(Self::$value => $en),+ }
            }

            pub fn zh(self) -> &'static str {
                match self { $(Self::$value => $zh),+ }
            }
        }
    )+};
}

words! {
    /// Side of the picture (not of the patient).
    Side { Left "left" "左侧", Right "right" "右侧" }
    /// Height in the picture.
    Level { Upper "upper" "上部", Middle "middle" "中部", Lower "lower" "下部" }
    /// Diameter of a lesion or a shape.
    Size { Small "small" "小", Medium "medium" "中等大小", Large "large" "大" }
    /// Brightness of a lesion against the brain, as a radiologist says it of CT.
    Density { Increased "increased" "密度增高", Decreased "decreased" "密度减低" }
    /// Colour of a shape.
    Color {
        Red "red" "红色", Green "green" "绿色", Blue "blue" "蓝色", Yellow "yellow" "黄色",
        Purple "purple" "紫色", Orange "orange" "橙色", White "white" "白色", Black "black" "黑色",
    }
    /// Kind of a shape.
    Shape { Circle "circle" "圆形", Square "square" "方形", Triangle "triangle" "三角形", Ring "ring" "圆环", Oval "oval" "椭圆", Bar "bar" "长条" }
    /// Horizontal place of a shape.
    Column { Left "left" "左侧", Center "center" "中间", Right "right" "右侧" }
}
