//! Which handler serves which method.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use valkyrie_frame::{Extensions, extension_type};
use valkyrie_proto::Failure;

use crate::handler::{Handler, Pooled};
use crate::{Context, Method, RecvStream, SendStream, ServicesError};

/// The handlers of an endpoint, by service and method. Fixed once built; cloning is a reference count.
///
/// A handler of a request or notification is polled for the first time in the pass that read the message, so one that
/// is ready at once answers without a task or an allocation. It must not block the thread.
#[derive(Clone, Default)]
pub struct Services {
    table: Arc<Table>,
}

impl Services {
    /// Starts a set of handlers.
    pub fn builder() -> ServicesBuilder {
        ServicesBuilder {
            entries: Vec::new(),
            unrouted_streams: false,
        }
    }

    /// What is served: service, method and how it is used, in the order they were added.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &str, Shape)> {
        self.table
            .entries
            .iter()
            .map(|entry| (entry.method.service(), entry.method.name(), entry.serve.shape()))
    }

    #[inline]
    pub(crate) fn find(&self, extensions: &Extensions) -> Option<&Serve> {
        // Most requests carry the route and nothing else, encoded as it is here: their words are compared as they are.
        if let Some(serve) = self.table.find_words(extensions.as_bytes()) {
            return Some(serve);
        }
        if let Some(serve) = route_words(extensions).and_then(|words| self.table.find_words(words)) {
            return Some(serve);
        }
        // Encoded otherwise, which a peer may.
        let (service, method) = extensions.route()?;
        self.table.find(service, method)
    }

    /// Whether streams that no handler takes wait for `accept`.
    pub(crate) fn keeps_unrouted_streams(&self) -> bool {
        self.table.unrouted_streams
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.routes()
                    .map(|(service, method, shape)| format!("{service}/{method} ({shape})")),
            )
            .finish()
    }
}

/// How a method is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// One request, one response.
    Unary,
    /// One message, no answer.
    Notify,
    /// Messages both ways.
    Stream,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unary => "unary",
            Self::Notify => "notify",
            Self::Stream => "stream",
        })
    }
}

/// Collects handlers; mistakes are reported by [`ServicesBuilder::build`].
#[must_use = "handlers serve nothing until they are built and given to an endpoint"]
pub struct ServicesBuilder {
    entries: Vec<(String, String, Serve)>,
    unrouted_streams: bool,
}

impl ServicesBuilder {
    /// Answers calls of a method. The future is dropped at its next await when the caller cancels or the deadline
    /// passes, see [`Context::shield`]; a panic answers HANDLER_PANICKED.
    pub fn unary<F, Fut>(self, service: &str, method: &str, handler: F) -> Self
    where
        F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, Failure>> + Send + 'static,
    {
        self.add(service, method, Serve::Unary(Arc::new(Pooled::new(handler))))
    }

    /// Takes notifications of a method. The credit that a notification holds is returned when its handler is done.
    pub fn notify<F, Fut>(self, service: &str, method: &str, handler: F) -> Self
    where
        F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.add(service, method, Serve::Notify(Arc::new(Pooled::new(handler))))
    }

    /// Serves streams of a method. `Ok` finishes our direction, `Err` and a panic reset the stream.
    pub fn stream<F, Fut>(self, service: &str, method: &str, handler: F) -> Self
    where
        F: Fn(Context, SendStream, RecvStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let boxed = move |context: Context, send: SendStream, recv: RecvStream| -> StreamFuture {
            Box::pin(handler(context, send, recv))
        };
        self.add(service, method, Serve::Stream(Arc::new(boxed)))
    }

    /// Streams that no handler takes wait for [`Connection::accept`](crate::Connection::accept) instead of being
    /// reset with NOT_FOUND. Their number is bounded by the streams that the peer may have open.
    pub fn keep_unrouted_streams(mut self) -> Self {
        self.unrouted_streams = true;
        self
    }

    fn add(mut self, service: &str, method: &str, serve: Serve) -> Self {
        self.entries.push((service.to_owned(), method.to_owned(), serve));
        self
    }

    /// Puts the table together.
    ///
    /// # Errors
    /// [`ServicesError`]: a method was given twice, or its names cannot be sent.
    pub fn build(self) -> Result<Services, ServicesError> {
        let mut table = Table::with_room_for(self.entries.len());
        table.unrouted_streams = self.unrouted_streams;
        for (service, method, serve) in self.entries {
            let encoded = match Method::new(&service, &method) {
                Ok(encoded) => encoded,
                Err(source) => {
                    return Err(ServicesError::Method {
                        service,
                        method,
                        source,
                    });
                }
            };
            if table.find(&service, &method).is_some() {
                return Err(ServicesError::Twice { service, method });
            }
            table.insert(Entry {
                method: encoded,
                serve,
            });
        }
        Ok(Services {
            table: Arc::new(table),
        })
    }
}

