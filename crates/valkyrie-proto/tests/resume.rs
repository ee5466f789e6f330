//! Each rule of `docs/protocol/resume.md` once, played by hand.

mod hostile;
mod linked;

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use hostile::{Victim, frame, hello_of, settings};
use linked::{KEY, Linked, config, note};
use valkyrie_frame::Flags;
use valkyrie_proto::{
    CallError, Class, CloseReason, Config, Counts, ErrorCode, Event, Extensions, Failure, Inbox, Kind,
    Limits, Message, PeerMisbehaved, Resume, ResumeError, SessionError, SettingsError, Side,
};

/// The payload of RESUME_ACK.
fn counts(counts: [u64; 5]) -> Vec<u8> {
    counts.iter().flat_map(|count| count.to_be_bytes()).collect()
}

fn ack(received: [u64; 5]) -> Vec<u8> {
    frame(Kind::RESUME_ACK, 0, Flags::ACK, 0, &counts(received))
}

/// Settings of a side that keeps its session for a minute.
fn resumable() -> Vec<(u16, Vec<u8>)> {
    let mut list = settings();
    list.push((13, 60_000_u32.to_be_bytes().to_vec()));
    list.push((14, (1_u32 << 20).to_be_bytes().to_vec()));
    list
}

fn key() -> (u16, Vec<u8>) {
    (15, [&KEY.session[..], &KEY.secret].concat())
}

/// A dialler that an attacker has answered with a resume_key.
fn dialler() -> Victim {
    let mut victim = Victim::of(Side::Dialer, config());
    let mut list = resumable();
    list.push(key());
    victim.send(hello_of(Kind::HELLO_ACK, &list)).expect("good");
    victim.poll();
    assert!(victim.session.is_resumable());
    victim.out.clear();
    victim
}

#[test]
fn settings_of_a_resume_that_cannot_be_are_refused() {
    let length = |id, found| SessionError::Settings(SettingsError::Length { id, found });
    let value = |id| SessionError::Settings(SettingsError::Value(id));
    let mut few = resumable();
    few.retain(|(id, _)| *id != 14);
    let mut small = few.clone();
    small.push((14, 65_535_u32.to_be_bytes().to_vec()));
    let with = |id: u16, bytes: Vec<u8>| {
        let mut list = resumable();
        list.push((id, bytes));
        list
    };
    for (list, error) in [
        (few, value(14)),
        (small, value(14)),
        (with(15, vec![0; 47]), length(15, 47)),
        (with(16, vec![b'a'; 1025]), length(16, 1025)),
        (with(16, vec![0xFF]), value(16)),
        (with(17, vec![0; 15]), length(17, 15)),
    ] {
        let mut victim = Victim::of(Side::Dialer, config());
        victim.poll();
        assert!(victim.send(hello_of(Kind::HELLO_ACK, &list)).is_err());
        victim.assert_ended(&error, ErrorCode::PROTOCOL);
    }
}

#[test]
fn a_key_from_the_dialler_is_a_fault() {
    let mut list = resumable();
    list.push(key());
    let mut victim = Victim::silent(config());
    assert!(victim.send(hello_of(Kind::HELLO, &list)).is_err());
    victim.assert_blames(PeerMisbehaved::Malformed(Kind::HELLO));
}

#[test]
fn what_one_side_does_not_want_is_not_agreed() {
    for (dialer, acceptor) in [(config(), Config::default()), (Config::default(), config())] {
        let mut linked = Linked::open(dialer, acceptor, 1);
        for side in [Side::Dialer, Side::Acceptor] {
            assert!(!linked.end(side).session.is_resumable());
            linked.lose(side);
            let reason = linked.end(side).session.close_reason().cloned();
            assert_eq!(reason, Some(CloseReason::LinkLost));
        }
    }
}

#[test]
fn counts_above_what_was_sent_or_below_an_earlier_one_are_a_fault() {
    let mut victim = dialler();
    // One frame has been sent: the one that means nothing.
    victim.send(ack([1, 0, 0, 0, 0])).expect("it has come");
    assert!(victim.send(ack([0, 0, 0, 0, 0])).is_err());
    victim.assert_blames(PeerMisbehaved::Counts);
    assert_eq!(PeerMisbehaved::Counts.code(), ErrorCode::PROTOCOL);
    for class in 0..5 {
        let mut victim = dialler();
        let mut received = [1, 0, 0, 0, 0];
        received[class] += 1;
        assert!(victim.send(ack(received)).is_err());
        victim.assert_blames(PeerMisbehaved::Counts);
    }
    let mut victim = dialler();
    assert!(victim.send(ack([u64::MAX; 5])).is_err());
    victim.assert_blames(PeerMisbehaved::Counts);
}

