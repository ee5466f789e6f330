//! Subscribers that do not read, and subscribers that are gone: nobody else notices.

use super::{BusHarness, MAILBOX, message, numbered, numbers, publish, read, read_until, subscribe};

/// A subscriber that does not read keeps the newest messages and counts the others: what it reads and what it missed are
/// together what was published.
pub async fn a_slow_subscriber_misses_the_oldest_and_counts_them(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut slow = subscribe(&*bus, &["flood.*"]).await;
    let messages: Vec<_> = (0..FLOOD).map(|number| numbered("flood.a", 0, number)).collect();
    for part in messages.chunks(100) {
        publish(&*bus, part).await;
    }
    // The bus may still be bringing them; nobody reads meanwhile.
    let missed = (FLOOD - MAILBOX.messages) as u64;
    while slow.missed() < missed {
        tokio::task::yield_now().await;
    }
    let kept = read(&mut *slow, MAILBOX.messages).await;
    assert_eq!(
        kept,
        messages[FLOOD - MAILBOX.messages..],
        "not the newest were kept"
    );
    assert_eq!(slow.missed(), missed);

    publish(&*bus, &[message("flood.b", "there is room again")]).await;
    assert_eq!(
        read(&mut *slow, 1).await,
        [message("flood.b", "there is room again")]
    );
    assert_eq!(slow.missed(), missed);
}

/// While one subscriber does not read, publishing goes on and others get everything.
pub async fn a_slow_subscriber_holds_up_nobody(harness: BusHarness) {
    let bus = harness.connect().await;
    let slow = subscribe(&*bus, &["flood.*"]).await;
    let mut quick = subscribe(&*bus, &["flood.>"]).await;
    let messages: Vec<_> = (0..FLOOD).map(|number| numbered("flood.a", 0, number)).collect();
    for part in messages.chunks(100) {
        publish(&*bus, part).await;
        assert_eq!(read(&mut *quick, part.len()).await, part);
    }
    assert_eq!(quick.missed(), 0);
    drop(slow);
}

/// A subscription that is dropped is over, and a new one begins with what is published from then on.
pub async fn dropping_a_subscription_ends_it(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut witness = subscribe(&*bus, &["door"]).await;
    for round in 0..ROUNDS {
        let mut guest = subscribe(&*bus, &["door", "do*", "*"]).await;
        publish(&*bus, &[numbered("door", 0, round)]).await;
        let heard = read_until(&mut *guest, |read| !read.is_empty()).await;
        assert_eq!(numbers(&heard[0]), (0, round), "the past came back");
        drop(guest);
    }
    assert_eq!(read(&mut *witness, ROUNDS).await.len(), ROUNDS);
    assert_eq!(witness.missed(), 0);
}

/// Several times what a mailbox under test holds.
const FLOOD: usize = 3500;
const ROUNDS: usize = 50;
