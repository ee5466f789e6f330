//! Tasks that wait in line for room, woken one at a time.
//!
//! Waking everybody when one place is free would make each of ten thousand waiters run to find that it is taken.
//! So the first in line is woken alone, and whoever gets in (or gives up after being woken) wakes the next: as long as
//! there is room the baton moves on, and when there is none the next event of the session moves it.

use std::collections::VecDeque;
use std::task::Waker;

/// A line of waiting tasks. Bounded by the tasks of the program that owns them.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    /// Ascending by ticket.
    line: VecDeque<(u64, Waker)>,
    next: u64,
}

/// A place in a line, kept by the future that waits. `None` has never waited.
pub(crate) type Ticket = Option<u64>;

impl WaitList {
    /// Takes a place, or keeps the one that `ticket` names: whoever was woken in vain does not lose its turn.
    pub(crate) fn join(&mut self, ticket: &mut Ticket, waker: &Waker) {
        let Some(mine) = *ticket else {
            self.line.push_back((self.next, waker.clone()));
            *ticket = Some(self.next);
            self.next += 1;
            return;
        };
        match self.line.binary_search_by_key(&mine, |place| place.0) {
            Ok(at) => self.line[at].1.clone_from(waker),
            Err(at) => self.line.insert(at, (mine, waker.clone())),
        }
    }

    /// Takes the first out of the line.
    pub(crate) fn next(&mut self) -> Option<Waker> {
        self.line.pop_front().map(|(_, waker)| waker)
    }

    /// Leaves the line for good. One that was woken already owes the baton to the next, which is returned.
    pub(crate) fn leave(&mut self, ticket: &mut Ticket) -> Option<Waker> {
        let mine = ticket.take()?;
        match self.line.binary_search_by_key(&mine, |place| place.0) {
            Ok(at) => {
                self.line.remove(at);
                None
            }
            Err(_) => self.next(),
        }
    }

    /// Whether nobody has ever waited: only then may the list be made anew, because tickets must not be given twice.
    pub(crate) fn is_unused(&self) -> bool {
        self.next == 0
    }

    /// Takes everybody out.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = Waker> + '_ {
        self.line.drain(..).map(|(_, waker)| waker)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_first_in_line_is_woken_first_and_keeps_its_turn() {
        let mut list = WaitList::default();
        let counts: [Arc<Count>; 3] = Default::default();
        let wakers = counts.clone().map(Waker::from);
        let mut tickets: [Ticket; 3] = [None; 3];
        for (ticket, waker) in tickets.iter_mut().zip(&wakers) {
            list.join(ticket, waker);
        }
        assert!(list.next().is_some_and(|waker| waker.will_wake(&wakers[0])));
        // Woken in vain: it goes back to the front.
        list.join(&mut tickets[0], &wakers[0]);
        assert!(list.next().is_some_and(|waker| waker.will_wake(&wakers[0])));
        assert!(list.next().is_some_and(|waker| waker.will_wake(&wakers[1])));
    }

    #[test]
    fn one_that_leaves_after_being_woken_passes_the_baton() {
        let mut list = WaitList::default();
        let waker = Waker::from(Arc::<Count>::default());
        let (mut first, mut second) = (None, None);
        list.join(&mut first, &waker);
        list.join(&mut second, &waker);
        drop(list.next());
        assert!(list.leave(&mut first).is_some());
        assert!(list.leave(&mut second).is_none(), "nobody is left to wake");
    }

    #[test]
    fn one_that_leaves_the_line_wakes_nobody() {
        let mut list = WaitList::default();
        let waker = Waker::from(Arc::<Count>::default());
        let (mut first, mut second) = (None, None);
        list.join(&mut first, &waker);
        list.join(&mut second, &waker);
        assert!(list.leave(&mut first).is_none());
        assert_eq!(list.all().count(), 1);
    }
}
