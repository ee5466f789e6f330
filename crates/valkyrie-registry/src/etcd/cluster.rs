//! Which member is asked, how long it may take, and who is asked after it.
//!
//! All requests go to one member until it fails them: then they go to the next. A request that can have been done is not sent twice
//! unless doing it twice does no harm.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, Error, GetOptions, ResponseHeader};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::fault::Fault;
use super::member::{Line, Member};
use super::options::{ConnectError, EtcdOptions};
use super::place::Place;
use crate::store::{Answer, Certificate, Revision, StoreError};

/// The members, and the one that is asked.
pub(super) struct Cluster {
    members: Vec<Member>,
    asked: AtomicUsize,
    /// What the cluster calls itself, from its first answer on.
    id: OnceLock<u64>,
    /// A key to ask about where the question is about none. A user with few rights has some here.
    pulse: Vec<u8>,
}

/// What may be done when nobody knows whether a request was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Ask the next member: it changes nothing, or nothing that matters.
    Yes,
    /// Say so.
    No,
}

impl Cluster {
    pub(super) fn new(options: &EtcdOptions) -> Result<Self, ConnectError> {
        if options.endpoints.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        let members = options.endpoints.iter();
        Ok(Self {
            members: members
                .map(|endpoint| Member::new(options, endpoint))
                .collect::<Result<_, _>>()?,
            asked: AtomicUsize::new(0),
            id: OnceLock::new(),
            pulse: Place::beneath(&options.path).pulse(),
        })
    }

    /// Sends a request to a member, and to the next as long as that is right and there is time.
    pub(super) async fn request<T, F>(
        &self,
        again: Again,
        ask: impl Fn(&Client) -> F + Send + Sync,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let mut round = Round::new(self, again);
        loop {
            let index = self.asked();
            let member = &self.members[index];
            let answer = match again {
                Again::Yes => {
                    let until = round.deadline.min(Instant::now() + ANSWER_TIME_MAX);
                    attempt(member, &member.requests, until, &ask).await
                }
                Again::No => tokio::select! {
                    answer = attempt(member, &member.requests, round.deadline, &ask) => answer,
                    fault = self.doubt(index) => Err(fault),
                },
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) => round.after(index, &member.requests, fault).await?,
            }
        }
    }

    /// The member that is asked now.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// One of the members.
    pub(super) fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// Asks the next member from now on, if that is not so already.
    fn leave(&self, index: usize) {
        let next = (index + 1) % self.members.len();
        // That somebody else was faster is as good.
        let _ = self
            .asked
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// While a write waits: looks whether there is still something to wait for, and says what there was not.
    ///
    /// A member that does not even say what it knows by itself will not answer; and what went to a leader that has been
    /// replaced since is lost with it, or was answered.
    async fn doubt(&self, index: usize) -> Fault {
        let member = &self.members[index];
        let pulse = |client: &Client| {
            let (mut kv, key) = (client.kv_client(), self.pulse.clone());
            let options = GetOptions::new().with_serializable().with_count_only();
            async move { kv.get(key, Some(options)).await }
        };
        let mut term = None;
        loop {
            sleep(DOUBT_AFTER).await;
            let until = Instant::now() + ANSWER_TIME_MAX;
            match attempt(member, &member.requests, until, &pulse).await {
                Ok(answer) => {
                    let now = answer.header().map_or(0, ResponseHeader::raft_term);
                    if *term.get_or_insert(now) < now {
                        // What the member itself held back is with the new leader now.
                        sleep(DOUBT_AFTER).await;
                        return Fault::Lost("another leader was elected in between".to_owned());
                    }
                }
                Err(fault @ Fault::Lost(_)) => return fault,
                // It has no leader at the moment; another may.
                Err(Fault::NotNow(_) | Fault::Unreachable(_)) => self.leave(index),
                Err(_) => {}
            }
        }
    }

    /// The last revision of the cluster, by its own word.
    pub(super) async fn revision(&self) -> Result<Revision, StoreError> {
        let asked = self.request(Again::Yes, |client| {
            let (mut kv, key) = (client.kv_client(), self.pulse.clone());
            let options = GetOptions::new().with_count_only();
            async move { kv.get(key, Some(options)).await }
        });
        let got = asked.await.map_err(Fault::of_reading)?;
        self.revision_of(got.header())
    }

    /// The revision at which an answer holds.
    pub(super) fn revision_of(&self, header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
        let header = header.ok_or_else(|| StoreError::Broken("an answer has no header".to_owned()))?;
        let known = *self.id.get_or_init(|| header.cluster_id());
        if known != header.cluster_id() {
            return Err(StoreError::Broken(format!(
                "cluster {:x} answers in place of cluster {known:x}: connect anew",
                header.cluster_id()
            )));
        }
        u64::try_from(header.revision())
            .map(Revision::new)
            .map_err(|_| StoreError::Broken("an answer has a revision below zero".to_owned()))
    }

    /// An answer as the contract has it.
    pub(super) fn answer<T>(
        &self,
        value: T,
        header: Option<&ResponseHeader>,
    ) -> Result<Answer<T>, StoreError> {
        Ok(Answer {
            value,
            revision: self.revision_of(header)?,
            at: None,
            certificate: Certificate::none(),
        })
    }
}

