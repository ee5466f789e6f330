//! A member over an endpoint: one task that owns a [`Swim`](crate::Swim), sends what it wants sent, and shows what it believes as a view.
//!
//! What a node believes is kept as the entries of a store in its own memory, which nobody else writes ([`Members`]). So a [`View`] follows it as it
//! follows any store, and verifies once more what it shows; and `valkyrie-router` follows the view.
//!
//! Read [`service()`] first, then [`NodeBuilder::join`].

mod members;
mod paths;
mod run;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use valkyrie_endpoint::{Connection, Context, Endpoint, Expect, Locator, ServicesBuilder};
use valkyrie_registry::View;
use valkyrie_registry::agent::{Description, Word};
use valkyrie_registry::directory::{Directory, Vetting};
use valkyrie_registry::record::SealError;
use valkyrie_security::identity::SigningKey;
use valkyrie_security::{Fingerprint, UnixTime};

pub use self::members::Members;
use self::run::{Command, Runner};
use crate::wire::{METHOD, SERVICE};
use crate::{Life, PacketError, SwimConfig, SwimConfigError, SwimEvent, SwimStats};

/// Adds the service that members offer each other, and gives where its packets arrive, for [`NodeBuilder::join`].
///
/// Nobody may send any until the endpoint's policy allows the service [`SERVICE`] to them. Whoever may is a member like any other once it
/// has said who it is, so the policy is who belongs to the fleet.
pub fn service(builder: ServicesBuilder) -> (ServicesBuilder, Inbox) {
    let (sender, receiver) = mpsc::channel(ARRIVED_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    let builder = builder.notify(SERVICE, METHOD, move |context: Context, bytes| {
        // Who has not proved an identity cannot be a member; and who is faster than this side can look is probed again.
        let arrived = context.identity().fingerprint().map(|from| Arrived {
            from,
            connection: context.connection(),
            bytes,
        });
        if arrived.is_none_or(|arrived| sender.try_send(arrived).is_err()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        std::future::ready(())
    });
    (builder, Inbox { receiver, dropped })
}

/// Where packets of others arrive.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Arrived>,
    dropped: Arc<AtomicU64>,
}

/// A packet, and whose.
#[derive(Debug)]
struct Arrived {
    from: Fingerprint,
    connection: Connection,
    bytes: Bytes,
}

/// Where to find others to begin with.
#[derive(Clone, Debug)]
pub struct Seed {
    /// A place where one of them listens.
    pub place: Locator,
    /// Who has to be there.
    pub expect: Expect,
}

impl From<Locator> for Seed {
    /// Whoever the endpoint trusts.
    fn from(place: Locator) -> Self {
        Self {
            place,
            expect: Expect::Anybody,
        }
    }
}

/// Describes a member before it joins.
#[must_use]
pub struct NodeBuilder {
    cluster: Word,
    instance: Word,
    key: Arc<SigningKey>,
    description: Description,
    seeds: Vec<Seed>,
    config: SwimConfig,
    vetting: Option<Arc<dyn Vetting>>,
    clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
    members: Option<Members>,
}

impl NodeBuilder {
    /// Another place to find others at. Without any, the node waits to be found.
    pub fn seed(mut self, seed: impl Into<Seed>) -> Self {
        self.seeds.push(seed.into());
        self
    }

    /// Which of several agents of its identity it is; `main` unless told otherwise.
    pub fn instance(mut self, instance: Word) -> Self {
        self.instance = instance;
        self
    }

    /// Other times than the default's.
    pub fn config(mut self, config: SwimConfig) -> Self {
        self.config = config;
        self
    }

    /// Taking only agents that this admits.
    pub fn vetting(mut self, vetting: impl Vetting) -> Self {
        self.vetting = Some(Arc::new(vetting));
        self
    }

    /// Another time of day than the machine's.
    pub fn clock(mut self, clock: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Keeping who is here in this, which may have been given to others to read already. Only one node may keep it.
    pub fn members(mut self, members: Members) -> Self {
        self.members = Some(members);
        self
    }

    /// Joins: the node is a member of its own from now on, and of the fleet once a seed or another member has answered.
    ///
    /// # Errors
    /// [`JoinError`]: the caller's numbers or description cannot be; nothing was started.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join(mut self, endpoint: Endpoint, inbox: Inbox) -> Result<Node, JoinError> {
        self.config.check()?;
        let members = self.members.take().unwrap_or_default();
        let (commands, inner) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let runner = Runner::new(self, endpoint, inbox, inner, members.clone(), events.clone())?;
        let sight = runner.sight();
        let node = Node {
            members,
            cluster: runner.cluster().clone(),
            vetting: runner.vetting(),
            clock: runner.clock(),
            sight,
            events,
            commands,
            task: tokio::spawn(runner.run()),
        };
        Ok(node)
    }
}

/// A member. Dropping it ends that without a word, as a crash would: see [`Node::leave`].
pub struct Node {
    members: Members,
    cluster: Word,
    vetting: Option<Arc<dyn Vetting>>,
    clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
    sight: watch::Receiver<Sight>,
    events: broadcast::Sender<SwimEvent>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// What a node sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sight {
    /// The node itself, in its present life.
    pub life: Life,
    /// Agents that are here, itself included.
    pub members: usize,
    /// How many of them are accused and have not answered yet.
    pub suspected: usize,
    /// What has been counted.
    pub stats: SwimStats,
    /// Packets that were dropped before they were looked at: too many at once, or of peers without an identity.
    pub dropped: u64,
    /// Packets that were refused, each of which ended its connection.
    pub misbehaved: u64,
    /// Why the last of them was.
    pub fault: Option<PacketError>,
    /// What another member said when it ended a connection over a packet of this node, the last time that one did. Two processes that are one
    /// agent hear it of each other's peers.
    pub turned_away: Option<String>,
}

impl Node {
    /// A member of `cluster` that says this of itself, signed with `key`: the one that its endpoint proves to have, or nobody believes what
    /// it sends. Its description has the places where the endpoint listens.
    pub fn builder(cluster: Word, key: Arc<SigningKey>, description: Description) -> NodeBuilder {
        NodeBuilder {
            cluster,
            instance: main_instance(),
            key,
            description,
            seeds: Vec::new(),
            config: SwimConfig::default(),
            vetting: None,
            clock: Arc::new(|| std::time::SystemTime::now().into()),
            members: None,
        }
    }

    /// Who is here, as this node sees it, as a store that only reads: what `valkyrie-registry-remote` serves to others.
    pub fn members(&self) -> Members {
        self.members.clone()
    }

    /// Who is here, as this node sees it: what `valkyrie-router` follows. It begins with what is known now.
    pub fn view(&self) -> View {
        let mut directory = Directory::new(self.cluster.clone());
        if let Some(vetting) = self.vetting.clone() {
            directory = directory.with_vetting(
                move |id: &valkyrie_registry::agent::AgentId, description: &Description| {
                    vetting.admits(id, description)
                },
            );
        }
        let clock = Arc::clone(&self.clock);
        View::follow(Arc::new(self.members.clone()), directory, move || clock())
    }

    /// What it sees now.
    pub fn sight(&self) -> Sight {
        self.sight.borrow().clone()
    }

    /// Waits until it sees something.
    ///
    /// # Errors
    /// [`NodeEnded`]: it has left, or its runtime has ended.
    pub async fn wait_for(&self, wanted: impl FnMut(&Sight) -> bool) -> Result<Sight, NodeEnded> {
        let mut sight = self.sight.clone();
        let seen = sight.wait_for(wanted).await;
        seen.map(|sight| sight.clone()).map_err(|_| NodeEnded)
    }

    /// What happens to agents from now on, suspicion included. A listener that is more than some thousand behind is told that it has missed some.
    pub fn events(&self) -> broadcast::Receiver<SwimEvent> {
        self.events.subscribe()
    }

    /// Says something else of itself.
    ///
    /// # Errors
    /// [`DescribeError`]: what was said before stays.
    pub async fn describe(&self, description: Description) -> Result<(), DescribeError> {
        self.tell(|told| Command::Describe(Box::new(description), told))
            .await
    }

    /// Leaves and tells others, so that nobody has to notice.
    ///
    /// # Errors
    /// [`DescribeError`]: others were not told; they will notice.
    pub async fn leave(self) -> Result<(), DescribeError> {
        self.tell(Command::Leave).await
    }

    async fn tell(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), SealError>>) -> Command,
    ) -> Result<(), DescribeError> {
        let (told, answer) = oneshot::channel();
        let sent = self.commands.send(command(told)).await;
        sent.map_err(|_| DescribeError::Ended)?;
        let answer = answer.await.map_err(|_| DescribeError::Ended)?;
        Ok(answer?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("sight", &self.sight())
            .finish_non_exhaustive()
    }
}

/// A node could not begin. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The caller's times contradict each other.
    #[error("{0}")]
    Config(#[from] SwimConfigError),
    /// The caller's description breaks a rule, or this machine cannot sign.
    #[error("{0}")]
    Seal(#[from] SealError),
}

/// A node did not say what it was to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// The caller's description breaks a rule, or this machine cannot sign.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}

/// The node has left, or its runtime has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has ended")]
pub struct NodeEnded;

fn main_instance() -> Word {
    "main".parse().unwrap_or_else(|_| unreachable!("it is a word"))
}

/// Packets that wait to be looked at: a few of each member of a full fleet.
const ARRIVED_MAX: usize = 4096;
/// Commands that wait for the task.
const COMMANDS_MAX: usize = 16;
/// Events that wait for a slow listener.
const EVENTS_MAX: usize = 4096;