#[test]
fn frames_of_a_resume_come_where_they_may() {
    let resume = frame(Kind::RESUME, 0, Flags::NONE, 0, &[0; Resume::LEN]);
    let mut victim = dialler();
    assert!(victim.send(&resume).is_err());
    victim.assert_blames(PeerMisbehaved::UnexpectedFrame(Kind::RESUME));
    let mut victim = Victim::open(Config::default());
    assert!(victim.send(ack([0; 5])).is_err());
    victim.assert_blames(PeerMisbehaved::UnexpectedFrame(Kind::RESUME_ACK));
    let mut victim = dialler();
    let short = frame(Kind::RESUME_ACK, 0, Flags::ACK, 0, &[0; 39]);
    assert!(victim.send(short).is_err());
    victim.assert_blames(PeerMisbehaved::Malformed(Kind::RESUME_ACK));
    let mut victim = Victim::silent(config());
    let short = frame(Kind::RESUME, 0, Flags::NONE, 0, &[0; Resume::LEN - 1]);
    assert!(victim.send(short).is_err());
    victim.assert_blames(PeerMisbehaved::Malformed(Kind::RESUME));
    let mut victim = Victim::of(Side::Dialer, config());
    victim.poll();
    assert!(victim.send(&resume).is_err());
    victim.assert_blames(PeerMisbehaved::NoHello(Kind::RESUME));
}

#[test]
fn what_has_not_been_sent_again_cannot_have_come() {
    let mut linked = Linked::open(config(), config(), 1);
    for number in 0..3 {
        let _ = linked
            .dialer
            .session
            .notify(linked.now, Class::Job, None, note(number));
    }
    linked.write(Side::Dialer);
    linked.lose(Side::Dialer);
    linked.dial(1);
    let now = linked.now;
    let (_, sent) = linked.dialer.session.counts().expect("it counts");
    let mut before = sent.0;
    before[Class::Job.index()] = 0;
    let mut answer = bytes::BytesMut::new();
    answer.put_slice(&ack(before));
    answer.put_slice(&ack(sent.0));
    let lie = linked.dialer.session.handle_input(now, &mut answer);
    assert_eq!(lie, Err(SessionError::PeerMisbehaved(PeerMisbehaved::Counts)));
}

#[test]
fn only_the_answer_may_come_first_on_a_new_link() {
    let resume = |victim: &mut Victim| {
        let resume = Resume::new(KEY.session, 1, [0; 32]);
        victim.session.handle_link_lost(victim.now);
        let begun = victim.session.begin_resume(victim.now, resume, 1);
        begun.expect("it is open");
        victim.poll();
    };
    for bad in [
        hostile::ping(1),
        hello_of(Kind::HELLO_ACK, &settings()),
        frame(Kind::RESUME_ACK, 0, Flags::ACK, 0, &[0; 5000]),
    ] {
        let mut victim = dialler();
        resume(&mut victim);
        let kind = Kind::from_byte(bad[3]);
        assert!(victim.send(bad).is_err());
        victim.assert_blames(PeerMisbehaved::NoHello(kind));
    }
    let refusal = |code: ErrorCode| {
        let mut payload = code.value().to_be_bytes().to_vec();
        payload.put_u32(0);
        frame(Kind::ERROR, 0, Flags::NONE, 0, &payload)
    };
    let mut victim = dialler();
    resume(&mut victim);
    victim.send(refusal(ErrorCode::RESUME_REFUSED)).expect("no fault");
    assert_eq!(victim.session.close_reason(), Some(&CloseReason::LinkLost));
    let mut victim = dialler();
    resume(&mut victim);
    victim.send(refusal(ErrorCode::INTERNAL)).expect("no fault");
    assert!(matches!(
        victim.session.close_reason(),
        Some(CloseReason::Refused(failure)) if failure.code == ErrorCode::INTERNAL
    ));
}

