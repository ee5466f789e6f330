//! The dialler's part of a session that outlives its link: it finds the next one.
//!
//! A session may go on at every place that its endpoint was given or that the peer has announced. When its link is lost
//! they are all tried, cheapest first, each a moment after the one before; and while it has a link, a cheaper place is
//! tried now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use valkyrie_security::trust::Expect;
use valkyrie_transport::{Locator, TransportError};

use crate::continuity::{Carrier, Want};
use crate::endpoint::Inner;
use crate::secure::Greeted;
use crate::shared::Shared;
use crate::{ConnectError, clock};

/// Where a connection that this side dialled came from, and where else it may go.
pub(crate) struct Origin {
    endpoint: Weak<Inner>,
    expect: Expect,
    /// The places that were asked for.
    asked: Vec<Locator>,
    /// Somebody looks for a cheaper link.
    climbing: AtomicBool,
    /// Somebody looks for any.
    finding: AtomicBool,
}

impl Origin {
    pub(crate) fn new(endpoint: Weak<Inner>, expect: Expect, asked: Vec<Locator>) -> Self {
        Self {
            endpoint,
            expect,
            asked,
            climbing: AtomicBool::new(false),
            finding: AtomicBool::new(false),
        }
    }

    /// Who has to answer at another place: the session's peer, which is as good there as it was where it was met.
    fn whom(&self, shared: &Shared) -> Expect {
        let fingerprint = shared.guard.identity().fingerprint();
        fingerprint.map_or_else(|| self.expect.clone(), Expect::Fingerprint)
    }

    /// Every place where the session may go on, cheapest first.
    fn places(&self, shared: &Shared) -> Vec<Locator> {
        let mut places = self.asked.clone();
        let announced = shared
            .lock()
            .session
            .peer_settings()
            .map(|settings| (settings.places.clone(), settings.machine));
        if let Some((announced, machine)) = announced {
            let here = machine.is_some() && machine == crate::continuity::machine();
            let host = self
                .asked
                .iter()
                .find_map(|asked| Some(asked.host_port().ok()?.host));
            let text = String::from_utf8_lossy(&announced);
            for place in text.lines().filter_map(|line| line.parse::<Locator>().ok()) {
                if is_within_the_machine(&place) && !here {
                    continue;
                }
                places.extend(reachable(place, host, here));
            }
        }
        let endpoint = self.endpoint.upgrade();
        places.retain(|place| endpoint.as_ref().is_some_and(|endpoint| endpoint.speaks(place)));
        places.sort_by_key(rank);
        let mut seen = std::collections::HashSet::new();
        places.retain(|place| seen.insert(place.clone()));
        places
    }
}

/// A place as it can be dialled from here: one that listens on every address is at the host that was dialled.
//= protocol/resume.md#offer
fn reachable(place: Locator, host: Option<&str>, here: bool) -> Option<Locator> {
    let Ok(at) = place.host_port() else {
        return Some(place);
    };
    match at.host {
        "0.0.0.0" | "::" => {
            let host = host.or(here.then_some("127.0.0.1"))?;
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            let path = place
                .rest()
                .split_once('/')
                .map_or(String::new(), |(_, path)| format!("/{path}"));
            Locator::new(place.scheme(), &format!("{host}:{}{path}", at.port)).ok()
        }
        _ => Some(place),
    }
}

fn is_within_the_machine(place: &Locator) -> bool {
    matches!(place.scheme(), "mem" | "uds")
}

/// What a link costs beside others, by its kind; lower is cheaper.
pub(crate) fn rank(place: &Locator) -> u8 {
    rank_of_scheme(place.scheme())
}

/// The same for a link, which names its scheme first when it says who its peer is.
pub(crate) fn rank_of_peer(peer: &str) -> u8 {
    rank_of_scheme(peer.split([' ', ':']).next().unwrap_or_default())
}

fn rank_of_scheme(scheme: &str) -> u8 {
    match scheme {
        "mem" => 0,
        "uds" => 1,
        "rdma" => 2,
        // Which of the two is better depends on the network; whoever asked for one keeps it.
        "tcp" | "quic" => 3,
        "ws" | "wss" => 5,
        "http" | "https" => 6,
        "redis" | "rediss" => 7,
        _ => 8,
    }
}

