use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[test]
fn a_ring_goes_around_and_never_breaks_a_piece() {
    let mut ring = Ring::new(10);
    assert_eq!(ring.take(7), Some(0));
    assert_eq!(ring.take(4), None, "it would go around the end");
    assert_eq!(ring.take(3), Some(7));
    assert_eq!(ring.free_in_one_piece(), 0);
    assert!(ring.give_back(7));
    assert_eq!(ring.take(5), Some(0));
    assert!(ring.give_back(8));
    assert!(!ring.give_back(1), "nothing was in use");
}

#[test]
fn credit_that_was_not_owed_is_refused() {
    let grant = |slots, ring_bytes| Grant { slots, ring_bytes };
    let mut allowance = Allowance::new(4, 8192);
    assert_eq!(allowance.grant(grant(1, 0)), Err(MessageError::Overgranted));
    assert_eq!(allowance.grant(grant(0, 1)), Err(MessageError::Overgranted));
    assert!(allowance.take_slot());
    assert_eq!(allowance.grant(grant(1, 0)), Ok(()));
    assert_eq!(
        allowance.grant(grant(u16::MAX, 0)),
        Err(MessageError::Overgranted)
    );
}

#[test]
fn more_than_there_is_credit_for_is_an_overrun() {
    let mut debt = Debt::new(4, 8192);
    assert_eq!(debt.write_arrived(8193), Err(MessageError::Overrun));
    let mut debt = Debt::new(4, 8192);
    for _ in 0..4 {
        debt.message_arrived().unwrap();
    }
    assert_eq!(debt.message_arrived(), Err(MessageError::Overrun));
    debt.receive_posted();
    debt.receive_posted();
    assert_eq!(debt.settle().slots, 2);
    debt.message_arrived().unwrap();
}

/// What is under way from one side to the other.
#[derive(Debug)]
enum Message {
    Data(Grant),
    Write(u32),
    Credit(Grant),
    End(Grant),
}

/// One of two sides, as far as credit goes.
#[derive(Debug)]
struct Side {
    allowance: Allowance,
    debt: Debt,
    /// Receives posted, and data that waits to be read: the bytes of the ring it took, or none.
    posted: u32,
    unread: VecDeque<Option<u32>>,
    ended: bool,
}

impl Side {
    fn new(ours: (u16, u32), theirs: (u16, u32)) -> Self {
        Self {
            allowance: Allowance::new(theirs.0, theirs.1),
            debt: Debt::new(ours.0, ours.1),
            posted: u32::from(ours.0 + RECEIVES_RESERVED),
            unread: VecDeque::new(),
            ended: false,
        }
    }

    fn take_in(&mut self, message: Message) {
        // What the promise says: there is a receive, whatever comes.
        self.posted = self.posted.checked_sub(1).expect("a receive is missing");
        match message {
            Message::Data(grant) => {
                self.allowance.grant(grant).unwrap();
                self.debt.message_arrived().unwrap();
                self.unread.push_back(None);
            }
            Message::Write(count) => {
                self.debt.write_arrived(count).unwrap();
                self.unread.push_back(Some(count));
            }
            Message::Credit(grant) => {
                self.posted += 1;
                self.allowance.grant(grant).unwrap();
            }
            Message::End(grant) => {
                self.posted += 1;
                self.allowance.grant(grant).unwrap();
            }
        }
    }

    /// The oldest data is read; credit goes out when it is due.
    fn read(&mut self, out: &mut VecDeque<Message>) {
        if let Some(data) = self.unread.pop_front() {
            if let Some(count) = data {
                self.debt.ring_read(count);
            }
            self.posted += 1;
            self.debt.receive_posted();
        }
        if self.debt.is_due() {
            out.push_back(Message::Credit(self.debt.settle()));
        }
    }

    fn send(&mut self, out: &mut VecDeque<Message>) {
        if !self.ended && self.allowance.take_slot() {
            out.push_back(Message::Data(self.debt.settle()));
        }
    }

    fn write(&mut self, count: u32, out: &mut VecDeque<Message>) {
        let count = count.min(self.allowance.ring.free_in_one_piece());
        if !self.ended && count > 0 && self.allowance.take_slot() {
            self.allowance.ring.take(count).unwrap();
            out.push_back(Message::Write(count));
        }
    }

    fn end(&mut self, out: &mut VecDeque<Message>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push_back(Message::End(self.debt.settle()));
        }
    }
}

proptest! {
    /// Two sides that do anything they may, in any order, with messages that take any time: no receive is ever missing, and
    /// when everything has been read, both can send again.
    #[test]
    fn no_receive_is_ever_missing(
        a in (4_u16..9, 8192_u32..16_384),
        b in (4_u16..9, 8192_u32..16_384),
        steps in proptest::collection::vec((any::<bool>(), 0_u8..100, 1_u32..9000), 0..600),
    ) {
        let mut sides = [Side::new(a, b), Side::new(b, a)];
        let mut wires = [VecDeque::new(), VecDeque::new()];
        for (which, what, count) in steps {
            let which = usize::from(which);
            match what {
                0..30 => sides[which].send(&mut wires[which]),
                30..50 => sides[which].write(count, &mut wires[which]),
                50..75 => sides[which].read(&mut wires[which]),
                75..99 => if let Some(message) = wires[1 - which].pop_front() {
                    sides[which].take_in(message);
                },
                _ => sides[which].end(&mut wires[which]),
            }
        }
        // Everything under way arrives and is read, and nothing new is sent.
        loop {
            let mut quiet = true;
            for which in 0..2 {
                while let Some(message) = wires[1 - which].pop_front() {
                    quiet = false;
                    sides[which].take_in(message);
                }
                while !sides[which].unread.is_empty() {
                    quiet = false;
                    sides[which].read(&mut wires[which]);
                }
            }
            if quiet {
                break;
            }
        }
        for side in &sides {
            prop_assert!(side.allowance.has_slot(), "a side that read everything left its peer without credit");
            let free = side.allowance.ring.size - side.allowance.ring.used;
            prop_assert!(free > side.allowance.ring.size / 2 - 1, "{free} bytes of the ring came back");
        }
    }
}
