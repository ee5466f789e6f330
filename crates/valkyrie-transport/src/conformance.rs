//! What every transport must do, as one function for each behaviour.
//!
//! A transport's own crate runs the suite with [`conformance_tests!`](crate::conformance_tests), which makes one named
//! test of each behaviour:
//!
//! ```no_run
//! use std::sync::Arc;
//! use valkyrie_transport::{conformance::Harness, conformance_tests, mem::MemTransport};
//!
//! fn harness() -> Harness {
//!     let place = |text: &str| text.parse().unwrap();
//!     Harness::new(Arc::new(MemTransport::new()), move || place("mem://here"), place("mem://nobody"))
//! }
//!
//! conformance_tests!(harness());
//! # fn main() {}
//! ```
//!
//! Every behaviour panics when the transport does not show it, and when it takes longer than
//! [`BEHAVIOUR_TIME_MAX`]: a hang is a failure. What the suite does not test is speed, and what is particular to one
//! transport (permissions, names, peer credentials).

mod accepting;
pub mod bus;
mod bytes;
mod closing;
mod peers;
mod pressure;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::{BoxFuture, Link, Listener, Locator, Transport, accept};

pub use self::accepting::{
    accept_loop_survives_anything, address_in_use_is_refused_until_free, dial_to_nobody_is_a_clear_error,
    dropping_the_listener_leaves_accepted_links, foreign_scheme_is_refused, links_do_not_mix,
};
pub use self::bytes::{
    echo, large, link_describes_itself, many_small, reads_append_and_keep_a_roomy_buffer, vectored_writes,
};
pub use self::closing::{abrupt_close_ends_reading, abrupt_close_ends_writing, close_twice, half_close};
pub use self::pressure::{
    back_pressure, idle_links_hold_no_buffers, lanes_do_not_block_each_other, slow_reader,
};

/// Makes one `#[test]` of each behaviour of the suite. The argument is an expression that makes a fresh
/// [`Harness`](crate::conformance::Harness).
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests! { @each $harness;
            abrupt_close_ends_reading
            abrupt_close_ends_writing
            accept_loop_survives_anything
            address_in_use_is_refused_until_free
            back_pressure
            close_twice
            dial_to_nobody_is_a_clear_error
            dropping_the_listener_leaves_accepted_links
            echo
            foreign_scheme_is_refused
            half_close
            idle_links_hold_no_buffers
            lanes_do_not_block_each_other
            large
            link_describes_itself
            links_do_not_mix
            many_small
            reads_append_and_keep_a_roomy_buffer
            slow_reader
            vectored_writes
        }
    };
    (@each $harness:expr; $($behaviour:ident)*) => {
        $(
            #[test]
            fn $behaviour() {
                $crate::conformance::run(stringify!($behaviour), || $harness, $crate::conformance::$behaviour);
            }
        )*
    };
}

/// A transport under test, and what the suite must know about it.
pub struct Harness {
    transport: Arc<dyn Transport>,
    fresh: Box<dyn Fn() -> Locator + Send + Sync>,
    nobody: Locator,
    in_flight_bytes_max: usize,
    rude_peer: Option<Box<RudePeer>>,
}

type RudePeer = dyn Fn(Locator, Rudeness) -> BoxFuture<'static, ()> + Send + Sync;

impl Harness {
    /// A harness for `transport`.
    ///
    /// `fresh` gives a locator to listen on where nobody listens; it may give the same one every time, because no
    /// behaviour uses two at once. `nobody` is a place where nobody listens, ever.
    pub fn new(
        transport: Arc<dyn Transport>,
        fresh: impl Fn() -> Locator + Send + Sync + 'static,
        nobody: Locator,
    ) -> Self {
        Self {
            transport,
            fresh: Box::new(fresh),
            nobody,
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            rude_peer: None,
        }
    }

    /// States how many bytes the transport may take from a writer whose reader does not read, per lane.
    #[must_use]
    pub fn with_in_flight_bytes_max(mut self, bytes: usize) -> Self {
        self.in_flight_bytes_max = bytes;
        self
    }

