//! Reading what a request names; folders and links are tried from the outside (tests/serve/answers.rs).

use super::*;

#[test]
fn data_urls_are_read_with_and_without_padding_and_measured_before_they_are_decoded() {
    assert_eq!(from_data_url("image/png;base64,aGk=").unwrap(), b"hi");
    assert_eq!(from_data_url("image/png;charset=x;BASE64,aGk").unwrap(), b"hi");
    assert_eq!(from_data_url(";base64,").unwrap(), b"");
    for bad in ["", "image/png", "image/png,hi", ";base64,a b", ";base64,aGk=aGk=", ";base64,ß"] {
        assert!(from_data_url(bad).is_err(), "{bad}");
    }
    // No base64 at all: refused for its length.
    let long = format!(";base64,{}", "@".repeat(MAX_BYTES as usize / 3 * 4 + 8));
    assert!(from_data_url(&long).unwrap_err().contains("scale it down"));
}

#[test]
fn file_urls_name_a_path_of_this_machine() {
    assert_eq!(path_of("///a/b%20c").unwrap(), Path::new("/a/b c"));
    assert_eq!(path_of("//localhost/a").unwrap(), Path::new("/a"));
    assert_eq!(path_of("/a").unwrap(), Path::new("/a"));
    for bad in ["//other/a", "a", "", "//localhost", "///%ff"] {
        assert!(path_of(bad).is_err(), "{bad}");
    }
}
