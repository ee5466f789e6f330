//! Two sessions in one process: one calls, the other answers, and bytes are carried by hand.
//!
//! `cargo run -p valkyrie-proto --example two_sessions`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use valkyrie_proto::{Batch, Class, Config, Event, Message, Session, SessionError, Side};

/// Moves what one session wants to send into the other, and says how many bytes that was.
fn carry(now: Instant, from: &mut Session, to: &mut Session) -> Result<usize, SessionError> {
    let mut batch = Batch::default();
    from.poll_transmit(now, &mut batch, 64 * 1024);
    let mut bytes = BytesMut::new();
    for chunk in batch.chunks() {
        bytes.extend_from_slice(chunk);
    }
    let count = bytes.len();
    to.handle_input(now, &mut bytes)?;
    Ok(count)
}

fn main() -> Result<(), Box<dyn Error>> {
    // The session reads no clock: time is an argument.
    let now = Instant::now();
    let config = Arc::new(Config::default());
    let mut caller = Session::new(Side::Dialer, config.clone(), now);
    let mut server = Session::new(Side::Acceptor, config, now);

    // HELLO one way, HELLO_ACK the other.
    println!("opening: {} bytes", carry(now, &mut caller, &mut server)?);
    println!("answer:  {} bytes", carry(now, &mut server, &mut caller)?);

    let question = Message::data(Bytes::from_static(b"How do you do?"));
    caller.call(now, Class::Job, None, question, None)?;
    println!("request: {} bytes", carry(now, &mut caller, &mut server)?);

    while let Some(event) = server.poll_event() {
        if let Event::Incoming(incoming) = event
            && let Some(id) = incoming.id
        {
            println!("server hears {:?}", incoming.payload);
            let answer = Message::data(Bytes::from_static(b"How do you do."));
            server.respond(now, id, Ok(answer))?;
        }
    }
    println!("answer:  {} bytes", carry(now, &mut server, &mut caller)?);

    while let Some(event) = caller.poll_event() {
        if let Event::Completed(key) = event
            && let Some(outcome) = caller.take_response(key)
        {
            println!("caller hears {:?}", outcome?.payload);
        }
    }
    Ok(())
}