impl fmt::Debug for ServicesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.entries
                    .iter()
                    .map(|(service, method, _)| format!("{service}/{method}")),
            )
            .finish()
    }
}

/// The future of a stream's handler.
pub(crate) type StreamFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A stream's handler behind `dyn`.
pub(crate) type StreamHandler = dyn Fn(Context, SendStream, RecvStream) -> StreamFuture + Send + Sync;

/// How one method is served.
pub(crate) enum Serve {
    Unary(Arc<dyn Handler>),
    Notify(Arc<dyn Handler>),
    Stream(Arc<StreamHandler>),
}

impl Serve {
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Unary(_) => Shape::Unary,
            Self::Notify(_) => Shape::Notify,
            Self::Stream(_) => Shape::Stream,
        }
    }
}

struct Entry {
    method: Method,
    serve: Serve,
}

/// A small open-addressing table: a look-up takes the two names as they lie in the frame and allocates nothing.
/// Peers choose what is looked up, never what is stored, so they cannot make look-ups slow.
#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    /// Indices into `entries` plus one, 0 for free; a power of two, at most half full.
    slots: Vec<u32>,
    unrouted_streams: bool,
}

impl Table {
    fn with_room_for(count: usize) -> Self {
        let slots = (2 * count).next_power_of_two();
        Self {
            entries: Vec::with_capacity(count),
            slots: vec![0; slots],
            unrouted_streams: false,
        }
    }

    /// The handler of a route as [`Method`] encodes it.
    #[inline]
    fn find_words(&self, words: &[u8]) -> Option<&Serve> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash(words) as usize & mask;
        while let Some(index) = self.slots[at].checked_sub(1) {
            let entry = &self.entries[index as usize];
            if entry.method.extensions().as_bytes() == words {
                return Some(&entry.serve);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The handler of a route by its names.
    fn find(&self, service: &str, method: &str) -> Option<&Serve> {
        let method = Method::new(service, method).ok()?;
        self.find_words(method.extensions().as_bytes())
    }

    fn insert(&mut self, entry: Entry) {
        let mask = self.slots.len() - 1;
        let mut at = hash(entry.method.extensions().as_bytes()) as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.entries.push(entry);
        self.slots[at] = self.entries.len() as u32;
    }
}

/// The words of the route in an area that holds other values as well. The area was checked when it was decoded.
fn route_words(extensions: &Extensions) -> Option<&[u8]> {
    let mut rest = extensions.as_bytes();
    if extensions.timestamp().is_some() {
        rest = rest.get(4..)?;
    }
    while let [kind, len, ..] = *rest {
        let padded = (2 + usize::from(len)).next_multiple_of(4);
        if kind & !extension_type::MUST_UNDERSTAND == extension_type::ROUTE {
            return rest.get(..padded);
        }
        rest = rest.get(padded..)?;
    }
    None
}

/// A word at a time, multiplied and rotated; areas are whole words. Collisions cost a comparison.
#[inline]
fn hash(area: &[u8]) -> u64 {
    let mut hash = area.len() as u64;
    let (words, _) = area.as_chunks::<4>();
    for word in words {
        let word = u64::from(u32::from_le_bytes(*word));
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Services {
        let mut builder = Services::builder();
        for number in 0..100 {
            builder = builder.unary("service", &format!("method{number}"), |_, payload| async move {
                Ok(payload)
            });
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_route_is_found_whatever_travels_beside_it() {
        let services = services();
        for number in 0..100 {
            let route = || {
                Extensions::builder()
                    .route("service", &format!("method{number}"))
                    .unwrap()
                    .timestamp(7)
            };
            let alone = Method::new("service", &format!("method{number}")).unwrap();
            for extensions in [
                alone.extensions().clone(),
                route().finish().unwrap(),
                route().deadline_ms(5).idempotency_key(&[1; 16]).finish().unwrap(),
                Extensions::builder()
                    .raw(
                        extension_type::ROUTE,
                        &alone.extensions().as_bytes()[2..][..alone.extensions().as_bytes()[1].into()],
                    )
                    .unwrap()
                    .finish()
                    .unwrap(),
            ] {
                assert!(services.find(&extensions).is_some(), "{extensions:?}");
            }
        }
    }

    #[test]
    fn what_is_not_served_is_not_found() {
        let services = services();
        for (service, method) in [
            ("service", "method100"),
            ("servic", "emethod1"),
            ("service", "method"),
        ] {
            assert!(
                services
                    .find(Method::new(service, method).unwrap().extensions())
                    .is_none()
            );
        }
        assert!(services.find(&Extensions::EMPTY).is_none());
        assert!(
            Services::default()
                .find(Method::new("service", "method1").unwrap().extensions())
                .is_none()
        );
    }
}
