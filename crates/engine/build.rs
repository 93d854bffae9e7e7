fn main() {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch is");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
