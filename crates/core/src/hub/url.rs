//! Addresses: whose they are, and where they lead.

/// For messages: what is behind the host may be a signature that opens the file to anyone.
pub(super) fn host(url: &str) -> String {
    origin(url).map_or_else(|| url.to_owned(), |(_, host)| host)
}

/// Scheme, and host with port, in small letters: who gets to see what is sent there.
pub(super) fn origin(url: &str) -> Option<(bool, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    // `https://huggingface.co@elsewhere` is elsewhere; nobody needs such addresses.
    if host.is_empty() || host.contains(['@', '\\']) {
        return None;
    }
    let host = host.strip_suffix(if secure { ":443" } else { ":80" }).map(str::to_owned).unwrap_or(host);
    Some((secure, host))
}

/// `https://host` of an address.
pub(super) fn base(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find(['/', '?', '#']).map_or(url, |end| &url[..start + end])
}

/// Where a redirect leads; never from an encrypted connection to an open one.
pub(super) fn follow(url: &str, to: &str) -> Option<String> {
    let (secure, _) = origin(url)?;
    let next = match to {
        _ if to.starts_with("//") => format!("{}:{to}", if secure { "https" } else { "http" }),
        _ if to.starts_with('/') => format!("{}{to}", base(url)),
        _ => to.to_owned(),
    };
    origin(&next).filter(|(next_secure, _)| *next_secure || !secure).map(|_| next)
}

/// `<https://…?cursor=…>; rel="next"`, asked of our endpoint: mirrors pass on the original's links.
pub(super) fn next_page(link: &str, endpoint: &str) -> Option<String> {
    let part = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let url = part.split_once('<')?.1.split_once('>')?.0;
    let path = url.find("/api/")?;
    Some(format!("{endpoint}{}", &url[path..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_only_looks_like_the_hub_is_another_host() {
        let hub = origin("https://huggingface.co");
        for same in ["https://HuggingFace.co/a?b", "https://huggingface.co:443/x", "HTTPS://huggingface.co#x"] {
            assert_eq!(origin(same), hub, "{same}");
        }
        for other in [
            "http://huggingface.co/",
            "https://huggingface.co:8443/",
            "https://huggingface.co.evil.org/",
            "https://huggingface.co@evil.org/",
            "https://evil.org/huggingface.co",
            "https://cdn.huggingface.co/",
            "ftp://huggingface.co/",
        ] {
            assert_ne!(origin(other), hub, "{other}");
        }
    }

    #[test]
    fn redirects_are_followed_by_path_and_by_address_but_not_out_of_encryption() {
        let at = "https://hub.org/a/b?c";
        assert_eq!(follow(at, "/x?y").as_deref(), Some("https://hub.org/x?y"));
        assert_eq!(follow("https://hub.org", "/x").as_deref(), Some("https://hub.org/x"));
        assert_eq!(follow(at, "https://cdn.org/x").as_deref(), Some("https://cdn.org/x"));
        assert_eq!(follow(at, "//cdn.org/x").as_deref(), Some("https://cdn.org/x"));
        assert_eq!(follow("http://local:1/a", "http://local:2/x").as_deref(), Some("http://local:2/x"));
        for refused in ["http://hub.org/x", "file:///etc/passwd", "", "x"] {
            assert_eq!(follow(at, refused), None, "{refused}");
        }
    }

    #[test]
    fn the_next_page_is_asked_of_the_mirror() {
        let link = "<https://huggingface.co/api/models/a/b/tree/x?cursor=Z%3D>; rel=\"next\"";
        let next = next_page(link, "https://mirror.org").unwrap();
        assert_eq!(next, "https://mirror.org/api/models/a/b/tree/x?cursor=Z%3D");
        assert_eq!(next_page("<https://h/api/x>; rel=\"prev\"", "https://h"), None);
    }
}
