//! Compiles `cpp/shim.cpp` against the libtorch that torch-sys has found, and lets this crate's tests find that
//! libtorch at run time.
use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=cpp");
    // torch-sys says `links = "tch"`; only packages that name it as a direct dependency get this variable.
    let lib = PathBuf::from(env::var("DEP_TCH_LIBTORCH_LIB")?);
    let include = lib.parent().ok_or("the libtorch folder has no parent")?.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        // libtorch's headers alone give thousands of warnings.
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("cpp/shim.cpp")
        .compile("torch_shim");
    // RUNPATH rather than RPATH, so that LD_LIBRARY_PATH can point at another libtorch 2.11.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{}", lib.display());
    Ok(())
}
