//! Endpoints with identities that know each other or do not, and links on which somebody else sits.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use valkyrie_endpoint::{
    AccessPolicy, Endpoint, EndpointBuilder, Listener, Locator, Security, Services, Transport, TransportError,
};
use valkyrie_security::trust::{FirstUse, Pin};
use valkyrie_security::{Fingerprint, Identity, Live, Trust, UnixTime};
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport::{BoxFuture, Capabilities, Lane, Link};

pub(crate) fn now() -> UnixTime {
    SystemTime::now().into()
}

/// Somebody with an identity, who trusts nobody yet.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) security: Security,
    pub(crate) fingerprint: Fingerprint,
}

impl Person {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(Identity::generate(name, now()).unwrap())
    }

    pub(crate) fn of(identity: Identity) -> Self {
        let fingerprint = identity.fingerprint().unwrap();
        Self {
            security: Security::new(Live::new(identity), Live::new(Trust::default())),
            fingerprint,
        }
    }

    /// Two who have each other's fingerprint, under these names.
    pub(crate) fn friends(one: &str, other: &str) -> (Self, Self) {
        let (a, b) = (Self::new(one), Self::new(other));
        a.pin(other, &b);
        b.pin(one, &a);
        (a, b)
    }

    /// Pins somebody under a name.
    pub(crate) fn pin(&self, name: &str, other: &Self) {
        self.change(|trust| {
            let mut pin = Pin::new(other.fingerprint);
            pin.name = Some(name.to_owned());
            trust.pins_mut().add(pin).unwrap();
        });
    }

    pub(crate) fn first_use(&self, rule: FirstUse) {
        self.change(|trust| *trust = trust.clone().with_first_use(rule));
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Trust)) {
        self.security.trust().update(|trust| {
            let mut trust = trust.clone();
            change(&mut trust);
            trust
        });
    }

    /// An endpoint of this person, to which whoever it trusts may say everything.
    pub(crate) fn builder(&self, transport: impl Transport) -> EndpointBuilder {
        Endpoint::builder()
            .transport(transport)
            .security(self.security.clone())
            .policy(AccessPolicy::allow_authenticated())
    }

    pub(crate) fn endpoint(&self, transport: impl Transport, services: Services) -> Endpoint {
        self.builder(transport).services(services).build().unwrap()
    }
}

/// Counts its calls and answers who made them.
pub(crate) fn who(calls: &Arc<AtomicUsize>) -> Services {
    let calls = Arc::clone(calls);
    Services::builder()
        .unary("who", "am-i", move |context, _| {
            calls.fetch_add(1, Ordering::SeqCst);
            let who = context.identity().to_string();
            async move { Ok(Bytes::from(who)) }
        })
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .stream("flow", "both", |_, send, mut recv| async move {
            let mut send = send;
            while let Some(message) = recv.recv().await? {
                send.send(message).await?;
            }
            Ok(())
        })
        .build()
        .unwrap()
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who dialled.
    There,
    /// To who dialled.
    Back,
}

/// What somebody in between does to the links that are dialled.
pub(crate) type Edit = dyn Fn(Way, usize, &mut u8) -> Kept + Send + Sync;

/// Whether a byte still comes through, and all behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    /// The link ends here.
    Cut,
}

/// Memory links with somebody in between, or that pretend to come from elsewhere.
#[derive(Clone)]
pub(crate) struct Middle {
    pub(crate) inner: MemTransport,
    /// The links do not say that they stay within the machine.
    pub(crate) far: bool,
    pub(crate) edit: Option<Arc<Edit>>,
    /// What went each way on the last link that was dialled.
    pub(crate) seen: Arc<Mutex<[Vec<u8>; 2]>>,
    /// The channel binding that the dialled ends declare, and the accepted ones.
    pub(crate) bindings: Option<[[u8; 32]; 2]>,
}

impl Middle {
    pub(crate) fn new(inner: &MemTransport) -> Self {
        Self {
            inner: inner.clone(),
            far: false,
            edit: None,
            seen: Arc::default(),
            bindings: None,
        }
    }

    pub(crate) fn far(inner: &MemTransport) -> Self {
        Self {
            far: true,
            ..Self::new(inner)
        }
    }

    pub(crate) fn editing(
        inner: &MemTransport,
        edit: impl Fn(Way, usize, &mut u8) -> Kept + Send + Sync + 'static,
    ) -> Self {
        Self {
            edit: Some(Arc::new(edit)),
            ..Self::new(inner)
        }
    }

    /// Changes one bit of one byte.
    pub(crate) fn flipping(inner: &MemTransport, way: Way, offset: usize) -> Self {
        Self::editing(inner, move |at_way, at, byte| {
            if (at_way, at) == (way, offset) {
                *byte ^= 0x10;
            }
            Kept::Yes
        })
    }

