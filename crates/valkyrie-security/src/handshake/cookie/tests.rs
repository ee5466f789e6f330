//! Whose cookie is good, and for how long.

use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

#[test]
fn a_cookie_is_good_at_its_own_address_alone() {
    let now = Instant::now();
    let mut cookies = Cookies::new(now);
    let cookie = cookies.issue(now, A);
    assert!(cookies.check(now, A, &cookie));
    assert!(!cookies.check(now, B, &cookie));
    let IpAddr::V4(v4) = A else { unreachable!() };
    assert!(
        cookies.check(now, IpAddr::V6(v4.to_ipv6_mapped()), &cookie),
        "the same address"
    );
}

#[test]
fn a_cookie_lasts_to_the_end_of_the_next_period() {
    let begin = Instant::now();
    for issued in [0, 60, 119] {
        let mut cookies = Cookies::new(begin);
        let at = |secs| begin + Duration::from_secs(secs);
        let cookie = cookies.issue(at(issued), A);
        assert!(cookies.check(at(120), A, &cookie));
        assert!(cookies.check(at(239), A, &cookie));
        assert!(!cookies.check(at(240), A, &cookie));
        assert!(!cookies.check(at(100_000), A, &cookie));
        let later = cookies.issue(at(100_000), A);
        assert!(cookies.check(at(100_001), A, &later));
    }
}

#[test]
fn a_cookie_that_was_changed_cut_or_made_elsewhere_is_refused() {
    let now = Instant::now();
    let mut cookies = Cookies::new(now);
    let cookie = cookies.issue(now, A);
    for bit in 0..cookie.len() * 8 {
        let mut other = cookie;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!cookies.check(now, A, &other));
    }
    for len in 0..cookie.len() {
        assert!(!cookies.check(now, A, &cookie[..len]));
    }
    assert!(!Cookies::new(now).check(now, A, &cookie), "another process");
}

#[test]
fn no_key_shows_in_debug_output() {
    let cookies = Cookies::new(Instant::now());
    assert_eq!(format!("{cookies:?}"), "Cookies { period: 0, .. }");
}