/// One try at one member. That it was in vain for want of time is the member's fault, and all who wait for it hear of that.
pub(super) async fn attempt<T, F>(
    member: &Member,
    line: &Line,
    until: Instant,
    ask: &(impl Fn(&Client) -> F + Send + Sync),
) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Error>> + Send,
{
    let silent = || {
        member.silent();
        format!("{} does not answer", member.endpoint())
    };
    let client = tokio::select! {
        client = line.client() => client?,
        // Nothing was asked for yet.
        () = sleep_until(until) => return Err(Fault::NotNow(silent())),
    };
    tokio::select! {
        answer = ask(client) => answer.map_err(|error| Fault::of(&error)),
        () = sleep_until(until) => Err(Fault::Lost(silent())),
    }
}

/// How often a request was tried, and with what.
pub(super) struct Round<'a> {
    cluster: &'a Cluster,
    again: Again,
    pub(super) deadline: Instant,
    logged_in_again: bool,
    unreachable: Vec<bool>,
    tried: usize,
}

impl<'a> Round<'a> {
    pub(super) fn new(cluster: &'a Cluster, again: Again) -> Self {
        let time_max = match again {
            Again::Yes => READ_TIME_MAX,
            Again::No => WRITE_TIME_MAX,
        };
        Self {
            cluster,
            again,
            deadline: Instant::now() + time_max,
            logged_in_again: false,
            unreachable: vec![false; cluster.members.len()],
            tried: 0,
        }
    }

    /// After a try at a member: gets ready for the next, or says that there is to be none.
    pub(super) async fn after(&mut self, index: usize, line: &Line, fault: Fault) -> Result<(), Fault> {
        match &fault {
            Fault::Token(_) if !self.logged_in_again => {
                self.logged_in_again = true;
                return timeout(ANSWER_TIME_MAX, line.refresh())
                    .await
                    .unwrap_or(Err(fault));
            }
            Fault::Unreachable(_) => self.unreachable[index] = true,
            Fault::NotNow(_) => self.unreachable[index] = false,
            Fault::Lost(_) => {
                self.unreachable[index] = false;
                if self.again == Again::No {
                    self.cluster.leave(index);
                    return Err(fault);
                }
            }
            _ => return Err(fault),
        }
        self.cluster.leave(index);
        self.tried += 1;
        if self.unreachable.iter().all(|unreachable| *unreachable) || Instant::now() >= self.deadline {
            return Err(fault);
        }
        if self.tried.is_multiple_of(self.cluster.members.len()) {
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// How long anything may take that may be tried again: an election takes one to two seconds, and this is two of them and a second.
pub const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a write may take at most before nobody knows whether it was done. A write that a leader took with it is lost for good, so there
/// is no use in waiting for much longer than an election; where it is seen that there is none, it is said earlier.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(3);
/// How long one member may take before another is asked the same.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a write waits before its member is asked for a sign of life, and between two such questions.
const DOUBT_AFTER: Duration = Duration::from_millis(500);
/// Between two rounds of all members.
const PAUSE: Duration = Duration::from_millis(50);
