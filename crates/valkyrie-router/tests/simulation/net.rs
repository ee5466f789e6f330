//! A network within the process that can be cut between any two places, and whose links can be broken.
//!
//! What is cut is silent, as a network is: what was written before arrives, nothing else does, and nobody is told. A dial across a cut
//! hangs and then times out. Time is virtual (`start_paused(true)`).

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport::{BoxFuture, Capabilities, Lane, Link, Listener, Locator, Transport, TransportError};

/// A node, a client beside it, or the registry.
pub(crate) type Place = usize;

#[derive(Default)]
pub(crate) struct Net {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cuts: HashSet<(Place, Place)>,
    links: Vec<(Place, Place, Weak<Wire>)>,
}

/// What both the net and a link know of the link.
#[derive(Default)]
struct Wire {
    state: Mutex<(bool, Vec<Waker>)>,
}

impl Wire {
    fn wake(&self, breaks: bool) {
        let mut state = self.state.lock().unwrap();
        state.0 |= breaks;
        state.1.drain(..).for_each(Waker::wake);
    }
}

fn pair(a: Place, b: Place) -> (Place, Place) {
    (a.min(b), a.max(b))
}

impl Net {
    pub(crate) fn is_cut(&self, a: Place, b: Place) -> bool {
        self.state.lock().unwrap().cuts.contains(&pair(a, b))
    }

    /// Cuts some places off from all others, or takes that back.
    pub(crate) fn cut(&self, some: &[Place], all: usize, is_cut: bool) {
        let mut state = self.state.lock().unwrap();
        for &one in some {
            for other in (0..all).filter(|other| !some.contains(other)) {
                match is_cut {
                    true => state.cuts.insert(pair(one, other)),
                    false => state.cuts.remove(&pair(one, other)),
                };
            }
        }
        state.links.retain(|(_, _, wire)| wire.strong_count() > 0);
        let wires: Vec<_> = state
            .links
            .iter()
            .filter_map(|(_, _, wire)| wire.upgrade())
            .collect();
        drop(state);
        wires.iter().for_each(|wire| wire.wake(false));
    }

    /// Breaks every link of a place.
    pub(crate) fn break_links(&self, place: Place) {
        let state = self.state.lock().unwrap();
        let of_it = state.links.iter().filter(|(a, b, _)| *a == place || *b == place);
        let wires: Vec<_> = of_it.filter_map(|(_, _, wire)| wire.upgrade()).collect();
        drop(state);
        wires.iter().for_each(|wire| wire.wake(true));
    }
}

/// The network as it is seen from one place.
pub(crate) struct At {
    pub(crate) net: Arc<Net>,
    pub(crate) place: Place,
    pub(crate) mem: MemTransport,
}

/// The place of `mem://node-7` is 7.
fn place_of(locator: &Locator) -> Place {
    locator.rest().rsplit('-').next().unwrap().parse().unwrap()
}

impl Transport for At {
    fn scheme(&self) -> &'static str {
        "mem"
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let there = place_of(locator);
            if self.net.is_cut(self.place, there) {
                tokio::time::sleep(DIAL_TIMES_OUT).await;
                return Err(TransportError::Unreachable {
                    locator: locator.clone(),
                    source: io::ErrorKind::TimedOut.into(),
                });
            }
            let inner = self.mem.dial(locator).await?;
            let wire = Arc::<Wire>::default();
            let mut state = self.net.state.lock().unwrap();
            state.links.push((self.place, there, Arc::downgrade(&wire)));
            Ok(Box::new(Wired {
                inner,
                wire,
                net: Arc::clone(&self.net),
                ends: (self.place, there),
            }) as Box<dyn Link>)
        })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        self.mem.listen(locator)
    }
}

/// The dialler's end of a link. That it neither reads nor writes cuts both ways.
struct Wired {
    inner: Box<dyn Link>,
    wire: Arc<Wire>,
    net: Arc<Net>,
    ends: (Place, Place),
}

impl Wired {
    /// Ready when it is not cut.
    fn poll_open(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.wire.state.lock().unwrap();
        if state.0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        // Whoever reads and whoever writes may be two.
        if !state.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.1.push(cx.waker().clone());
        }
        drop(state);
        match self.net.is_cut(self.ends.0, self.ends.1) {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }
}

impl Link for Wired {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn peer(&self) -> String {
        self.inner.peer()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_open(cx))?;
        self.inner.poll_read(cx, lane, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_open(cx))?;
        self.inner.poll_write(cx, lane, bufs)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(cx))?;
        self.inner.poll_close(cx)
    }
}

/// As long as a system tries by itself when nobody answers, roughly.
const DIAL_TIMES_OUT: Duration = Duration::from_secs(3);
