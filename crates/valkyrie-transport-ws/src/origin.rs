//! Which web pages may dial.

/// Whether a dialler that says `origin` may use the host it asked for.
///
/// Browsers always say which page dials; other programs say nothing, or what they like. The check protects the users
/// of browsers from pages of others, and nobody else.
//= protocol/transports.md#opening
pub(crate) fn permits(allowed: &[String], origin: &str, host: &str) -> bool {
    if allowed.is_empty() {
        return is_same_host(origin, host);
    }
    allowed
        .iter()
        .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, place)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |text: &str| {
        text.strip_suffix(default_port)
            .unwrap_or(text)
            .to_ascii_lowercase()
    };
    !place.is_empty() && bare(place) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_list_a_page_may_dial_the_host_it_came_from() {
        for (origin, host, permitted) in [
            ("http://example.org", "example.org", true),
            ("https://Example.org", "example.org:443", true),
            ("http://example.org:8080", "example.org:8080", true),
            ("http://example.org:8080", "example.org", false),
            ("https://example.org.evil.net", "example.org", false),
            ("https://evil.net", "example.org", false),
            ("null", "example.org", false),
            ("http://", "", false),
            ("file://example.org", "example.org", false),
        ] {
            assert_eq!(permits(&[], origin, host), permitted, "{origin} at {host}");
        }
    }

    #[test]
    fn a_list_is_all_that_counts() {
        let list = ["https://app.example.org".to_owned()];
        assert!(permits(&list, "https://app.example.org", "example.org"));
        assert!(!permits(&list, "https://example.org", "example.org"));
        assert!(permits(&["*".to_owned()], "null", "example.org"));
    }
}
