//! Lets the worker and its tests find libtorch without LD_LIBRARY_PATH.
use std::env;

fn main() -> Result<(), env::VarError> {
    println!("cargo:rerun-if-changed=build.rs");
    // torch-sys says `links = "tch"`; only packages that name it as a direct dependency get this variable.
    let lib = env::var("DEP_TCH_LIBTORCH_LIB")?;
    // In this order: a folder or link `libtorch` beside the binary (a copy carried to another machine), then the
    // libtorch of this build. RUNPATH rather than RPATH, so that LD_LIBRARY_PATH goes before both: that is how another
    // libtorch 2.11 is chosen at run time. Only torch/lib has to be found; the wheel's own RPATHs lead to the rest.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,$ORIGIN/libtorch/lib:{lib}");
    Ok(())
}