#[test]
fn a_place_that_refuses_a_session_which_was_well_elsewhere_does_not_end_it() {
    let mut victim = dialler();
    let resume = |epoch| Resume::new(KEY.session, epoch, [0; 32]);
    let refused = || {
        let mut payload = ErrorCode::RESUME_REFUSED.value().to_be_bytes().to_vec();
        payload.put_u32(0);
        frame(Kind::ERROR, 0, Flags::NONE, 0, &payload)
    };
    victim
        .session
        .begin_resume(victim.now, resume(1), 1)
        .expect("it is open");
    victim.poll();
    victim.send(refused()).expect("no fault");
    assert!(victim.session.is_detached() && !victim.session.is_resuming());
    // Where it was it is known; a refusal there is the end.
    victim
        .session
        .begin_resume(victim.now, resume(2), 1)
        .expect("it is kept");
    victim.poll();
    victim.send(refused()).expect("no fault");
    assert_eq!(victim.session.close_reason(), Some(&CloseReason::LinkLost));
}

#[test]
fn a_break_before_the_opening_ends_the_session() {
    for side in [Side::Dialer, Side::Acceptor] {
        let mut victim = Victim::of(side, config());
        victim.session.handle_link_lost(victim.now);
        assert_eq!(victim.session.close_reason(), Some(&CloseReason::LinkLost));
    }
}

#[test]
fn a_message_that_broke_anywhere_comes_once_and_whole() {
    let payload: Bytes = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
    for cut in (0..210_000).step_by(7_001) {
        let mut linked = Linked::open(config(), config(), 1);
        let now = linked.now;
        let dialer = &mut linked.dialer.session;
        let stream = dialer
            .open(now, Class::Job, None, Extensions::EMPTY, Bytes::new(), None)
            .expect("there is room");
        dialer.send(stream, Message::data(payload.clone())).expect("room");
        linked.write(Side::Dialer);
        linked.arrive(Side::Acceptor, 0, cut).expect("good");
        linked.lose(Side::Acceptor);
        linked.lose(Side::Dialer);
        linked.resume(if cut % 2 == 0 { 1 } else { 5 });
        let far = linked.acceptor.events.iter().find_map(|event| match event {
            Event::Opened(opened) => Some(opened.key),
            _ => None,
        });
        assert_eq!(
            linked.acceptor.count(|event| matches!(event, Event::Opened(_))),
            1
        );
        let mut inbox = Inbox::new();
        let read = linked
            .acceptor
            .session
            .recv(far.expect("it was opened"), &mut inbox);
        assert_eq!(read, Ok(false));
        assert_eq!(inbox.pop_front().expect("it has come").payload, payload);
        assert!(inbox.is_empty());
    }
}

#[test]
fn attempts_that_come_to_nothing_lose_nothing() {
    let mut linked = Linked::open(config(), config(), 1);
    let now = linked.now;
    let mut number = 0;
    let mut say = |linked: &mut Linked| {
        for side in [Side::Dialer, Side::Acceptor] {
            let said = linked
                .end(side)
                .session
                .notify(now, Class::System, None, note(number));
            said.expect("room");
        }
        number += 1;
    };
    say(&mut linked);
    linked.write(Side::Dialer);
    linked.write(Side::Acceptor);
    linked.lose(Side::Dialer);
    // RESUME gets lost.
    say(&mut linked);
    linked.dial(1);
    linked.lose(Side::Dialer);
    // RESUME_ACK and all behind it get lost.
    say(&mut linked);
    linked.dial(5);
    let resume = linked.receive_resume();
    linked.accept(&resume).expect("right");
    linked.write(Side::Acceptor);
    linked.lose(Side::Dialer);
    // The acceptor takes the third for the same session while it has the second link.
    say(&mut linked);
    linked.resume(1);
    // The dialler leaves a link that works.
    say(&mut linked);
    linked.write(Side::Dialer);
    linked.resume(5);
    for side in [Side::Dialer, Side::Acceptor] {
        let heard = linked.end(side).heard();
        let expected: Vec<_> = (0..5).map(|number| note(number).payload).collect();
        assert_eq!(heard, expected);
    }
    assert_eq!(linked.dialer.session.resumes(), 2);
    assert_eq!(linked.acceptor.session.resumes(), 3);
    let (received, sent) = linked.dialer.session.counts().expect("counted");
    let theirs = linked.acceptor.session.counts();
    assert_eq!(theirs, Some((sent, received)));
}

