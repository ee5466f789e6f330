//! A transport whose links break when they are told to.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use valkyrie_transport::{BoxFuture, Capabilities, Lane, Link, Listener, Locator, Transport, TransportError};

/// Breaks links of the transports that share it.
#[derive(Clone, Default)]
pub(crate) struct Breaker {
    /// The one scheme that can be dialled, where not all can.
    only: Arc<Mutex<Option<&'static str>>>,
    links: Arc<Mutex<Vec<Arc<Mutex<State>>>>>,
}

#[derive(Default)]
struct State {
    broken: bool,
    gone: bool,
    wakers: Vec<Waker>,
}

impl Breaker {
    /// Breaks every link there is, at the ends that are here. Says how many.
    pub(crate) fn break_all(&self) -> usize {
        let mut links = self.links.lock().unwrap();
        links.retain(|link| !link.lock().unwrap().gone);
        let mut broken = 0;
        for link in &*links {
            let mut state = link.lock().unwrap();
            broken += usize::from(!std::mem::replace(&mut state.broken, true));
            state.wakers.drain(..).for_each(Waker::wake);
        }
        links.clear();
        broken
    }

    /// From now on only places of this scheme can be dialled.
    #[allow(dead_code, reason = "not every test that shares this needs it")]
    pub(crate) fn only(&self, scheme: &'static str) {
        *self.only.lock().unwrap() = Some(scheme);
    }

    fn check(&self, locator: &Locator) -> Result<(), TransportError> {
        match *self.only.lock().unwrap() {
            Some(only) if only != locator.scheme() => Err(TransportError::Unreachable {
                locator: locator.clone(),
                source: io::ErrorKind::NetworkUnreachable.into(),
            }),
            _ => Ok(()),
        }
    }

    /// A transport like `inner` whose links this breaks.
    pub(crate) fn over<T: Transport>(&self, inner: T) -> Breakable<T> {
        Breakable {
            inner,
            breaker: self.clone(),
        }
    }

    fn wrap(&self, inner: Box<dyn Link>) -> Box<dyn Link> {
        let state = Arc::<Mutex<State>>::default();
        self.links.lock().unwrap().push(Arc::clone(&state));
        Box::new(BreakableLink { inner, state })
    }
}

/// A transport whose links break when their [`Breaker`] says so.
pub(crate) struct Breakable<T> {
    inner: T,
    breaker: Breaker,
}

impl<T: Transport> Transport for Breakable<T> {
    fn scheme(&self) -> &'static str {
        self.inner.scheme()
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            self.breaker.check(locator)?;
            Ok(self.breaker.wrap(self.inner.dial(locator).await?))
        })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let inner = self.inner.listen(locator).await?;
            let breaker = self.breaker.clone();
            Ok(Box::new(BreakableListener { inner, breaker }) as Box<dyn Listener>)
        })
    }
}

struct BreakableListener {
    inner: Box<dyn Listener>,
    breaker: Breaker,
}

impl Listener for BreakableListener {
    fn locator(&self) -> &Locator {
        self.inner.locator()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        let breaker = &self.breaker;
        self.inner.poll_accept(cx).map_ok(|link| breaker.wrap(link))
    }
}

struct BreakableLink {
    inner: Box<dyn Link>,
    state: Arc<Mutex<State>>,
}

impl BreakableLink {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Ok(())
    }
}

impl Drop for BreakableLink {
    fn drop(&mut self) {
        self.state.lock().unwrap().gone = true;
    }
}

impl Link for BreakableLink {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn peer(&self) -> String {
        self.inner.peer()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.inner.poll_read(cx, lane, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.inner.poll_write(cx, lane, bufs)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        self.inner.poll_close(cx)
    }
}
