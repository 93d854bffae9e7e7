//! What the terminal can do.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colours {
    None,
    Ansi16,
    Ansi256,
    #[default]
    True,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caps {
    pub colours: Colours,
    pub light_background: Option<bool>,
    pub cell_px: (u16, u16),
    pub ssh: bool,
}
