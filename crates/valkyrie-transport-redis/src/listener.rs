//! Listening under a node's name: claim it, answer those who ask, and come back after the broker did.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use valkyrie_transport::{Action, Link, Listener, Locator, TransportError};

use crate::broker::{Broker, Delivery};
use crate::error::BrokerFault;
use crate::link::{RedisLink, WINDOW_BYTES};
use crate::options::RedisTransport;
use crate::packet::{Id, Packet, header, kind, node_channel, with_id};
use crate::place::Place;
use crate::wire::Wire;

/// Claims the node's name and starts answering.
//= protocol/transports.md#redis-opening
pub(crate) async fn listen(
    options: &RedisTransport,
    locator: &Locator,
) -> Result<RedisListener, TransportError> {
    let place = Arc::new(Place::node(options, locator)?);
    let post = Post::claim(options, &place).await?;
    let (ready, links) = mpsc::channel(WAITING_LINKS_MAX);
    let locator = place.locator.clone();
    let task = tokio::spawn(serve(options.clone(), place, post, ready));
    Ok(RedisListener {
        links,
        locator,
        task: task.abort_handle(),
    })
}

type Accepted = Result<RedisLink, TransportError>;

pub(crate) struct RedisListener {
    links: mpsc::Receiver<Accepted>,
    locator: Locator,
    task: AbortHandle,
}

impl Listener for RedisListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        match self.links.poll_recv(cx) {
            Poll::Ready(Some(Ok(link))) => Poll::Ready(Ok(Box::new(link))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
            // The task lives as long as this does, unless its runtime is gone, and then nobody polls.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for RedisListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for RedisListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisListener")
            .field("locator", &self.locator)
            .finish_non_exhaustive()
    }
}

/// A connection to the broker that holds the node's name.
struct Post {
    broker: Broker,
    /// What comes on the channel of the name, and `None` when the broker is gone.
    arriving: mpsc::Receiver<Option<Packet>>,
    channel: Vec<u8>,
    claim: Id,
}

impl Post {
    /// Takes the name unless somebody has it.
    ///
    /// Who has it answers a claim. The broker also says how many listen there; that number alone does not decide, because
    /// the broker counts one whose machine is gone for minutes.
    async fn claim(options: &RedisTransport, place: &Place) -> Result<Self, TransportError> {
        let (arrives, arriving) = mpsc::channel(OPENINGS_MAX);
        let broker = Broker::connect(options, place, Action::Listen, move |delivery| {
            // When this is full openings are lost, whose diallers wait in vain: there are too many to answer anyway.
            let _ = match delivery {
                Delivery::Named { payload, .. } => match Packet::decode(payload) {
                    Some(packet) => arrives.try_send(Some(packet)),
                    None => Ok(()),
                },
                Delivery::Matched { .. } => Ok(()),
                Delivery::Gone => arrives.try_send(None),
            };
        });
        let mut post = Self {
            broker: broker.await?,
            arriving,
            channel: node_channel(&place.name),
            claim: Id::random(),
        };
        let failed = |fault: BrokerFault| fault.into_transport(Action::Listen, &place.locator);
        post.broker
            .subscribe(&[post.channel.clone()])
            .await
            .map_err(failed)?;
        let give_up = Instant::now() + CLAIM_TIME_MAX;
        while Instant::now() < give_up {
            let packet = with_id(kind::CLAIM, 0, post.claim);
            let listeners = post
                .broker
                .publish(&post.channel, &packet)
                .await
                .map_err(failed)?;
            if listeners <= 1 {
                return Ok(post);
            }
            post.hear_answers(place).await?;
        }
        // Whoever the broker counts there does not answer: it is gone.
        Ok(post)
    }

