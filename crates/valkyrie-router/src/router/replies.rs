//! A stream of replies that goes on at another node when its own dies.
//!
//! What a session knows of a stream is known to its two ends and dies with one of them. So nothing of a session is carried over here: the
//! caller says how to ask for the rest of the replies, and the rest is asked for at another node. Where the stream is stands in the
//! messages.
//!
//! It is for replies only. What a caller sends on a stream has been read by a node that is gone, and nobody can tell how much of
//! it was done: a stream both ways that went on elsewhere would do some of it twice or not at all.
//!
//! Read [`Position`] first, then [`ContinuedReplies::recv`]. `search` finds the next node.

mod search;

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use valkyrie_endpoint::{ErrorCode, Failure, Message, Method, MethodError, RecvError};
use valkyrie_registry::health::Signal;
use valkyrie_transport::Locator;

use super::attempt::is_the_peers_fault;
use super::error::{ContinuedError, RoutedError};
use super::options::{Options, options};
use super::service::Counters;
use super::{Route, now};

use search::{Asked, Found, Source, Trail};

/// Where a stream of replies is, in the terms of its messages. A closure from the number of replies handed on so far to the request
/// for the rest is one, for replies that can be counted; see [`Route::replies`].
///
/// The service has to honour it: whichever node is asked for what comes after a position gives the same replies after it, in the same
/// order, as every other node would. A service that numbers its replies differently on each node, or begins anew whatever it is asked
/// for, makes its callers see replies twice or not at all, and nothing here can tell.
pub trait Position: Send {
    /// The request for everything after the `received` replies that were handed on so far; 0 at the beginning. It goes as the
    /// first message of the stream; nothing is sent where it is empty.
    fn request(&mut self, received: u64) -> Bytes;

    /// A reply is about to be handed on. Where replies carry their own positions this is where to note the last.
    fn passed(&mut self, reply: &Message) {
        let _ = reply;
    }
}

impl<F: FnMut(u64) -> Bytes + Send> Position for F {
    fn request(&mut self, received: u64) -> Bytes {
        self(received)
    }
}

/// A stream of replies that is opened when it is awaited.
#[must_use = "a stream is opened when it is awaited"]
pub struct RoutedReplies<'a> {
    route: &'a Route,
    method: Result<Method, MethodError>,
    options: Options,
    position: Box<dyn Position>,
}

impl<'a> RoutedReplies<'a> {
    pub(super) fn new(
        route: &'a Route,
        method: Result<Method, MethodError>,
        position: Box<dyn Position>,
    ) -> Self {
        Self {
            route,
            method,
            options: Options::new(&route.service.routing()),
            position,
        }
    }

    options!(message);
    options!(timed);

    /// Opens the stream at whoever is chosen, and waits for a peer as a call does.
    ///
    /// # Errors
    /// [`ContinuedError`]; there is no stream.
    pub async fn send(self) -> Result<ContinuedReplies, ContinuedError> {
        let begun = now();
        let method = self
            .method
            .map_err(|error| ContinuedError::NotOpened(error.into()))?;
        let asked = Arc::new(Asked {
            deadline: self.options.deadline(begun),
            route: self.route.clone(),
            method,
            options: self.options,
        });
        asked.route.service.budget.attempted(begun);
        let mut replies = ContinuedReplies {
            step: Step::Seeks(Box::pin(search::seek(Arc::clone(&asked), Trail::default(), None))),
            asked,
            position: self.position,
            source: None,
            over: None,
            trail: Trail::default(),
            received: 0,
            opened: 0,
        };
        poll_fn(|cx| replies.poll_open(cx)).await?;
        Ok(replies)
    }
}

