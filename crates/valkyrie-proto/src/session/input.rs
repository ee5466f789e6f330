//! Bytes in: frames are checked, counted and handed on.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use valkyrie_frame::{Class, Extensions, Flags, Group, Header, HeaderError, Kind, StreamId};

use crate::control::{Credit, decode_failure, decode_reset, decode_u64};
use crate::resume::counted_class;
use crate::run::{is_run, run_len};
use crate::stream::{Partial, Reset};
use crate::{Budgets, Event, Limits, PeerMisbehaved, SessionError};

use super::{Phase, Session};

impl Session {
    /// Takes every whole frame out of `input` and leaves the begun one. Payloads are handed on by
    /// reference into `input`'s memory.
    ///
    /// # Errors
    /// [`SessionError`]: the peer is at fault and the session is closed; the rest of `input` is
    /// meaningless. An ERROR frame for the peer waits in [`Session::poll_transmit`].
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), SessionError> {
        self.handle_lane_input(now, 0, input)
    }

    /// [`Session::handle_input`] for what has arrived on one lane of several; each has an input of its own.
    ///
    /// What has overtaken the opening on another lane than the first is left in `input`, see
    /// [`Session::awaits_opening`].
    ///
    /// # Errors
    /// As for [`Session::handle_input`].
    pub fn handle_lane_input(
        &mut self,
        now: Instant,
        lane: u8,
        input: &mut BytesMut,
    ) -> Result<(), SessionError> {
        match self.phase {
            Phase::Closed => {
                input.clear();
                return Err(SessionError::Closed);
            }
            // What comes behind its RESUME is for the session that it asked for.
            Phase::Yielded => return Ok(()),
            Phase::Opening | Phase::Open if self.awaits_opening && lane != 0 => return Ok(()),
            // The link is given up, and what still comes on it comes again on the next.
            Phase::Open if self.is_detached() && !self.awaits_opening => {
                input.clear();
                return Ok(());
            }
            Phase::Opening | Phase::Open => {}
        }
        self.guard.tick(now);
        if self.phase != Phase::Opening {
            // The opening counts from its beginning, or a stranger could drip it forever.
            self.last_input = now;
        }
        let mut result = Ok(());
        loop {
            let before = input.len();
            result = result.and_then(|()| self.take_frames(now, lane, input));
            if result.is_err() || input.len() == before || self.phase == Phase::Yielded {
                break;
            }
        }
        if let Err(error) = &result {
            input.clear();
            self.fail(error.clone());
        }
        self.check_drained();
        self.debug_check();
        result
    }

    /// The whole length of the frame that `input`, as [`Session::handle_input`] left it, begins;
    /// 0 while its header has not arrived. It is within what this side announced.
    pub fn begun_frame_len(&self, input: &[u8]) -> usize {
        match Header::peek(input) {
            Ok(Some(header)) if header.length <= self.config.limits.max_frame => header.frame_len(),
            _ => 0,
        }
    }

    fn take_frames(&mut self, now: Instant, lane: u8, input: &mut BytesMut) -> Result<(), SessionError> {
        let whole = self.whole_frames(input)?;
        if whole == 0 {
            return Ok(());
        }
        // One owner for all of it; each payload is a view that counts one reference.
        let mut rest = input.split_to(whole).freeze();
        while let Some(header) = peek(&rest)? {
            if is_run(&header)
                && let Some(index) = self.run_stream(header.stream)
            {
                let (len, frames) = run_len(&rest, &header);
                self.check_link_lane(lane, header.kind, header.stream, &[])?;
                self.count_received(header.stream, frames, len);
                self.note_received(now, Some(header.stream.class()), frames, len);
                self.deliver_run(index, rest.split_to(len), frames)?;
                continue;
            }
            let total = header.frame_len();
            let head = header.head_len();
            let extensions = if header.extension_words == 0 {
                Extensions::EMPTY
            } else {
                Extensions::check(&header, &rest[Header::LEN..head])
                    .map_err(|error| SessionError::Decode(error.into()))?;
                Extensions::from_checked(&header, rest.slice(Header::LEN..head))
            };
            let payload = rest.slice(head..total);
            rest.advance(total);
            self.check_link_lane(lane, header.kind, header.stream, &payload)?;
            self.count_received(header.stream, 1, total);
            if self.continuity.is_some() {
                let class = counted_class(header.kind, header.stream, &payload);
                self.note_received(now, class, 1, total);
            }
            let ends_lane = header.kind == Kind::CLOSE && !self.awaits_opening;
            if ends_lane && self.phase == Phase::Open && !self.close_lane(lane) {
                // The lanes end one by one, so that none of them cuts off another.
                continue;
            }
            self.handle_frame(now, &header, extensions, payload)?;
            if self.phase == Phase::Closed {
                input.clear();
                return Ok(());
            }
        }
        Ok(())
    }

    #[inline]
    fn count_received(&mut self, stream: StreamId, frames: u64, bytes: usize) {
        if stream == StreamId::CONTROL && !self.traffic.exists() {
            self.core_received.add(bytes);
            return;
        }
        let stats = &mut self.traffic.stats.classes[stream.class().index()];
        stats.frames_received += frames;
        stats.bytes_received += bytes as u64;
    }

    /// How many bytes at the front of `input` are whole frames. The header of the begun one behind
    /// them is checked too, so that an oversized frame is refused before its payload comes.
    #[inline]
    fn whole_frames(&self, input: &[u8]) -> Result<usize, SessionError> {
        let mut end = 0;
        while let Some(rest) = input.get(end..) {
            let header = match self.check_header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                // What is good before the fault is handled first, however the bytes were cut.
                Err(_) if end > 0 => break,
                Err(error) => return Err(error),
            };
            if rest.len() < header.frame_len() {
                break;
            }
            end += header.frame_len();
            if self.awaits_opening {
                // What follows the opening is judged by what the opening said.
                break;
            }
        }
        Ok(end)
    }

    /// The header at the front of `input`, held against what this side announced.
    #[inline]
    fn check_header(&self, input: &[u8]) -> Result<Option<Header>, SessionError> {
        let Some(header) = peek(input)? else {
            return Ok(None);
        };
        let max = self.config.limits.max_frame;
        if self.awaits_opening {
            self.check_opening(&header)?;
        } else if header.length > max {
            let error = HeaderError::Length {
                found: header.length,
                max,
            };
            return Err(SessionError::Decode(error.into()));
        }
        Ok(Some(header))
    }

    /// Before the opening a stranger gets one frame of one kind and a small size.
    fn check_opening(&self, header: &Header) -> Result<(), PeerMisbehaved> {
        let expected = match self.side {
            valkyrie_frame::Side::Dialer if self.phase == Phase::Open => header.kind == Kind::RESUME_ACK,
            valkyrie_frame::Side::Dialer => header.kind == Kind::HELLO_ACK,
            valkyrie_frame::Side::Acceptor => matches!(header.kind, Kind::HELLO | Kind::RESUME),
        };
        // A peer that refuses this side may say so, or take its leave, before it opens.
        let allowed = expected || matches!(header.kind, Kind::ERROR | Kind::CLOSE);
        if !allowed || header.frame_len() > OPENING_BYTES_MAX || header.stream != StreamId::CONTROL {
            return Err(PeerMisbehaved::NoHello(header.kind));
        }
        Ok(())
    }

    #[inline]
    fn handle_frame(
        &mut self,
        now: Instant,
        header: &Header,
        extensions: Extensions,
        payload: Bytes,
    ) -> Result<(), SessionError> {
        if header.flags.contains(Flags::CMP) {
            return Err(PeerMisbehaved::Compressed.into());
        }
        match header.kind {
            Kind::DATA | Kind::REQUEST | Kind::RESPONSE | Kind::NOTIFY => {
                Ok(self.handle_message(now, header, extensions, payload)?)
            }
            Kind::FILE_START | Kind::FILE_CHUNK | Kind::FILE_END => {
                Ok(self.handle_message(now, header, extensions, payload)?)
            }
            Kind::CREDIT if header.stream == StreamId::CONTROL => Ok(self.handle_credit(&payload)?),
            Kind::OPEN => Ok(self.handle_open(now, header, extensions, payload)?),
            Kind::STREAM_CLOSE => Ok(self.handle_stream_close(header, &payload)?),
            Kind::RESET => Ok(self.handle_reset(header, &payload)?),
            Kind::STREAM_ACK => Ok(self.handle_stream_ack(header, &payload)?),
            kind if !kind.is_known() => {
                if header.flags.contains(Flags::CRITICAL) {
                    return Err(PeerMisbehaved::UnknownCritical(kind).into());
                }
                Ok(self.guard.idle(&self.config.budgets)?)
            }
            kind => match kind.group() {
                Some(Group::Job | Group::Observe) => {
                    Ok(self.handle_message(now, header, extensions, payload)?)
                }
                Some(Group::Core) if header.stream == StreamId::CONTROL => {
                    self.handle_core(now, header, &payload)
                }
                _ => Err(PeerMisbehaved::UnexpectedFrame(kind).into()),
            },
        }
    }

    /// A frame that carries a message or a fragment of one.
    #[inline]
    fn handle_message(
        &mut self,
        now: Instant,
        header: &Header,
        extensions: Extensions,
        payload: Bytes,
    ) -> Result<(), PeerMisbehaved> {
        let id = header.stream;
        let index = match self.traffic.streams.find(id) {
            Some(index) => index,
            None if id.is_lane() => self.lane(id),
            None => return Err(PeerMisbehaved::UnknownStream(id)),
        };
        self.check_place(header)?;
        let cost = header.frame_len() as u64;
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return Err(PeerMisbehaved::UnknownStream(id));
        };
        match id.class() {
            Class::Critical => {
                if header.length > Limits::MAX_CRITICAL_BYTES || header.flags.contains(Flags::MORE) {
                    return Err(PeerMisbehaved::TooMuchCritical);
                }
                // The whole frame counts, so that empty messages are not free here either.
                self.guard.critical(cost as u32, &self.config.budgets)?;
            }
            Class::Bulk => {}
            Class::System | Class::Job | Class::Data => {
                if !stream.recv.window.receive(cost) {
                    return Err(PeerMisbehaved::StreamCredit(id));
                }
                if !self.recv_window.receive(cost) {
                    return Err(PeerMisbehaved::ConnectionCredit);
                }
            }
        }
        if stream.recv.done {
            return Err(PeerMisbehaved::AfterEnd(id));
        }
        let ends = header.flags.contains(Flags::EOS);
        if matches!(stream.reset, Reset::Ours(_)) {
            // Sent before the peer saw our RESET: counted, so that both sides agree, and dropped.
            stream.recv.done |= ends;
            self.note_credit(index);
            return Ok(());
        }
        if header.flags.contains(Flags::MORE) || stream.recv.partial.is_some() {
            if let Some((extensions, payload)) = self.reassemble(index, header, extensions, payload)? {
                self.deliver(now, index, header, extensions, payload)?;
            }
        } else {
            self.deliver(now, index, header, extensions, payload)?;
        }
        if ends {
            self.handle_end(index);
        }
        self.note_credit(index);
        Ok(())
    }

    /// Whether this kind may come on this stream.
    #[inline]
    fn check_place(&self, header: &Header) -> Result<(), PeerMisbehaved> {
        let (id, kind) = (header.stream, header.kind);
        let opener = id.opener();
        let right = match kind {
            Kind::REQUEST | Kind::NOTIFY => id.is_lane() && opener != Some(self.side),
            Kind::RESPONSE => id.is_lane() && opener != Some(self.side.peer()),
            Kind::DATA => !id.is_lane(),
            // Kinds of other groups are messages of a stream, or notifications on the peer's lane.
            _ => !id.is_lane() || opener != Some(self.side),
        };
        if !right || (id.is_lane() && header.flags.contains(Flags::EOS)) {
            return Err(PeerMisbehaved::UnexpectedFrame(kind));
        }
        Ok(())
    }

    /// Adds a fragment; gives the message when it is the last.
    fn reassemble(
        &mut self,
        index: u32,
        header: &Header,
        extensions: Extensions,
        payload: Bytes,
    ) -> Result<Option<(Extensions, Bytes)>, PeerMisbehaved> {
        let more = header.flags.contains(Flags::MORE);
        if more && header.length < Budgets::MIN_FRAGMENT_BYTES {
            if header.length == 0 {
                return Err(PeerMisbehaved::TinyFragments);
            }
            self.guard.tiny_fragment(&self.config.budgets)?;
        }
        let limits = &self.config.limits;
        let traffic = &mut *self.traffic;
        let Some(stream) = traffic.streams.at_mut(index) else {
            return Ok(None);
        };
        let held = stream
            .recv
            .partial
            .as_ref()
            .map_or(0, |partial| partial.bytes.len());
        if held + payload.len() > limits.max_message as usize {
            return Err(PeerMisbehaved::MessageSize {
                stream: header.stream,
                max: limits.max_message,
            });
        }
        let Some(mut partial) = stream.recv.partial.take() else {
            traffic.reassembly += payload.len() as u64;
            stream.recv.partial = Some(Box::new(Partial {
                kind: header.kind,
                correlation: header.correlation,
                extensions,
                bytes: traffic.arena.begin(&payload),
            }));
            return if traffic.reassembly > u64::from(limits.reassembly_max) {
                Err(PeerMisbehaved::Reassembly)
            } else {
                Ok(None)
            };
        };
        if partial.kind != header.kind || partial.correlation != header.correlation || !extensions.is_empty()
        {
            traffic.reassembly -= held as u64;
            return Err(PeerMisbehaved::FragmentMixed(header.stream));
        }
        if more {
            traffic.reassembly += payload.len() as u64;
            partial.bytes.extend_from_slice(&payload);
            stream.recv.partial = Some(partial);
            return if traffic.reassembly > u64::from(limits.reassembly_max) {
                Err(PeerMisbehaved::Reassembly)
            } else {
                Ok(None)
            };
        }
        traffic.reassembly -= held as u64;
        let whole = traffic.arena.finish(partial.bytes, &payload);
        Ok(Some((partial.extensions, whole)))
    }

    fn handle_credit(&mut self, payload: &[u8]) -> Result<(), PeerMisbehaved> {
        self.guard.credit(&self.config.budgets)?;
        let malformed = PeerMisbehaved::Malformed(Kind::CREDIT);
        for credit in Credit::decode_all(payload).ok_or(malformed)? {
            match credit {
                Credit::Connection(limit) => {
                    let rose = self.send_credit.raise(limit);
                    if rose.map_err(|()| PeerMisbehaved::CreditValue(StreamId::CONTROL))? {
                        self.unpark();
                    }
                }
                Credit::Streams(limit) => {
                    if limit > crate::flow::LIMIT_MAX {
                        return Err(PeerMisbehaved::CreditValue(StreamId::CONTROL));
                    }
                    if limit > self.opened.limit {
                        self.opened.limit = limit;
                        self.say_capacity();
                    }
                }
                Credit::Stream(id, limit) => {
                    // A stream that is over here may still be credited by a peer that has not heard.
                    let Some(index) = self.traffic.streams.find(id) else {
                        continue;
                    };
                    let Some(stream) = self.traffic.streams.at_mut(index) else {
                        continue;
                    };
                    if !stream.has_credit() {
                        return Err(PeerMisbehaved::CreditValue(id));
                    }
                    if stream
                        .send
                        .credit
                        .raise(limit)
                        .map_err(|()| PeerMisbehaved::CreditValue(id))?
                    {
                        self.schedule(index);
                    }
                }
            }
        }
        Ok(())
    }

    fn handle_open(
        &mut self,
        now: Instant,
        header: &Header,
        extensions: Extensions,
        payload: Bytes,
    ) -> Result<(), PeerMisbehaved> {
        let id = header.stream;
        if id.is_lane() || id.opener() != Some(self.side.peer()) || self.traffic.streams.contains(id) {
            return Err(PeerMisbehaved::StreamId(id));
        }
        if header.flags.contains(Flags::MORE) || payload.len() > OPEN_PAYLOAD_MAX {
            return Err(PeerMisbehaved::Malformed(Kind::OPEN));
        }
        if self.accepted.opened >= self.accepted.limit {
            return Err(PeerMisbehaved::StreamCount);
        }
        self.accepted.opened += 1;
        self.accept(now, header, extensions, payload);
        Ok(())
    }

    fn handle_stream_close(&mut self, header: &Header, payload: &[u8]) -> Result<(), PeerMisbehaved> {
        let id = header.stream;
        if !payload.is_empty() || id.is_lane() {
            return Err(PeerMisbehaved::Malformed(Kind::STREAM_CLOSE));
        }
        let index = self
            .traffic
            .streams
            .find(id)
            .ok_or(PeerMisbehaved::UnknownStream(id))?;
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return Ok(());
        };
        if stream.recv.done {
            return Err(PeerMisbehaved::AfterEnd(id));
        }
        if stream.recv.partial.is_some() {
            return Err(PeerMisbehaved::FragmentMixed(id));
        }
        if matches!(stream.reset, Reset::Ours(_)) {
            stream.recv.done = true;
            return Ok(());
        }
        self.handle_end(index);
        Ok(())
    }

    fn handle_reset(&mut self, header: &Header, payload: &[u8]) -> Result<(), PeerMisbehaved> {
        let malformed = PeerMisbehaved::Malformed(Kind::RESET);
        if header.correlation != 0 {
            let failure = decode_failure(payload).ok_or(malformed)?;
            return self.handle_exchange_reset(header, failure);
        }
        self.guard.cancel(&self.config.budgets)?;
        let id = header.stream;
        if id.is_lane() {
            return Err(PeerMisbehaved::UnexpectedFrame(Kind::RESET));
        }
        let (final_offset, failure) = decode_reset(payload).ok_or(malformed)?;
        let Some(index) = self.traffic.streams.find(id) else {
            // The opener may reset what has just ended here; its id is its own until it hears so.
            return if id.opener() == Some(self.side.peer()) {
                Ok(())
            } else {
                Err(PeerMisbehaved::UnknownStream(id))
            };
        };
        self.check_final_offset(index, final_offset)?;
        self.reset_by_peer(index, failure);
        self.check_control_bound()
    }

    fn handle_stream_ack(&mut self, header: &Header, payload: &[u8]) -> Result<(), PeerMisbehaved> {
        let id = header.stream;
        let final_offset = decode_u64(payload).ok_or(PeerMisbehaved::Malformed(Kind::STREAM_ACK))?;
        let index = self
            .traffic
            .streams
            .find(id)
            .ok_or(PeerMisbehaved::UnknownStream(id))?;
        if id.is_lane() {
            return Err(PeerMisbehaved::UnexpectedFrame(Kind::STREAM_ACK));
        }
        self.check_final_offset(index, final_offset)?;
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return Ok(());
        };
        match &stream.reset {
            Reset::Ours(failure) => stream.reset = Reset::Over(failure.clone()),
            Reset::No if stream.is_finished() && !stream.theirs => stream.acked = true,
            _ => return Err(PeerMisbehaved::UnexpectedFrame(Kind::STREAM_ACK)),
        }
        self.check_over(index);
        Ok(())
    }

    /// Both sides must agree on how many bytes a stream carried, or credit would leak.
    fn check_final_offset(&self, index: u32, final_offset: u64) -> Result<(), PeerMisbehaved> {
        match self.traffic.streams.at(index) {
            Some(stream) if stream.has_credit() && stream.recv.window.received != final_offset => {
                Err(PeerMisbehaved::FinalOffset(stream.id))
            }
            _ => Ok(()),
        }
    }

    /// Answers that the peer causes must not pile up while it does not read.
    pub(super) fn check_control_bound(&self) -> Result<(), PeerMisbehaved> {
        if self.control_answers > CONTROL_QUEUE_MAX + self.traffic.streams.len() {
            Err(PeerMisbehaved::TooManyControls)
        } else {
            Ok(())
        }
    }

    /// Tells the owner that a refused call or open may now work.
    pub(super) fn say_capacity(&mut self) {
        if core::mem::take(&mut self.wants_stream) | core::mem::take(&mut self.wants_exchange) {
            self.events.push_back(Event::Capacity);
        }
    }
}

#[inline]
fn peek(input: &[u8]) -> Result<Option<Header>, SessionError> {
    Header::peek(input).map_err(|error| SessionError::Decode(error.into()))
}

/// What a stranger may send before the opening is done, header included.
//= protocol/session.md#opening
pub(super) const OPENING_BYTES_MAX: usize = 4096;

/// The payload that an OPEN may carry.
pub(super) const OPEN_PAYLOAD_MAX: usize = 4096;

/// Control frames caused by the peer that may wait for the wire, beside one for each stream. What
/// this side's own commands cause is bounded by its exchanges and streams.
pub(super) const CONTROL_QUEUE_MAX: usize = 1024;
