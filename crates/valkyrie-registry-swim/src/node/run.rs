//! The one task of a node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use valkyrie_endpoint::{Endpoint, ErrorCode, Expect, Failure};
use valkyrie_registry::Moment;
use valkyrie_registry::agent::{Description, Word};
use valkyrie_registry::directory::Vetting;
use valkyrie_registry::record::SealError;
use valkyrie_security::UnixTime;

use super::paths::{Dialled, Paths, Whither};
use super::{Arrived, Inbox, Members, NodeBuilder, Seed, Sight};
use crate::{GoneWhy, Now, PacketError, Recipient, Swim, SwimEvent};

/// What a node is told to do.
#[derive(Debug)]
pub(super) enum Command {
    Describe(Box<Description>, oneshot::Sender<Result<(), SealError>>),
    Leave(oneshot::Sender<Result<(), SealError>>),
}

pub(super) struct Runner {
    swim: Swim,
    cluster: Word,
    vetting: Option<Arc<dyn Vetting>>,
    clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
    began: Instant,
    seeds: Vec<Seed>,
    paths: Paths,
    dialled: mpsc::Receiver<Dialled>,
    inbox: Inbox,
    commands: mpsc::Receiver<Command>,
    members: Members,
    events: broadcast::Sender<SwimEvent>,
    sight: watch::Sender<Sight>,
    misbehaved: u64,
    fault: Option<PacketError>,
}

impl Runner {
    pub(super) fn new(
        builder: NodeBuilder,
        endpoint: Endpoint,
        inbox: Inbox,
        commands: mpsc::Receiver<Command>,
        members: Members,
        events: broadcast::Sender<SwimEvent>,
    ) -> Result<Self, SealError> {
        let began = Instant::now();
        let now = Now {
            at: Moment::START,
            unix: (builder.clock)(),
        };
        let (paths, dialled) = Paths::new(endpoint, builder.config.class, builder.config.suspect_for);
        let mut swim = Swim::new(
            now,
            builder.config,
            builder.cluster.clone(),
            builder.instance,
            builder.key,
            builder.description,
            fastrand::u64(..),
        )?;
        if let Some(vetting) = builder.vetting.clone() {
            swim = swim.with_vetting(vetting);
        }
        let sight = watch::Sender::new(Sight {
            life: swim.life().clone(),
            members: 1,
            suspected: 0,
            stats: swim.stats(),
            dropped: 0,
            misbehaved: 0,
            fault: None,
            turned_away: None,
        });
        Ok(Self {
            swim,
            cluster: builder.cluster,
            vetting: builder.vetting,
            clock: builder.clock,
            began,
            seeds: builder.seeds,
            paths,
            dialled,
            inbox,
            commands,
            members,
            events,
            sight,
            misbehaved: 0,
            fault: None,
        })
    }

    pub(super) fn sight(&self) -> watch::Receiver<Sight> {
        self.sight.subscribe()
    }

    pub(super) fn cluster(&self) -> &Word {
        &self.cluster
    }

    pub(super) fn vetting(&self) -> Option<Arc<dyn Vetting>> {
        self.vetting.clone()
    }

    pub(super) fn clock(&self) -> Arc<dyn Fn() -> UnixTime + Send + Sync> {
        Arc::clone(&self.clock)
    }

    /// Until it is told to leave, or there is nobody left to tell it.
    pub(super) async fn run(mut self) {
        while let Some(due) = self.settle().await {
            tokio::select! {
                () = sleep_until(due) => self.swim.handle_timeout(self.now()),
                Some(arrived) = self.inbox.receiver.recv() => self.handle_arrived(arrived),
                Some(dialled) = self.dialled.recv() => self.paths.handle_dialled(dialled).await,
                command = self.commands.recv() => match command {
                    Some(Command::Describe(description, told)) => {
                        let _ = told.send(self.swim.describe(self.now(), *description));
                    }
                    Some(Command::Leave(told)) => {
                        let left = self.swim.leave(self.now());
                        self.settle().await;
                        let _ = told.send(left);
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    fn now(&self) -> Now {
        let millis = Instant::now().duration_since(self.began).as_millis();
        Now {
            at: Moment::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)),
            unix: (self.clock)(),
        }
    }

    fn handle_arrived(&mut self, arrived: Arrived) {
        match self.swim.handle_packet(self.now(), arrived.from, &arrived.bytes) {
            Ok(id) => self.paths.learn(&id, arrived.connection),
            Err(fault) => {
                self.misbehaved += 1;
                let failure = Failure::new(ErrorCode::INVALID_ARGUMENT, fault.to_string());
                arrived.connection.close_with(failure);
                self.fault = Some(fault);
            }
        }
    }

    /// Does what the member wants done. When it wants to be asked again.
    async fn settle(&mut self) -> Option<Instant> {
        while let Some(transmit) = self.swim.poll_transmit() {
            match transmit.to {
                Recipient::Agent { id, places } => {
                    let expect = Expect::Fingerprint(id.owner());
                    let to = Whither::Agent(id);
                    self.paths.send(to, &places, expect, transmit.packet).await;
                }
                Recipient::Seeds => {
                    for (at, seed) in self.seeds.iter().enumerate() {
                        let (to, places) = (Whither::Seed(at), std::slice::from_ref(&seed.place));
                        let packet = transmit.packet.clone();
                        self.paths.send(to, places, seed.expect.clone(), packet).await;
                    }
                }
            }
        }
        while let Some(event) = self.swim.poll_event() {
            self.show(&event).await;
            // That nobody listens is no error.
            let _ = self.events.send(event);
        }
        let now = Sight {
            life: self.swim.life().clone(),
            members: self.swim.members(),
            suspected: self.swim.suspected().count(),
            stats: self.swim.stats(),
            dropped: self.inbox.dropped.load(Ordering::Relaxed),
            misbehaved: self.misbehaved,
            fault: self.fault.clone(),
            turned_away: self.paths.turned_away().map(str::to_owned),
        };
        self.sight.send_if_modified(|sight| {
            let news = *sight != now;
            *sight = now;
            news
        });
        let due = self.swim.poll_timeout()?;
        Some(self.began + due.since(Moment::START))
    }

    /// Writes what became of an agent where views see it.
    async fn show(&mut self, event: &SwimEvent) {
        match event {
            SwimEvent::Here { life, record } => self.members.here(&life.id, record.clone()).await,
            SwimEvent::Gone { life, why } => {
                if *why == GoneWhy::Silent {
                    self.paths.forget(&life.id);
                }
                self.members.gone(&life.id, *why).await;
            }
            SwimEvent::Suspected(_) | SwimEvent::Answered(_) => {}
        }
    }
}