impl<'a> IntoFuture for RoutedReplies<'a> {
    type Output = Result<ContinuedReplies, ContinuedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// The replies of a method, from as many nodes one after the other as it takes: each once and in order, as long as the service honours
/// the [`Position`].
///
/// It stays at a node for as long as the session lives, over whichever links. When the connection is lost for good it asks another
/// node for the rest, and when a node drains it does so before anything is lost. A failure that the service answers is the end
/// and is handed on.
///
/// Nothing is read ahead of the caller but what the session has granted its peer, and all that happens between nodes happens within
/// [`ContinuedReplies::recv`]: who does not ask for replies is not moved. Dropped before the end it cancels the handler at the other
/// end.
pub struct ContinuedReplies {
    asked: Arc<Asked>,
    position: Box<dyn Position>,
    /// Where replies come from.
    source: Option<Source>,
    /// What is under way to the next source; beside a source where that one drains.
    step: Step,
    over: Option<Result<(), ContinuedError>>,
    trail: Trail,
    received: u64,
    /// How often it was, the first time included.
    opened: u64,
}

type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Step {
    Idle,
    /// A node is looked for. What it is to be asked for is not settled yet, since a source may still give replies.
    Seeks(Soon<Result<(Found, Trail), ContinuedError>>),
    /// The node is asked for what comes after the position as it is now: no reply may be handed on before that has come to something.
    Opens(Soon<Result<Source, RoutedError>>),
}

impl ContinuedReplies {
    /// The next reply, or `None` after the last. Dropping the future loses nothing, whatever it was in the middle of.
    ///
    /// # Errors
    /// [`ContinuedError`]: the stream has ended, and every later call says the same.
    pub async fn recv(&mut self) -> Result<Option<Message>, ContinuedError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// How many replies have been handed on.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How often the stream was opened anew: at another node, or at the same one where there was no other.
    pub fn moves(&self) -> u64 {
        self.opened.saturating_sub(1)
    }

