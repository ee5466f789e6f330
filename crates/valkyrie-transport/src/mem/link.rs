//! One end of a memory link: a pipe in each direction for every lane.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::pipe::Pipe;
use crate::{Capabilities, Lane, Link, Locator};

#[derive(Debug)]
pub(super) struct MemLink {
    incoming: Arc<[Pipe]>,
    outgoing: Arc<[Pipe]>,
    locator: Locator,
}

/// Two ends of one link.
pub(super) fn pair(locator: &Locator, lanes: u8, pipe_bytes: usize) -> (MemLink, MemLink) {
    let pipes = || (0..lanes).map(|_| Pipe::new(pipe_bytes)).collect::<Arc<[Pipe]>>();
    let (there, back) = (pipes(), pipes());
    let dialled = MemLink {
        incoming: Arc::clone(&back),
        outgoing: Arc::clone(&there),
        locator: locator.clone(),
    };
    let accepted = MemLink {
        incoming: there,
        outgoing: back,
        locator: locator.clone(),
    };
    (dialled, accepted)
}

impl MemLink {
    fn lanes(&self) -> u8 {
        // `pair` made as many pipes as a u8 counts.
        self.outgoing.len() as u8
    }
}

impl Link for MemLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
            .with_lanes(self.lanes())
            .with_vectored(true)
            .with_local(true)
    }

    fn peer(&self) -> String {
        format!("mem {}", self.locator.rest())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(self.lanes())?;
        self.incoming[usize::from(lane.0)].poll_read(cx, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lane.check(self.lanes())?;
        self.outgoing[usize::from(lane.0)].poll_write(cx, bufs)
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is with the reader's pipe already, so there is nothing to flush.
        self.outgoing.iter().for_each(Pipe::finish);
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemLink {
    fn drop(&mut self) {
        self.outgoing.iter().for_each(Pipe::writer_dropped);
        self.incoming.iter().for_each(Pipe::reader_dropped);
    }
}