    /// Ends the link in front of one byte.
    pub(crate) fn cutting(inner: &MemTransport, way: Way, offset: usize) -> Self {
        Self::editing(inner, move |at_way, at, _| {
            if at_way == way && at >= offset {
                Kept::Cut
            } else {
                Kept::Yes
            }
        })
    }

    /// What went one way on the last link.
    pub(crate) fn seen(&self, way: Way) -> Vec<u8> {
        self.seen.lock().unwrap()[way as usize].clone()
    }

    fn link(&self, inner: Box<dyn Link>, dialled: bool) -> Box<dyn Link> {
        if dialled {
            *self.seen.lock().unwrap() = [Vec::new(), Vec::new()];
        }
        Box::new(MiddleLink {
            inner,
            far: self.far,
            edit: self.edit.clone().filter(|_| dialled),
            seen: dialled.then(|| Arc::clone(&self.seen)),
            at: [0; 2],
            cut: false,
            binding: self.bindings.map(|bindings| bindings[usize::from(!dialled)]),
        })
    }
}

impl Transport for Middle {
    fn scheme(&self) -> &'static str {
        self.inner.scheme()
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move { Ok(self.link(self.inner.dial(locator).await?, true)) })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let inner = self.inner.listen(locator).await?;
            let middle = self.clone();
            Ok(Box::new(MiddleListener { inner, middle }) as Box<dyn Listener>)
        })
    }
}

struct MiddleListener {
    inner: Box<dyn Listener>,
    middle: Middle,
}

impl Listener for MiddleListener {
    fn locator(&self) -> &Locator {
        self.inner.locator()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        self.inner
            .poll_accept(cx)
            .map_ok(|link| self.middle.link(link, false))
    }
}

struct MiddleLink {
    inner: Box<dyn Link>,
    far: bool,
    edit: Option<Arc<Edit>>,
    seen: Option<Arc<Mutex<[Vec<u8>; 2]>>>,
    /// How far each way has come.
    at: [usize; 2],
    cut: bool,
    binding: Option<[u8; 32]>,
}

impl MiddleLink {
    /// Changes bytes on their way and says how many come through.
    fn edit(&mut self, way: Way, bytes: &mut [u8]) -> usize {
        let from = self.at[way as usize];
        let mut through = 0;
        for byte in bytes.iter_mut() {
            if let Some(edit) = &self.edit
                && edit(way, from + through, byte) == Kept::Cut
            {
                self.cut = true;
                break;
            }
            through += 1;
        }
        through
    }

    fn went(&mut self, way: Way, bytes: &[u8]) {
        self.at[way as usize] += bytes.len();
        if let Some(seen) = &self.seen {
            seen.lock().unwrap()[way as usize].extend_from_slice(bytes);
        }
    }
}

impl Link for MiddleLink {
    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        inner
            .with_local(inner.local && !self.far)
            .with_secure(self.binding.is_some())
    }

    fn peer(&self) -> String {
        self.inner.peer()
    }

    fn peer_address(&self) -> Option<IpAddr> {
        // As of a machine elsewhere.
        self.far.then(|| IpAddr::from([192, 0, 2, 7]))
    }

    fn channel_binding(&self) -> Option<[u8; 32]> {
        self.binding
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.cut {
            return Poll::Ready(Ok(0));
        }
        let mut arrived = BytesMut::new();
        match self.inner.poll_read(cx, lane, &mut arrived) {
            Poll::Ready(Ok(1..)) => {
                let through = self.edit(Way::Back, &mut arrived);
                arrived.truncate(through);
                self.went(Way::Back, &arrived);
                buf.extend_from_slice(&arrived);
                Poll::Ready(Ok(through))
            }
            other => other,
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut leaving = bufs
            .iter()
            .flat_map(|buf| buf.iter().copied())
            .collect::<Vec<u8>>();
        let through = self.edit(Way::There, &mut leaving);
        leaving.truncate(through);
        if leaving.is_empty() && self.cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = self.inner.poll_write(cx, lane, &[IoSlice::new(&leaving)]);
        if let Poll::Ready(Ok(bytes)) = written {
            self.went(Way::There, &leaving[..bytes]);
        }
        written
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_close(cx)
    }
}

/// Where each frame in clear begins and ends in what was seen, up to the first byte that begins none.
pub(crate) fn clear_frames(mut seen: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while seen.starts_with(&[0x52, 0x43]) {
        let length = u32::from_be_bytes(seen[12..16].try_into().unwrap()) as usize;
        let end = (20 + length).min(seen.len());
        frames.push(at..at + end);
        at += end;
        seen = &seen[end..];
    }
    frames
}

/// Waits until something is so, without a timer.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !so() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it did not come about within a minute");
}
