//! Puts what the agent sends where it is used.

use std::collections::BTreeSet;
use std::time::SystemTime;

use bytes::Bytes;
use spiffe::X509Context;
use tokio::sync::watch;
use valkyrie_security::provider::StaticKey;
use valkyrie_security::spiffe::{SvidError, TrustBundle, X509Svid};
use valkyrie_security::{Identity, Live, Trust, UnixTime};

use crate::fault::AgentFault;
use crate::state::WorkloadState;

/// Holds the identity and the trust that an agent fills.
pub(crate) struct Keeper {
    identity: Live<Identity>,
    static_key: StaticKey,
    trust: Live<Trust>,
    /// Trust domains that are believed because of the agent, and no others.
    believed: BTreeSet<String>,
    state: watch::Sender<WorkloadState>,
}

impl Keeper {
    /// Takes the first answer of an agent. On a fault, trust is unchanged.
    pub(crate) fn new(
        context: &X509Context,
        static_key: &StaticKey,
        trust: &Live<Trust>,
    ) -> Result<Self, AgentFault> {
        let svid = svid_of(context)?;
        let bundles = bundles_of(context)?;
        let state = WorkloadState {
            updates: 1,
            spiffe_id: svid.spiffe_id().to_string(),
            not_after: svid.not_after(),
            ..WorkloadState::default()
        };
        let mut keeper = Self {
            state: watch::Sender::new(state),
            identity: Live::new(Identity::of_svid(static_key.clone(), svid)),
            static_key: static_key.clone(),
            trust: trust.clone(),
            believed: BTreeSet::new(),
        };
        keeper.believe(bundles)?;
        keeper.tell(|_| {});
        Ok(keeper)
    }

    pub(crate) const fn identity(&self) -> &Live<Identity> {
        &self.identity
    }

    pub(crate) fn watch(&self) -> watch::Receiver<WorkloadState> {
        self.state.subscribe()
    }

    /// Takes another answer. Bundles and identity are judged apart, and each is taken whole or not at all: an authority that
    /// is withdrawn goes, whatever is wrong with the SVID beside it.
    pub(crate) fn take(&mut self, context: &X509Context) {
        let bundles = bundles_of(context).and_then(|bundles| self.believe(bundles));
        let named = svid_of(context).map(|svid| {
            let named = (svid.spiffe_id().to_string(), svid.not_after());
            self.identity
                .store(Identity::of_svid(self.static_key.clone(), svid));
            named
        });
        self.tell(|state| {
            state.updates = state.updates.saturating_add(1);
            state.fault = bundles.err();
            match named {
                Ok((spiffe_id, not_after)) => {
                    state.spiffe_id = spiffe_id;
                    state.not_after = not_after;
                }
                Err(fault) => state.fault = Some(fault),
            }
        });
    }

    /// Nothing came. Whoever is not registered any more is told nothing about whom to believe, and believes nobody.
    pub(crate) fn note(&mut self, mut fault: AgentFault) {
        if matches!(fault, AgentFault::NotRegistered(_))
            && let Err(other) = self.believe(Vec::new())
        {
            fault = other;
        }
        self.tell(|state| {
            state.ended = fault.is_final();
            state.fault = Some(fault);
        });
    }

    /// Believes these trust domains, and no longer those that the agent named before. All of them, or trust is as it was.
    fn believe(&mut self, bundles: Vec<TrustBundle>) -> Result<(), AgentFault> {
        let named: BTreeSet<String> = bundles
            .iter()
            .map(|bundle| bundle.trust_domain().to_owned())
            .collect();
        let mut outcome = Ok(());
        self.trust.update(|held| {
            let mut trust = held.clone();
            for gone in self.believed.difference(&named) {
                trust.forget_trust_domain(gone);
            }
            for bundle in bundles {
                let trust_domain = bundle.trust_domain().to_owned();
                if let Err(error) = trust.trust_bundle(bundle) {
                    outcome = Err(AgentFault::Bundle { trust_domain, error });
                    return held.clone();
                }
            }
            trust
        });
        if outcome.is_ok() {
            self.believed = named;
        }
        outcome
    }

    /// Tells whoever watches.
    fn tell(&self, change: impl FnOnce(&mut WorkloadState)) {
        self.state.send_modify(|state| {
            state.trust_domains = self.believed.iter().cloned().collect();
            change(state);
        });
    }
}

/// The workload's own SVID. Where there are several, the first is the default, as the Workload API has it.
fn svid_of(context: &X509Context) -> Result<X509Svid, AgentFault> {
    let svid = context
        .default_svid()
        .ok_or(AgentFault::Svid(SvidError::Malformed))?;
    let chain = certificates(svid.cert_chain());
    let svid = X509Svid::new(&chain, svid.private_key().as_bytes()).map_err(AgentFault::Svid)?;
    // Nobody would believe it, while the former one may have some time left.
    if svid.not_after() <= UnixTime::from(SystemTime::now()) {
        return Err(AgentFault::Expired);
    }
    Ok(svid)
}

/// Whom the workload is to believe: its own trust domain, and those that it is federated with.
fn bundles_of(context: &X509Context) -> Result<Vec<TrustBundle>, AgentFault> {
    let bundles = context.bundle_set().iter();
    let read = bundles.map(|(trust_domain, bundle)| {
        TrustBundle::new(trust_domain.as_ref(), &certificates(bundle.authorities())).map_err(|error| {
            AgentFault::Bundle {
                trust_domain: trust_domain.to_string(),
                error,
            }
        })
    });
    read.collect()
}

fn certificates(list: &[spiffe::Certificate]) -> Vec<Bytes> {
    list.iter()
        .map(|certificate| Bytes::copy_from_slice(certificate.as_bytes()))
        .collect()
}
