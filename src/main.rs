//! `lightbox`: the workbench's program. It does not link libtorch, so it starts at once and can say what is wrong with
//! a machine where libtorch is missing. The commands are in [`cli`].

mod cli;
mod demo;
mod image;
mod launch;
mod supervise;
mod term;

fn main() -> std::process::ExitCode {
    cli::main()
}
