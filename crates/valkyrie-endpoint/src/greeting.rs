//! What happens on a link before its session: the handshake's machine of either side, run over the link.
//!
//! It ends with a peer that is known or with an error, within the time that the machine allows. Nothing here decides
//! anything, and nothing of a session has happened when it fails.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use valkyrie_security::UnixTime;
use valkyrie_security::handshake::{AcceptorHandshake, DiallerHandshake, Established, HandshakeError};
use valkyrie_transport::{Lane, Link};

use crate::{clock, worker};

/// The machine of one side.
pub(crate) trait Machine: Send {
    fn handle_input(
        &mut self,
        now: Instant,
        unix: UnixTime,
        input: &mut BytesMut,
    ) -> Result<(), HandshakeError>;
    fn handle_eof(&mut self) -> Result<(), HandshakeError>;
    fn poll_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError>;
    fn poll_transmit(&mut self, out: &mut BytesMut);
    fn established(&mut self) -> Option<Established>;
}

/// Shakes hands. Gives what was agreed, and what the peer has sent behind it already.
///
/// # Errors
/// [`HandshakeError`]; the link is to be closed, see [`say_last`].
pub(crate) async fn greet(
    link: &mut dyn Link,
    machine: &mut dyn Machine,
) -> Result<(Established, BytesMut), HandshakeError> {
    let Some(deadline) = machine.poll_timeout() else {
        return Err(HandshakeError::Over);
    };
    match tokio::time::timeout_at(deadline.into(), exchange(link, machine)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            machine.handle_timeout(clock::now())?;
            Err(HandshakeError::TimedOut)
        }
    }
}

/// Writes and reads by turns until the machine is done. Neither side of a handshake speaks while the other does, so
/// nobody waits for room that only reading would make.
async fn exchange(
    link: &mut dyn Link,
    machine: &mut dyn Machine,
) -> Result<(Established, BytesMut), HandshakeError> {
    let mut input = BytesMut::new();
    let mut out = BytesMut::new();
    loop {
        machine.poll_transmit(&mut out);
        while !out.is_empty() {
            match poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(&out)])).await {
                Ok(written @ 1..) => out.advance(written),
                Ok(0) | Err(_) => return Err(HandshakeError::LinkLost),
            }
        }
        if let Some(established) = machine.established() {
            return Ok((established, input));
        }
        match read(link, &mut input).await {
            Ok(1..) => machine.handle_input(clock::now(), clock::unix_now(), &mut input)?,
            Ok(0) | Err(_) => machine.handle_eof()?,
        }
    }
}

/// Reads once, through the thread's buffer: a peer that has proved nothing holds here what it has sent, and no more.
async fn read(link: &mut dyn Link, input: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut arrived = worker::take_ciphertext();
        let read = link.poll_read(cx, Lane::FIRST, &mut arrived);
        input.extend_from_slice(&arrived);
        worker::put_ciphertext(arrived);
        read
    })
    .await
}

/// Tells the peer why its handshake came to nothing, and ends the link so that it can hear that: a socket that is
/// closed with unread bytes in it would throw our last words away.
pub(crate) async fn say_last(link: &mut dyn Link, machine: &mut dyn Machine) {
    let mut out = BytesMut::new();
    machine.poll_transmit(&mut out);
    if out.is_empty() {
        return;
    }
    let last = async {
        while !out.is_empty() {
            match poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(&out)])).await {
                Ok(written @ 1..) => out.advance(written),
                Ok(0) | Err(_) => return,
            }
        }
        if poll_fn(|cx| link.poll_close(cx)).await.is_err() {
            return;
        }
        let mut heard = 0;
        while heard < UNHEARD_BYTES_MAX {
            let mut unheard = BytesMut::new();
            match read(link, &mut unheard).await {
                Ok(bytes @ 1..) => heard += bytes,
                Ok(0) | Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, last).await;
}

impl Machine for DiallerHandshake {
    fn handle_input(
        &mut self,
        now: Instant,
        unix: UnixTime,
        input: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        DiallerHandshake::handle_input(self, now, unix, input)
    }

    fn handle_eof(&mut self) -> Result<(), HandshakeError> {
        DiallerHandshake::handle_eof(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        DiallerHandshake::poll_timeout(self)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        DiallerHandshake::handle_timeout(self, now)
    }

    fn poll_transmit(&mut self, out: &mut BytesMut) {
        DiallerHandshake::poll_transmit(self, out);
    }

    fn established(&mut self) -> Option<Established> {
        DiallerHandshake::established(self)
    }
}

impl Machine for AcceptorHandshake {
    fn handle_input(
        &mut self,
        now: Instant,
        unix: UnixTime,
        input: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        AcceptorHandshake::handle_input(self, now, unix, input)
    }

    fn handle_eof(&mut self) -> Result<(), HandshakeError> {
        AcceptorHandshake::handle_eof(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        AcceptorHandshake::poll_timeout(self)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        AcceptorHandshake::handle_timeout(self, now)
    }

    fn poll_transmit(&mut self, out: &mut BytesMut) {
        AcceptorHandshake::poll_transmit(self, out);
    }

    fn established(&mut self) -> Option<Established> {
        AcceptorHandshake::established(self)
    }
}

/// How long a peer that was refused may take to hang up.
const LINGER: Duration = Duration::from_secs(1);

/// What such a peer may still send before it is hung up on.
const UNHEARD_BYTES_MAX: usize = 256 * 1024;