#[test]
fn impossible_counts_in_a_resume_leave_the_session_as_it_was() {
    let mut linked = Linked::open(config(), config(), 1);
    let mut resume = Resume::new(KEY.session, 1, [0; 32]);
    resume.received = Counts([2, 0, 0, 0, 0]);
    assert_eq!(linked.accept(&resume), Err(ResumeError::Counts));
    let now = linked.now;
    let said = linked.acceptor.session.notify(now, Class::Data, None, note(4));
    said.expect("room");
    linked.talk();
    assert_eq!(linked.dialer.heard().len(), 1, "on the old link");
    assert_eq!(linked.acceptor.session.resumes(), 0);
    let mut other = Linked::open(Config::default(), config(), 1);
    assert_eq!(other.accept(&resume), Err(ResumeError::NotOffered));
    other.lose(Side::Acceptor);
    assert_eq!(other.accept(&resume), Err(ResumeError::NotOpen));
}

#[test]
fn a_full_sender_waits_for_acknowledgements() {
    let mut small = config();
    small.limits.resume_bytes = Limits::MIN_RESUME_BYTES;
    let mut linked = Linked::open(small, config(), 1);
    let now = linked.now;
    for _ in 0..20 {
        let big = Message::data(Bytes::from(vec![1; 10_000]));
        let said = linked.dialer.session.notify(now, Class::Data, None, big);
        said.expect("room");
    }
    linked.write(Side::Dialer);
    let written = linked.dialer.wire[0].len();
    assert!((65_536..100_000).contains(&written), "{written}");
    // What is not counted goes all the same.
    linked.dialer.session.ping(now, 5).expect("open");
    assert!(linked.write(Side::Dialer));
    linked
        .arrive(Side::Acceptor, 0, usize::MAX)
        .expect("within the rules");
    linked.talk();
    assert_eq!(linked.acceptor.heard().len(), 20);
    assert_eq!(
        linked.dialer.count(|event| matches!(event, Event::Pong { .. })),
        1
    );
}

#[test]
fn a_drain_waits_for_room_and_its_ping_behind_it() {
    let mut small = config();
    small.limits.resume_bytes = Limits::MIN_RESUME_BYTES;
    let mut linked = Linked::open(small, config(), 1);
    let now = linked.now;
    for _ in 0..7 {
        let big = Message::data(Bytes::from(vec![1; 10_000]));
        let said = linked.dialer.session.notify(now, Class::Data, None, big);
        said.expect("room");
    }
    linked.write(Side::Dialer);
    linked.dialer.session.drain(now, 1);
    assert!(!linked.write(Side::Dialer), "and nothing is wanted");
    linked
        .arrive(Side::Acceptor, 0, usize::MAX)
        .expect("within the rules");
    linked.talk();
    assert_eq!(
        linked
            .acceptor
            .count(|event| matches!(event, Event::Draining { .. })),
        1
    );
}

#[test]
fn a_drain_and_its_ping_live_through_a_break() {
    let mut linked = Linked::open(config(), config(), 1);
    let now = linked.now;
    let call = linked
        .dialer
        .session
        .call(now, Class::Job, None, note(1), None)
        .expect("room");
    linked.talk();
    let id = linked.acceptor.events.iter().find_map(|event| match event {
        Event::Incoming(incoming) => incoming.id,
        _ => None,
    });
    linked.acceptor.session.drain(now, 100);
    linked.write(Side::Acceptor);
    linked.lose(Side::Acceptor);
    linked.lose(Side::Dialer);
    let answered = linked
        .acceptor
        .session
        .respond(now, id.expect("asked"), Ok(note(2)));
    answered.expect("owed");
    assert!(
        linked.acceptor.session.is_open(),
        "the answer has not gone: no drain ends here"
    );
    linked.dial(1);
    let resume = linked.receive_resume();
    linked.accept(&resume).expect("right");
    linked.talk();
    let answer = linked.dialer.session.take_response(call);
    assert_eq!(answer.expect("it came").expect("well").payload, note(2).payload);
    assert!(matches!(
        linked.dialer.session.close_reason(),
        Some(CloseReason::Peer(_))
    ));
}