/// Finds a link for a session that has lost its own, in a task of its own.
pub(crate) fn begin(shared: &Arc<Shared>) {
    // One that is at it hears of an attempt that came to nothing by itself.
    if let Some(origin) = origin_of(shared)
        && !origin.finding.swap(true, Ordering::AcqRel)
    {
        let (shared, origin) = (Arc::downgrade(shared), Arc::clone(origin));
        tokio::spawn(async move {
            while find(&shared, &origin).await {
                origin.finding.store(false, Ordering::Release);
                // The link may have been lost again before that was said.
                let lost = shared.upgrade().is_some_and(|live| live.is_lost());
                if !lost || origin.finding.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }
}

fn origin_of(shared: &Shared) -> Option<&Arc<Origin>> {
    shared.passage.get()?.origin.as_ref()
}

/// Looks for a cheaper link, for as long as the session lives and there may be one.
pub(crate) fn climb(shared: &Arc<Shared>) {
    if let Some(origin) = origin_of(shared)
        && !origin.climbing.swap(true, Ordering::AcqRel)
    {
        tokio::spawn(climb_on(Arc::downgrade(shared), Arc::clone(origin)));
    }
}

/// What a wave of attempts came to.
enum Wave {
    /// The session goes on, or is over.
    Settled,
    /// Nobody answered.
    Nobody,
    /// Nobody listens at any of the places.
    Refused,
}

/// Looks until the session goes on, `true`, or is over or given up.
async fn find(shared: &Weak<Shared>, origin: &Arc<Origin>) -> bool {
    let mut wait = WAIT_MIN;
    let mut refused_since: Option<Instant> = None;
    loop {
        let Some(live) = shared.upgrade() else {
            return false;
        };
        if !live.is_lost() {
            return true;
        }
        let places = origin.places(&live);
        match wave(&live, origin, places).await {
            Wave::Settled => {
                climb(&live);
                return true;
            }
            Wave::Nobody => refused_since = None,
            Wave::Refused => {
                let now = clock::now();
                let since = *refused_since.get_or_insert(now);
                if now.duration_since(since) >= REFUSED_FOR {
                    // Whoever held the other half of the session is gone, and it with them.
                    live.give_up(now);
                    return false;
                }
            }
        }
        drop(live);
        // Half of it at least, so that many who lost the same peer do not come back at once.
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Tries every place, and the next one too when the one before has not answered for a moment. The first that carries
/// the session wins.
async fn wave(shared: &Arc<Shared>, origin: &Arc<Origin>, places: Vec<Locator>) -> Wave {
    let Some(endpoint) = origin.endpoint.upgrade() else {
        return Wave::Nobody;
    };
    let mut attempts = JoinSet::new();
    let mut places = places.into_iter();
    let mut refused = true;
    let mut tried = false;
    loop {
        let next = places.next();
        let more = next.is_some();
        if let Some(place) = next {
            tried = true;
            let (endpoint, expect) = (Arc::clone(&endpoint), origin.whom(shared));
            attempts.spawn(async move { endpoint.greet(&place, &expect).await });
        }
        let result = if more {
            match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                Ok(result) => result,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match result {
            Some(Ok(Ok(greeted))) => {
                refused = false;
                if carry(shared, greeted, Want::Any).await {
                    return Wave::Settled;
                }
            }
            Some(Ok(Err(error))) => refused &= nobody_listens(&error),
            Some(Err(_)) => refused = false,
            None if !more => break,
            None => {}
        }
    }
    if refused && tried {
        Wave::Refused
    } else {
        Wave::Nobody
    }
}

/// Continues the session on a link. `true` when it goes on there, or is over.
async fn carry(shared: &Arc<Shared>, greeted: Greeted, want: Want) -> bool {
    if !shared.guard.identity().is_same_peer(&greeted.identity) {
        return false;
    }
    let carrier = Carrier {
        link: greeted.link,
        channel: greeted.channel,
        input: greeted.input,
    };
    if shared.go_on(carrier, want).is_err() {
        // It is over, or somebody else has found a link for it meanwhile.
        return !shared.is_lost();
    }
    shared.settled().await
}

fn nobody_listens(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Transport(TransportError::Refused { .. }))
}

async fn climb_on(shared: Weak<Shared>, origin: Arc<Origin>) {
    let mut wait = CLIMB_WAIT_MIN;
    loop {
        let Some(live) = shared.upgrade() else { return };
        if live.lock().closed.is_some() {
            return;
        }
        let current = live.carried_by();
        let mut better = origin.places(&live);
        better.retain(|place| rank(place) < current);
        if better.is_empty() {
            // It is where it is best off. Whoever finds it a link after the next break looks again.
            origin.climbing.store(false, Ordering::Release);
            return;
        }
        if !live.is_lost()
            && let Some(endpoint) = origin.endpoint.upgrade()
        {
            for place in better {
                if let Ok(greeted) = endpoint.greet(&place, &origin.whom(&live)).await
                    && carry(&live, greeted, Want::Better).await
                {
                    break;
                }
            }
        }
        drop(live);
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(CLIMB_WAIT_MAX);
    }
}

/// How long the next place waits for the one before: RFC 8305 recommends it for addresses.
pub(crate) const STAGGER: Duration = Duration::from_millis(250);

/// Between two waves, at first and at most.
const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// When nobody has listened at any place for so long the peer's process is gone: a restart of something in between
/// takes less.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// Between two looks for a cheaper place, at first and at most.
const CLIMB_WAIT_MIN: Duration = Duration::from_secs(1);
const CLIMB_WAIT_MAX: Duration = Duration::from_secs(60);
