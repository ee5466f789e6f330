//! CREDIT: what the peer may send on, said when it is worth a frame.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use valkyrie_frame::{Batch, Class, Header, Kind, StreamId};

use crate::control::Credit;

use super::Session;
use super::lanes::Outlet;
use super::transmit::push;

impl Session {
    /// One CREDIT frame, with everything that is due for the connection or for the streams of one class. `false` when
    /// nothing is, or its lane is blocked.
    //= protocol/resume.md#counts
    pub(super) fn transmit_credit(&mut self, now: Instant, batch: &mut Batch, outlet: &mut Outlet) -> bool {
        let mut payload = BytesMut::new();
        if outlet.would_take(0) {
            if self.recv_window.is_due() {
                Credit::Connection(self.recv_window.announce()).encode(&mut payload);
            }
            if self.streams_due() {
                self.accepted.limit = u64::from(self.config.limits.max_streams) + self.accepted.ended;
                Credit::Streams(self.accepted.limit).encode(&mut payload);
            }
        }
        let mut class = if payload.is_empty() {
            None
        } else {
            Some(Class::Critical)
        };
        let rtt = self.traffic.rtt.smoothed();
        let job_max = self.config.limits.window_job_max;
        let mut place = self.traffic.credit_due.len();
        while payload.len() < CREDIT_FRAME_ENTRIES_MAX * Credit::LEN && place > 0 {
            place -= 1;
            let Some(&index) = self.traffic.credit_due.get(place) else {
                continue;
            };
            let Some(stream) = self.traffic.streams.at_mut(index) else {
                self.traffic.credit_due.swap_remove(place);
                continue;
            };
            let lane = outlet.lane_of(stream.class());
            if class.is_some_and(|class| class != stream.class()) || !outlet.would_take(lane) {
                // Its turn comes with the next frame.
                continue;
            }
            self.traffic.credit_due.swap_remove(place);
            let Some(stream) = self.traffic.streams.at_mut(index) else {
                continue;
            };
            if !core::mem::take(&mut stream.recv.credit_due) || !stream.mapped || !stream.wants_credit() {
                continue;
            }
            if stream.class() == Class::Job {
                // Who only receives must know the round trip too, or no window would grow.
                self.pings.traffic = true;
                grow_window(stream, now, rtt, job_max);
            }
            class = Some(stream.class());
            Credit::Stream(stream.id, stream.recv.window.announce()).encode(&mut payload);
        }
        let Some(class) = class else {
            return false;
        };
        let _ = outlet.take(outlet.lane_of(class));
        let header = Header::new(Kind::CREDIT, StreamId::CONTROL);
        self.count_sent(Class::Critical, 1, (Header::LEN + payload.len()) as u64);
        let mark = batch.mark();
        push(batch, header, &[], payload.freeze());
        self.note_sent(class, 1, batch, mark);
        true
    }
}

/// Doubles a job window that was used up within two round trips: the path holds more than it.
//= protocol/session.md#windows
fn grow_window(stream: &mut crate::stream::Stream, now: Instant, rtt: Option<Duration>, max: u32) {
    if let (Some(last), Some(rtt)) = (stream.credited_at, rtt)
        && now.saturating_duration_since(last) < 2 * rtt
    {
        let window = &mut stream.recv.window.window;
        *window = window.saturating_mul(2).min(max);
    }
    stream.credited_at = Some(now);
}

/// Entries of one CREDIT frame; more go in the next.
const CREDIT_FRAME_ENTRIES_MAX: usize = 256;
