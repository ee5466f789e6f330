//! SPIFFE IDs.

use proptest::prelude::*;

use super::*;

#[test]
fn an_id_has_a_trust_domain_and_a_path() {
    let id: SpiffeId = ID.parse().unwrap();
    assert_eq!((id.trust_domain(), id.path()), ("example.org", "/ns/ci/runner"));
    assert_eq!(id.to_string(), ID);
    let domain: SpiffeId = "spiffe://a.b_c-1".parse().unwrap();
    assert_eq!((domain.trust_domain(), domain.path()), ("a.b_c-1", ""));
}

#[test]
fn texts_that_are_no_ids_are_refused() {
    for text in [
        "",
        "spiffe://",
        "spiffe:///x",
        "SPIFFE://a/x",
        "http://a/x",
        "spiffe://A/x",
        "spiffe://a:1/x",
        "spiffe://u@a/x",
        "spiffe://a/",
        "spiffe://a//x",
        "spiffe://a/x/",
        "spiffe://a/./x",
        "spiffe://a/../x",
        "spiffe://a/x?y",
        "spiffe://a/x#y",
        "spiffe://a/%41",
        "spiffe://a/ä",
        " spiffe://a/x",
        &format!("spiffe://{}/x", "a".repeat(256)),
        &format!("spiffe://a/{}", "x".repeat(2048)),
    ] {
        assert_eq!(text.parse::<SpiffeId>(), Err(SpiffeIdFormatError), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_ids_are_shown_as_they_were_read(text in "\\PC{0,40}|spiffe://[a-z./]{0,20}") {
        if let Ok(id) = text.parse::<SpiffeId>() {
            prop_assert_eq!(id.to_string(), text.clone());
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        }
    }
}
