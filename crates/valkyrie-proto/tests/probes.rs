//! Probes of the round trip, on links that break.

mod linked;

use std::time::Duration;

use bytes::Bytes;
use linked::{Linked, config};
use valkyrie_proto::{Class, Message, Side};

/// Found by a long run over real links: the data class waited for an answer that could not come, and its session span on a
/// time that had passed.
#[test]
fn a_probe_that_a_link_has_lost_does_not_hold_back_data_for_ever() {
    const NOTES: usize = 12;
    let large = || Message::data(Bytes::from(vec![7; 8 * 1024]));
    let mut linked = Linked::open(config(), config(), 1);
    let say = |linked: &mut Linked| {
        let now = linked.now;
        let said = linked.dialer.session.notify(now, Class::Data, None, large());
        said.expect("room");
    };
    say(&mut linked);
    linked.talk();
    // One quick round, so that the next shows how long a queue has grown.
    linked.pass(Duration::from_secs(1));
    say(&mut linked);
    linked.talk();
    linked.pass(Duration::from_secs(1));
    say(&mut linked);
    linked.write(Side::Dialer);
    linked.pass(Duration::from_millis(50));
    linked.talk();
    // A round carries little data now, and this one has carried it before it is time for a probe to end it.
    for _ in 3..NOTES {
        say(&mut linked);
    }
    linked.talk();
    assert!(linked.acceptor.heard().len() < NOTES);
    linked.pass(Duration::from_millis(60));
    linked.write(Side::Dialer);
    linked.lose(Side::Dialer);
    linked.resume(1);
    for _ in 0..NOTES {
        linked.pass(Duration::from_millis(200));
        linked.talk();
    }
    assert_eq!(linked.acceptor.heard().len(), NOTES);
    let due = linked.dialer.session.poll_timeout();
    assert!(due.is_none_or(|due| due > linked.now), "it spins");
}