    /// The first of the places of the node that replies come from, while there is one.
    pub fn locator(&self) -> Option<Locator> {
        self.source.as_ref().map(|source| source.peer.locator())
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ContinuedError>> {
        loop {
            if let Some(Err(error)) = &self.over {
                return Poll::Ready(Err(error.clone()));
            }
            if self.source.is_some() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_step(cx));
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, ContinuedError>> {
        loop {
            if let Some(over) = &self.over {
                return Poll::Ready(over.clone().map(|()| None));
            }
            if self.poll_step(cx).is_ready() {
                continue;
            }
            let source = match (&self.step, &mut self.source) {
                (Step::Opens(_), _) | (_, None) => return Poll::Pending,
                (_, Some(source)) => source,
            };
            let received = pin!(source.recv.recv()).poll(cx);
            match received {
                Poll::Ready(Ok(Some(reply))) => {
                    self.note(&reply);
                    // Whoever always has a reply here would not find out otherwise.
                    if self.received.is_multiple_of(LOOK_EVERY) {
                        self.notice_drain(cx);
                    }
                    return Poll::Ready(Ok(Some(reply)));
                }
                Poll::Ready(Ok(None)) => self.end(Ok(())),
                Poll::Ready(Err(error)) => self.broke_off(error),
                Poll::Pending => {
                    if !self.notice_drain(cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Takes what is under way a step further. Pending as well where nothing is.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.step {
            Step::Idle => return Poll::Pending,
            Step::Seeks(seeking) => match ready!(seeking.as_mut().poll(cx)) {
                Ok((found, trail)) => {
                    self.trail = trail;
                    let request = self.position.request(self.received);
                    let opening = search::open(Arc::clone(&self.asked), found, request);
                    self.step = Step::Opens(Box::pin(opening));
                }
                Err(error) => self.end(Err(error)),
            },
            Step::Opens(opening) => {
                let opened = ready!(opening.as_mut().poll(cx));
                self.step = Step::Idle;
                match opened {
                    Ok(source) => self.go_on(source),
                    Err(error) => match &mut self.source {
                        // Who drains still gives replies: there is time to look further.
                        Some(source) => source.turned_away += 1,
                        None => self.failed(error),
                    },
                }
            }
        }
        Poll::Ready(())
    }

    /// Replies come from here now. Where there was a source it is told that nobody waits for it any more.
    fn go_on(&mut self, source: Source) {
        if self.opened > 0 {
            Counters::add(&self.asked.route.service.counters.moves, 1);
        }
        self.opened += 1;
        if let Some(left) = self.source.replace(source) {
            left.recv.reset(Failure::new(
                ErrorCode::CANCELLED,
                "the stream goes on at another node",
            ));
        }
    }

    /// Looks whether the node drains, and if it does for another one while replies go on. Whether there is something new to wait for.
    fn notice_drain(&mut self, cx: &mut Context<'_>) -> bool {
        let (Step::Idle, Some(source)) = (&self.step, &mut self.source) else {
            return false;
        };
        source.drains = source.drains
            || matches!(
                pin!(source.recv.connection().peer_draining()).poll(cx),
                Poll::Ready(Some(_))
            );
        if !source.drains {
            return false;
        }
        // One that drains as soon as it was asked is not left at once.
        let turned_away = source.turned_away + u32::from(!source.has_stood());
        let leaving = Arc::clone(&source.peer);
        let seeking = search::seek_before_it_ends(Arc::clone(&self.asked), leaving, turned_away);
        self.step = Step::Seeks(Box::pin(async move { Ok(seeking.await) }));
        true
    }

    fn note(&mut self, reply: &Message) {
        self.received += 1;
        self.position.passed(reply);
        if let Some(source) = &mut self.source
            && !source.replied
        {
            source.replied = true;
            self.asked.judge(&source.peer, None);
        }
    }

    /// The source gives nothing more, and that was not the end.
    fn broke_off(&mut self, error: RecvError) {
        let Some(source) = self.source.take() else { return };
        self.step = Step::Idle;
        let locator = source.peer.locator();
        match &error {
            RecvError::Reset(failure) => {
                if failure.code == ErrorCode::DEADLINE_EXCEEDED && self.asked.is_late(now()) {
                    return self.end(Err(ContinuedError::DeadlineExceeded));
                }
                if source.replied || !did_nothing(failure) {
                    let blame = is_the_peers_fault(failure).then_some(Signal::Failure);
                    self.asked.judge(&source.peer, blame);
                    let failure = failure.clone();
                    return self.end(Err(ContinuedError::Failed { locator, failure }));
                }
            }
            // It had said that it would go.
            _ if source.drains => {}
            _ => self.asked.judge(&source.peer, Some(Signal::ConnectionLost)),
        }
        if source.has_stood() {
            self.trail = Trail::default();
        }
        self.trail.tried.push(&source.peer);
        let source = error;
        self.failed(RoutedError::Stream { locator, source });
    }

    /// An attempt came to nothing: another one, unless that is of no use.
    fn failed(&mut self, error: RoutedError) {
        let trail = std::mem::take(&mut self.trail);
        match self.asked.after(trail, error) {
            Ok((trail, error)) => {
                let seeking = search::seek(Arc::clone(&self.asked), trail, Some(error));
                self.step = Step::Seeks(Box::pin(seeking));
            }
            Err(error) => self.end(Err(error)),
        }
    }

    fn end(&mut self, over: Result<(), ContinuedError>) {
        self.step = Step::Idle;
        self.over = Some(over);
        if let Some(source) = self.source.take()
            && !source.replied
        {
            self.asked.judge(&source.peer, None);
        }
    }
}

impl Drop for ContinuedReplies {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            // The handler may have nothing to send for long, and would not find out by itself before.
            source.recv.reset(Failure::new(
                ErrorCode::CANCELLED,
                "nobody waits for the replies any more",
            ));
        }
    }
}

/// Whether a failure says that nothing was done yet, which holds before the first reply and not after it.
fn did_nothing(failure: &Failure) -> bool {
    matches!(
        failure.code,
        ErrorCode::REFUSED | ErrorCode::DRAINING | ErrorCode::OVERLOADED
    )
}

impl fmt::Debug for RoutedReplies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedReplies")
            .field("route", self.route)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ContinuedReplies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContinuedReplies")
            .field("method", &self.asked.method)
            .field("received", &self.received)
            .field("moves", &self.moves())
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

/// After how many replies that were all here already a drain is looked for: it costs a lock, and a drain is long.
const LOOK_EVERY: u64 = 64;
