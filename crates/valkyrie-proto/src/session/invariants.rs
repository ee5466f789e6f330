//! What holds after every step, checked in debug builds, in property tests and by fuzz targets.

use valkyrie_frame::Class;

use super::Session;

impl Session {
    /// Checks that credit is conserved and every queue is within its bound.
    ///
    /// # Errors
    /// Words for people: which invariant is broken. That is a bug in this crate, whatever the peer
    /// or the application did.
    pub fn invariants(&self) -> Result<(), String> {
        let limits = &self.config.limits;
        self.continuity_invariants()?;
        let mut unread = 0;
        let mut reassembly = 0;
        for (index, stream) in self.traffic.streams.iter() {
            let id = stream.id;
            let send = &stream.send;
            if send.credit.sent > send.credit.limit && stream.has_credit() {
                return Err(format!(
                    "stream {id} sent {} of {}",
                    send.credit.sent, send.credit.limit
                ));
            }
            if send.queue.len() <= DEEP_CHECK_MAX {
                let queued: u64 =
                    send.queue.iter().map(|queued| queued.cost()).sum::<u64>() + send.run.len() as u64;
                if queued != send.queued {
                    return Err(format!(
                        "stream {id} counts {} queued and has {queued}",
                        send.queued
                    ));
                }
            }
            let bound = u64::from(limits.send_queue_max)
                + u64::from(self.peer.as_deref().map_or(0, |peer| peer.max_message))
                + u64::from(crate::config::MAX_HEAD_BYTES);
            // Answers are bounded by the exchanges that they answer, not by the queue.
            let answers = (self.traffic.incoming.live() as u64) * bound;
            let best_effort = match stream.class() {
                Class::Bulk => u64::from(limits.best_effort_queue_max),
                _ => 0,
            };
            if send.queued > bound + answers + best_effort {
                return Err(format!(
                    "stream {id} queues {} past its bound of {bound}",
                    send.queued
                ));
            }
            if send.done && !(send.queue.is_empty() && send.run.is_empty()) {
                return Err(format!("stream {id} has ended and still queues"));
            }
            if stream.recv.queue.len() <= DEEP_CHECK_MAX && !id.is_lane() {
                let waiting = stream.recv.queue.cost();
                if waiting != stream.recv.window.unread {
                    return Err(format!(
                        "stream {id} counts {} unread and has {waiting}",
                        stream.recv.window.unread
                    ));
                }
            }
            if stream.has_credit() {
                unread += stream.recv.window.unread;
                if stream.recv.window.received > stream.recv.window.announced && !self.is_closed() {
                    return Err(format!("stream {id} received past its credit"));
                }
            } else if stream.class() == Class::Bulk
                && stream.recv.window.unread > u64::from(limits.best_effort_queue_max).max(largest(stream))
            {
                return Err(format!(
                    "bulk stream {id} holds {} unread",
                    stream.recv.window.unread
                ));
            }
            reassembly += stream
                .recv
                .partial
                .as_ref()
                .map_or(0, |partial| partial.bytes.len() as u64);
            if stream.send.ready && self.is_closed() {
                return Err(format!("stream {id} (slot {index}) is scheduled after the end"));
            }
        }
        if unread != self.recv_window.unread {
            return Err(format!(
                "the connection counts {} unread, its streams {unread}",
                self.recv_window.unread
            ));
        }
        if reassembly != self.traffic.reassembly {
            return Err(format!(
                "the session counts {} half-arrived, its streams {reassembly}",
                self.traffic.reassembly
            ));
        }
        if self.send_credit.sent > self.send_credit.limit {
            return Err("the connection sent past its credit".into());
        }
        if self.recv_window.received > self.recv_window.announced && !self.is_closed() {
            return Err("the connection received past its credit".into());
        }
        if self.traffic.outgoing.live()
            > usize::from(self.peer.as_deref().map_or(0, |peer| peer.max_exchanges))
        {
            return Err("more exchanges are open than the peer allows".into());
        }
        if self.traffic.incoming.live() > usize::from(limits.max_exchanges) {
            return Err("the peer has more exchanges open than it may".into());
        }
        let pending: u64 = self
            .traffic
            .incoming
            .iter()
            .filter(|slot| slot.answer == crate::exchange::Answer::Owed)
            .map(|slot| u64::from(slot.bytes))
            .sum();
        if pending != self.traffic.incoming.pending_bytes {
            return Err(format!(
                "{} request bytes are counted and {pending} are pending",
                self.traffic.incoming.pending_bytes
            ));
        }
        let queued: u64 = self
            .traffic
            .incoming
            .iter()
            .filter(|slot| slot.answer == crate::exchange::Answer::Queued)
            .map(|slot| u64::from(slot.bytes))
            .sum();
        if queued != self.traffic.incoming.answer_bytes {
            return Err(format!(
                "{} answer bytes are counted and {queued} are queued",
                self.traffic.incoming.answer_bytes
            ));
        }
        let ready = self
            .traffic
            .streams
            .iter()
            .filter(|(_, stream)| stream.send.ready);
        if self.traffic.scheduler.len() != ready.count() {
            return Err("the scheduler holds other streams than those that are ready".into());
        }
        let parked = self
            .traffic
            .streams
            .iter()
            .filter(|(_, stream)| stream.send.parked);
        if self.traffic.parked.len() != parked.count() && !self.is_closed() {
            return Err("the list of waiting streams holds others than those that wait".into());
        }
        if self.traffic.cancels.len() > self.traffic.outgoing.live() {
            return Err("more cancels wait than exchanges are open".into());
        }
        if self.control_answers > self.control.len() {
            return Err("more answers are counted than control frames wait".into());
        }
        if self.traffic.critical_pending > u64::from(self.config.budgets.critical_bytes) {
            return Err("more critical notifications are held than allowed".into());
        }
        if self.traffic.best_effort_pending > u64::from(limits.best_effort_queue_max) {
            return Err("more best-effort notifications are held than allowed".into());
        }
        if self.traffic.notify_pending > self.recv_window.unread {
            return Err("more notifications are held than bytes are unread".into());
        }
        let timers = 2
            * (self.traffic.outgoing.live() + self.traffic.incoming.live() + self.traffic.streams.len())
            + crate::timer::SWEEP_SLACK
            + 1;
        if self.timers.len() > timers.max(TIMERS_SLACK) {
            return Err(format!("{} timers wait", self.timers.len()));
        }
        if self.accepted.opened > self.accepted.limit || self.accepted.ended > self.accepted.opened {
            return Err("the peer's streams are miscounted".into());
        }
        Ok(())
    }