    /// Listens to what the others at the channel say, until the next claim is due.
    async fn hear_answers(&mut self, place: &Place) -> Result<(), TransportError> {
        let failed = |fault: BrokerFault| fault.into_transport(Action::Listen, &place.locator);
        let until = Instant::now() + CLAIM_INTERVAL;
        while let Ok(arrived) = timeout_at(until, self.arriving.recv()).await {
            let Some(packet) = arrived.flatten() else {
                return Err(failed(BrokerFault::Gone));
            };
            match (packet.kind, packet.id()) {
                (kind::TAKEN, Some(id)) if id == self.claim => {
                    return Err(TransportError::AddressInUse {
                        locator: place.locator.clone(),
                        source: io::ErrorKind::AddrInUse.into(),
                    });
                }
                // Of several that claim the name at once the smallest claim gets it.
                (kind::CLAIM, Some(id)) if id > self.claim => {
                    self.deny(id).await.map_err(failed)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn deny(&self, claim: Id) -> Result<(), BrokerFault> {
        let packet = with_id(kind::TAKEN, 0, claim);
        self.broker.publish(&self.channel, &packet).await?;
        Ok(())
    }
}

/// Answers those who ask, for as long as the listener lives. The name is a place to be found at, and a place outlives a
/// broken connection: when the broker is gone this says so once and takes the name again when it can.
async fn serve(options: RedisTransport, place: Arc<Place>, mut post: Post, ready: mpsc::Sender<Accepted>) {
    let mut openings = JoinSet::new();
    loop {
        let fault = answer(&options, &place, &mut post, &ready, &mut openings).await;
        report(&ready, fault.into_transport(Action::Accept, &place.locator));
        drop(post);
        let mut told = false;
        post = loop {
            sleep(RETURN_INTERVAL).await;
            match Post::claim(&options, &place).await {
                Ok(post) => break post,
                // The broker's absence has been told; what is worth telling is another who took the name meanwhile.
                Err(
                    error @ (TransportError::AddressInUse { .. } | TransportError::PermissionDenied { .. }),
                ) => {
                    if !told {
                        report(&ready, error);
                        told = true;
                    }
                }
                Err(_) => {}
            }
        };
    }
}

fn report(ready: &mpsc::Sender<Accepted>, error: TransportError) {
    // Where so many links wait to be accepted that there is no room for an error, nobody reads errors.
    let _ = ready.try_send(Err(error));
}

/// Answers until the broker fails us.
async fn answer(
    options: &RedisTransport,
    place: &Arc<Place>,
    post: &mut Post,
    ready: &mpsc::Sender<Accepted>,
    openings: &mut JoinSet<()>,
) -> BrokerFault {
    loop {
        let arrived = tokio::select! {
            arrived = post.arriving.recv() => arrived,
            Some(_) = openings.join_next() => continue,
        };
        let Some(packet) = arrived.flatten() else {
            return BrokerFault::Gone;
        };
        let answered = match (packet.kind, packet.id()) {
            (kind::CLAIM, Some(id)) if id != post.claim => post.deny(id).await,
            (kind::OPEN, Some(dialler)) => {
                // A link that is opened has a place to wait for its acceptor.
                let permit = match openings.len() < OPENINGS_MAX {
                    true => ready.clone().try_reserve_owned().ok(),
                    false => None,
                };
                match permit {
                    Some(permit) => {
                        let (options, place) = (options.clone(), Arc::clone(place));
                        let limit = packet.limit;
                        openings.spawn(async move {
                            let opening = accept(&options, &place, dialler, limit);
                            match timeout(options.connect_timeout, opening).await {
                                Ok(Ok(Some(link))) => drop(permit.send(Ok(link))),
                                Ok(Err(error)) => drop(permit.send(Err(error))),
                                // The dialler is gone, or as good as gone.
                                Ok(Ok(None)) | Err(_) => {}
                            }
                        });
                        Ok(())
                    }
                    None => {
                        let packet = header(kind::BUSY, 0, 0);
                        post.broker.publish(&dialler.channel(), &packet).await.map(drop)
                    }
                }
            }
            // Anyone the broker lets may publish here; what is none of this protocol is nobody's.
            _ => Ok(()),
        };
        if let Err(fault) = answered {
            return fault;
        }
    }
}

/// Makes our end of a link; `None` where the dialler does not wait for it any more.
async fn accept(
    options: &RedisTransport,
    place: &Place,
    dialler: Id,
    limit: u64,
) -> Result<Option<RedisLink>, TransportError> {
    let wire = Wire::new(Some((dialler, limit)), options.heartbeat, options.silence_max());
    let wire = Arc::new(wire);
    let takes = Arc::clone(&wire);
    let broker = Broker::connect(options, place, Action::Accept, move |delivery| {
        takes.take(delivery)
    })
    .await?;
    let failed = |fault: BrokerFault| fault.into_transport(Action::Accept, &place.locator);
    let ours = Id::random();
    broker.subscribe(&[ours.channel()]).await.map_err(failed)?;
    let packet = with_id(kind::ACCEPT, WINDOW_BYTES, ours);
    let listeners = broker
        .publish(&dialler.channel(), &packet)
        .await
        .map_err(failed)?;
    if listeners == 0 {
        return Ok(None);
    }
    // A name for people: who dials has none that the broker could vouch for.
    let peer = format!("{} dialler of {}", options.scheme_name(), place.locator.rest());
    Ok(Some(RedisLink::start(broker, wire, dialler, peer)))
}

/// How long whoever has a name is given to say so when another claims it. A listener answers from a task of its own, at
/// once; this is for a machine that is very busy.
//= protocol/transports.md#redis-opening
pub const CLAIM_TIME_MAX: Duration = Duration::from_secs(2);

/// How long after a claim the next is made, while others seem to listen. One whose connection has just ended is not counted
/// any more a moment later.
const CLAIM_INTERVAL: Duration = Duration::from_millis(50);

/// How long a listener whose broker is gone waits before each attempt to come back: soon enough for a restart not to be
/// felt for long, and no burden for a broker that starts.
pub const RETURN_INTERVAL: Duration = Duration::from_millis(500);

/// How many links of one listener may be in their opening at once, each a connection to the broker. More are told that the
/// node is busy.
pub const OPENINGS_MAX: usize = 256;

/// How many opened links may wait to be accepted. It is what a busy TCP listener is commonly given.
pub const WAITING_LINKS_MAX: usize = 1024;