    /// Lets the suite send the listener peers that do not speak the transport's own language.
    ///
    /// `rude_peer` connects to the locator below the transport (a bare socket, say), does what the [`Rudeness`]
    /// says and returns when it is done. It may ignore errors: the listener may well hang up first.
    #[must_use]
    pub fn with_rude_peer<F>(
        mut self,
        rude_peer: impl Fn(Locator, Rudeness) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.rude_peer = Some(Box::new(move |locator, how| Box::pin(rude_peer(locator, how))));
        self
    }

    async fn listen(&self) -> Box<dyn Listener> {
        let locator = (self.fresh)();
        match self.transport.listen(&locator).await {
            Ok(listener) => listener,
            Err(error) => panic!("the suite cannot listen: {error}"),
        }
    }

    async fn dial(&self, locator: &Locator) -> Box<dyn Link> {
        match self.transport.dial(locator).await {
            Ok(link) => link,
            Err(error) => panic!("the suite cannot dial: {error}"),
        }
    }

    /// The two ends of one link: dialled, accepted.
    async fn pair(&self) -> (Box<dyn Link>, Box<dyn Link>) {
        let mut listener = self.listen().await;
        let locator = listener.locator().clone();
        let (dialled, accepted) = tokio::join!(self.dial(&locator), accept(&mut *listener));
        match accepted {
            Ok(accepted) => (dialled, accepted),
            Err(error) => panic!("the suite cannot accept: {error}"),
        }
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("scheme", &self.transport.scheme())
            .finish_non_exhaustive()
    }
}

/// What a peer does that is not a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rudeness {
    /// Connects and closes without a byte.
    CloseAtOnce,
    /// Connects, sends bytes that mean nothing, and closes.
    Garbage,
    /// Connects and resets the connection, so that the listener may find it dead when accepting.
    Reset,
}

impl Rudeness {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::CloseAtOnce, Self::Garbage, Self::Reset];
}

/// Runs one behaviour on a runtime of its own. [`conformance_tests!`](crate::conformance_tests) calls this.
///
/// `harness` may also give an `Option`: with `None` nothing is run, for a transport whose counterpart is not installed. It
/// has said so itself.
///
/// # Panics
///
/// When the behaviour is not shown, or takes longer than [`BEHAVIOUR_TIME_MAX`].
pub fn run<H, O, B, F>(name: &str, harness: impl FnOnce() -> O, behaviour: B)
where
    O: Into<Option<H>>,
    B: FnOnce(H) -> F,
    F: Future<Output = ()>,
{
    // Two threads, so that the two ends of a link meet each other at every point in time and not only at an await.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime to test on: {error}"));
    runtime.block_on(async {
        let Some(harness) = harness().into() else { return };
        let limit = time_max();
        if tokio::time::timeout(limit, behaviour(harness)).await.is_err() {
            panic!("{name} hangs: it was not done after {limit:?}");
        }
    });
}

fn time_max() -> Duration {
    let told = std::env::var(TIME_MAX_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    told.map_or(BEHAVIOUR_TIME_MAX, Duration::from_secs)
}

/// The environment variable that says how many seconds a behaviour may take instead of [`BEHAVIOUR_TIME_MAX`], for machines that
/// are a hundred times slower than others because they are emulated.
pub const TIME_MAX_VARIABLE: &str = "VALKYRIE_CONFORMANCE_SECONDS_MAX";

/// How long one behaviour may take, unless [`TIME_MAX_VARIABLE`] says otherwise. The slowest takes a second or two on an
/// idle machine; a machine that builds and tests many things at once is given room.
pub const BEHAVIOUR_TIME_MAX: Duration = Duration::from_secs(60);

/// What a transport over kernel sockets may hold between a writer and a reader that does not read: Linux lets a TCP
/// socket pair grow to 4 MiB at the sender and 6 MiB at the receiver unless told otherwise.
pub const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;