#[test]
fn nothing_is_closed_in_front_of_what_goes_again() {
    let mut linked = Linked::open(config(), config(), 1);
    let now = linked.now;
    let mut calls = Vec::new();
    for side in [Side::Dialer, Side::Acceptor] {
        let call = linked
            .end(side)
            .session
            .call(now, Class::Job, None, note(1), None);
        calls.push(call.expect("room"));
    }
    linked.talk();
    linked.acceptor.session.drain(now, 100);
    linked.talk();
    for side in [Side::Acceptor, Side::Dialer] {
        let end = linked.end(side);
        let id = end.events.iter().find_map(|event| match event {
            Event::Incoming(incoming) => incoming.id,
            _ => None,
        });
        let answered = end.session.respond(now, id.expect("asked"), Ok(note(2)));
        answered.expect("owed");
        linked.write(side);
    }
    linked.lose(Side::Acceptor);
    linked.lose(Side::Dialer);
    linked.dial(1);
    let resume = linked.receive_resume();
    linked.accept(&resume).expect("right");
    // RESUME_ACK alone goes, and brings the answer that the drain has waited for.
    let mut batch = valkyrie_proto::Batch::default();
    assert!(linked.acceptor.session.poll_transmit(now, &mut batch, 1));
    let bytes = batch.copy_to_bytes(batch.remaining());
    linked.acceptor.wire[0].extend_from_slice(&bytes);
    linked.arrive(Side::Dialer, 0, usize::MAX).expect("RESUME_ACK");
    linked.write(Side::Dialer);
    linked.arrive(Side::Acceptor, 0, usize::MAX).expect("the answer");
    assert!(
        linked.acceptor.session.is_open(),
        "its own answer has not gone again"
    );
    linked.talk();
    let answer = linked.dialer.session.take_response(calls[0]);
    assert_eq!(answer.expect("it came").expect("well").payload, note(2).payload);
    assert!(linked.acceptor.session.is_closed(), "drained");
}

#[test]
fn time_goes_on_without_a_link() {
    let mut linked = Linked::open(config(), config(), 1);
    let now = linked.now;
    let deadline = Some(Duration::from_secs(3));
    let call = linked
        .dialer
        .session
        .call(now, Class::Job, None, note(1), deadline);
    let call = call.expect("room");
    linked.talk();
    linked.lose(Side::Dialer);
    assert!(!linked.dialer.session.wants_transmit());
    linked.pass(Duration::from_secs(4));
    let outcome = linked.dialer.session.take_response(call);
    assert!(matches!(outcome, Some(Err(CallError::DeadlineExceeded))));
    linked.pass(Duration::from_secs(55));
    assert!(linked.dialer.session.is_open());
    linked.pass(Duration::from_secs(1));
    assert_eq!(
        linked.dialer.session.close_reason(),
        Some(&CloseReason::LinkLost),
        "given up"
    );
}

#[test]
fn an_attempt_has_a_time_and_the_session_another() {
    let mut linked = Linked::open(config(), config(), 1);
    linked.lose(Side::Dialer);
    linked.pass(Duration::from_secs(50));
    linked.dial(1);
    assert!(linked.dialer.session.is_resuming());
    linked.pass(Limits::default().handshake_timeout);
    assert!(!linked.dialer.session.is_resuming() && linked.dialer.session.is_open());
    let detached = |event: &Event| matches!(event, Event::Detached);
    assert_eq!(linked.dialer.count(detached), 2);
    linked.dialer.session.handle_link_lost(linked.now);
    assert_eq!(linked.dialer.count(detached), 2, "said once");
    linked.pass(Duration::from_secs(5));
    assert!(linked.dialer.session.is_closed(), "a minute after the break");
}

#[test]
fn silence_detaches() {
    let mut linked = Linked::open(config(), config(), 1);
    for _ in 0..40 {
        linked.pass(Duration::from_secs(1));
        linked.write(Side::Dialer);
    }
    assert!(linked.dialer.session.is_open() && linked.dialer.session.is_detached());
    linked.resume(1);
    linked.dialer.session.ping(linked.now, 3).expect("open");
    linked.talk();
    assert_eq!(
        linked
            .dialer
            .count(|event| matches!(event, Event::Pong { token: 3, .. })),
        1
    );
}

