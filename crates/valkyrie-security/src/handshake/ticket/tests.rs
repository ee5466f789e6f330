//! Tickets: once, in time, for their own peer, and only so many.

use super::*;
use crate::provider::StaticKey;

fn peer() -> PublicKey {
    StaticKey::generate().unwrap().public()
}

fn psk(id: &[u8; TICKET_LEN]) -> Zeroizing<[u8; 32]> {
    let mut psk = Zeroizing::new([7; 32]);
    psk[..TICKET_LEN].copy_from_slice(id);
    psk
}

#[test]
fn a_ticket_is_good_once() {
    let (mut tickets, now, peer) = (Tickets::default(), Instant::now(), peer());
    let id = tickets.issue(now, peer, psk);
    assert_eq!(tickets.psk(now, &id), Some(psk(&id)));
    assert_eq!(tickets.psk(now, &id), Some(psk(&id)), "asking does not use it up");
    assert!(tickets.redeem(now, &id, &peer));
    assert!(!tickets.redeem(now, &id, &peer));
    assert_eq!(tickets.psk(now, &id), None);
    assert_eq!(tickets.len(), 0);
}

#[test]
fn a_ticket_of_somebody_else_is_refused_and_stays_good() {
    let (mut tickets, now, owner, thief) = (Tickets::default(), Instant::now(), peer(), peer());
    let id = tickets.issue(now, owner, psk);
    assert!(!tickets.redeem(now, &id, &thief));
    assert!(tickets.redeem(now, &id, &owner));
}

#[test]
fn a_ticket_ends_with_its_lifetime() {
    let (mut tickets, now, peer) = (Tickets::default(), Instant::now(), peer());
    let id = tickets.issue(now, peer, psk);
    let last = now + Tickets::LIFETIME - Duration::from_nanos(1);
    assert!(tickets.psk(last, &id).is_some());
    assert!(tickets.psk(now + Tickets::LIFETIME, &id).is_none());
    assert!(!tickets.redeem(now + Tickets::LIFETIME, &id, &peer));
    assert_eq!(tickets.len(), 0, "nothing of it is kept");
}

#[test]
fn there_are_only_so_many_and_the_oldest_goes() {
    let (mut tickets, now, peer) = (Tickets::default(), Instant::now(), peer());
    let first = tickets.issue(now, peer, psk);
    let second = tickets.issue(now, peer, psk);
    for _ in 2..Tickets::MAX {
        tickets.issue(now, peer, psk);
    }
    assert!(tickets.psk(now, &first).is_some());
    tickets.issue(now, peer, psk);
    assert_eq!(tickets.len(), Tickets::MAX);
    assert!(tickets.psk(now, &first).is_none());
    assert!(tickets.psk(now, &second).is_some());
    assert_eq!(tickets.order.len(), tickets.by_id.len());
}

#[test]
fn issuing_and_redeeming_for_years_keeps_nothing() {
    let (mut tickets, now, peer) = (Tickets::default(), Instant::now(), peer());
    for _ in 0..1000 {
        let id = tickets.issue(now, peer, psk);
        assert!(tickets.redeem(now, &id, &peer));
    }
    assert_eq!((tickets.by_id.len(), tickets.order.len()), (0, 0));
}

#[test]
fn the_order_of_tickets_that_were_used_up_stays_short() {
    let (mut tickets, now, peer) = (Tickets::default(), Instant::now(), peer());
    let kept: Vec<_> = (0..10).map(|_| tickets.issue(now, peer, psk)).collect();
    for _ in 0..1000 {
        let id = tickets.issue(now, peer, psk);
        assert!(tickets.redeem(now, &id, &peer));
        assert!(tickets.order.len() <= 2 * tickets.len());
    }
    assert_eq!(tickets.len(), kept.len());
    // What is left still ends in the order of issue.
    assert!(tickets.psk(now + Tickets::LIFETIME, &kept[9]).is_none());
    assert_eq!((tickets.by_id.len(), tickets.order.len()), (0, 0));
}

#[test]
fn no_key_shows_in_debug_output() {
    let (mut tickets, now) = (Tickets::default(), Instant::now());
    tickets.issue(now, peer(), psk);
    assert_eq!(format!("{tickets:?}"), "Tickets { kept: 1, .. }");
}