    /// Compares the books of the two sides of a conversation when all of it has ended and nothing
    /// is on its way: every byte of credit and every exchange and stream is accounted for.
    ///
    /// # Errors
    /// Words for people: what is left over, or where the two differ. That is a bug in this crate.
    pub fn reconcile(&self, peer: &Self) -> Result<(), String> {
        let (here, there) = (&*self.traffic, &*peer.traffic);
        let left = [
            ("exchanges begun here", here.outgoing.live()),
            ("exchanges begun by the peer", here.incoming.live()),
            ("scheduled streams", here.scheduler.len()),
            ("streams waiting for credit", here.parked.len()),
            ("waiting cancels", here.cancels.len()),
            ("control frames", self.control.len()),
            ("answers among them", self.control_answers),
            ("bytes half arrived", here.reassembly as usize),
            ("bytes unread", self.recv_window.unread as usize),
            ("bytes of pending requests", here.incoming.pending_bytes as usize),
            ("bytes of queued answers", here.incoming.answer_bytes as usize),
            ("bytes of notifications", here.notify_pending as usize),
            (
                "bytes of best-effort notifications",
                here.best_effort_pending as usize,
            ),
            ("bytes of critical notifications", here.critical_pending as usize),
        ];
        if let Some((what, count)) = left.iter().find(|(_, count)| *count > 0) {
            return Err(format!("{count} {what} are left"));
        }
        let agree = |what: &str, mine: u64, theirs: u64| {
            if mine == theirs {
                Ok(())
            } else {
                Err(format!("{what}: {mine} here, {theirs} at the peer"))
            }
        };
        agree("bytes sent", self.send_credit.sent, peer.recv_window.received)?;
        agree("credit", self.send_credit.limit, peer.recv_window.announced)?;
        agree("streams opened", self.opened.opened, peer.accepted.opened)?;
        agree("streams granted", self.opened.limit, peer.accepted.limit)?;
        agree("streams ended", self.opened.opened, peer.accepted.ended)?;
        for (_, stream) in here.streams.iter() {
            let id = stream.id;
            if !id.is_lane() {
                return Err(format!("stream {id} is left"));
            }
            if stream.has_work() {
                return Err(format!("lane {id} still queues"));
            }
            let Some((_, other)) = there.streams.iter().find(|(_, other)| other.id == id) else {
                continue;
            };
            if stream.has_credit() {
                let (sent, got) = (stream.send.credit, other.recv.window);
                agree(&format!("bytes on lane {id}"), sent.sent, got.received)?;
                agree(&format!("credit on lane {id}"), sent.limit, got.announced)?;
            }
        }
        for class in Class::ALL {
            let place = class.index();
            agree(
                &format!("requests of class {class}"),
                here.requests_sent[place],
                there.requests_received[place],
            )?;
        }
        Ok(())
    }
}

/// The cost of the newest message: a single one larger than the bound is kept alone.
fn largest(stream: &crate::stream::Stream) -> u64 {
    stream.recv.queue.last_cost()
}

/// Queues longer than this are not added up after every step.
const DEEP_CHECK_MAX: usize = 64;

/// Stale timers are swept when one is added, so as many may wait as exchanges have just ended.
const TIMERS_SLACK: usize = 4 * 65_536;