#[test]
fn each_class_has_its_lane_and_no_other() {
    let mut linked = Linked::open(config(), config(), 5);
    let now = linked.now;
    for class in Class::ALL {
        let said = linked.dialer.session.notify(now, class, None, note(1));
        said.expect("room");
    }
    linked.write(Side::Dialer);
    for lane in (0..5).rev() {
        assert!(!linked.dialer.wire[usize::from(lane)].is_empty());
        linked
            .arrive(Side::Acceptor, lane, usize::MAX)
            .expect("any order");
    }
    assert_eq!(linked.acceptor.heard().len(), 5);
    let said = linked.dialer.session.notify(now, Class::Job, None, note(2));
    said.expect("room");
    linked.write(Side::Dialer);
    let frame = linked.dialer.wire[Class::Job.index()].split();
    linked.dialer.wire[1].extend_from_slice(&frame);
    let wrong = PeerMisbehaved::WrongLane(Kind::NOTIFY);
    assert_eq!(linked.arrive(Side::Acceptor, 1, usize::MAX), Err(wrong.into()));
    assert_eq!(wrong.code(), ErrorCode::UNEXPECTED_FRAME);
}

#[test]
fn a_close_on_all_lanes_cuts_off_none() {
    let mut linked = Linked::open(config(), config(), 5);
    let now = linked.now;
    let said = linked.dialer.session.notify(now, Class::Bulk, None, note(1));
    said.expect("room");
    linked.write(Side::Dialer);
    linked
        .dialer
        .session
        .close(now, Failure::new(ErrorCode::OK, "bye"));
    linked.write(Side::Dialer);
    for lane in 0..5 {
        assert!(linked.acceptor.session.is_open());
        linked.arrive(Side::Acceptor, lane, usize::MAX).expect("in order");
    }
    assert!(matches!(
        linked.acceptor.session.close_reason(),
        Some(CloseReason::Peer(_))
    ));
    assert_eq!(linked.acceptor.heard().len(), 1);
}

#[test]
fn nothing_follows_the_close_of_a_lane_and_a_break_after_it_is_the_end() {
    let close = |linked: &mut Linked| {
        linked
            .dialer
            .session
            .close(linked.now, Failure::new(ErrorCode::OK, ""));
        linked.write(Side::Dialer);
        linked
            .arrive(Side::Acceptor, 2, usize::MAX)
            .expect("the first CLOSE");
    };
    let mut linked = Linked::open(config(), config(), 5);
    close(&mut linked);
    let more = linked.dialer.wire[3].clone();
    linked.dialer.wire[2].extend_from_slice(&more);
    let fault = PeerMisbehaved::UnexpectedFrame(Kind::CLOSE);
    assert_eq!(linked.arrive(Side::Acceptor, 2, usize::MAX), Err(fault.into()));
    let mut linked = Linked::open(config(), config(), 5);
    close(&mut linked);
    linked.lose(Side::Acceptor);
    assert_eq!(
        linked.acceptor.session.close_reason(),
        Some(&CloseReason::LinkLost)
    );
}

#[test]
fn what_overtakes_the_answer_on_another_lane_waits_for_it() {
    let mut linked = Linked::open(config(), config(), 5);
    linked.lose(Side::Dialer);
    linked.lose(Side::Acceptor);
    let now = linked.now;
    let said = linked.acceptor.session.notify(now, Class::Data, None, note(1));
    said.expect("room");
    linked.dial(5);
    let resume = linked.receive_resume();
    linked.accept(&resume).expect("right");
    linked.write(Side::Acceptor);
    linked.arrive(Side::Dialer, 3, usize::MAX).expect("early");
    assert!(linked.dialer.session.awaits_opening());
    assert_eq!(linked.dialer.heard().len(), 0);
    linked.arrive(Side::Dialer, 0, usize::MAX).expect("RESUME_ACK");
    assert!(!linked.dialer.session.awaits_opening());
    linked.arrive(Side::Dialer, 3, 0).expect("what waited");
    assert_eq!(linked.dialer.heard().len(), 1);
}

#[test]
fn counts_go_on_after_idleness() {
    let mut linked = Linked::open(config(), config(), 1);
    for number in 0..3 {
        let now = linked.now;
        let said = linked.dialer.session.notify(now, Class::Job, None, note(number));
        said.expect("room");
        linked.talk();
        linked.pass(Duration::from_secs(2));
        linked.talk();
        linked.dialer.session.shrink();
        linked.acceptor.session.shrink();
    }
    let now = linked.now;
    let said = linked.dialer.session.notify(now, Class::Job, None, note(3));
    said.expect("room");
    linked.write(Side::Dialer);
    linked.lose(Side::Dialer);
    linked.resume(1);
    assert_eq!(linked.acceptor.heard().len(), 4);
}
