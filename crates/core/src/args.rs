//! Command-line options that both programs know: `lightbox` checks them (and prints their help without libtorch),
//! `lightbox-engine` acts on them.
