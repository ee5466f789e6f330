//! `--swim`: a program that serves as a member of a fleet without a store.
//!
//! A member says where it can be dialled and what it offers, signed with its identity, and serves who is here as it sees it, as a registry that
//! only reads. Read [`SwimArgs`] first: it is what a person can type.

mod follow;
mod meet;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use valkyrie::security::identity::{Fingerprint, SigningKey};
use valkyrie::{AccessPolicy, Endpoint, Expect, Locator, ServicesBuilder};
use valkyrie_registry::agent::{Description, Service, Word};
use valkyrie_registry_remote::{ServiceBounds, service as registry_service, wire as registry_wire};
use valkyrie_registry_swim::node::{Inbox, Members, Seed};
use valkyrie_registry_swim::{Node, SwimConfig, service as swim_service, wire as swim_wire};

pub(crate) use self::follow::{Member, follow};

use crate::access::Access;
use crate::exit::{CliError, Exit};
use crate::net;
use crate::units::parse_duration;

/// Whether to be a member, and of what.
#[derive(Args, Clone, Debug)]
pub(crate) struct SwimArgs {
    /// Be a member of a fleet that has no store: members watch each other, and each serves who is here to `valkyrie registry`.
    #[arg(long, conflicts_with = "spiffe", help_heading = "Membership")]
    swim: bool,

    /// Where another member listens; may be given several times, and may be this one. Places where nobody answers are tried again. Without any
    /// the node waits to be found.
    #[arg(long, value_name = "LOCATOR", requires = "swim", value_parser = net::parse_locator, help_heading = "Membership")]
    join: Vec<Locator>,

    /// Who has to answer there: one fingerprint for all places of --join, or one for each, in their order.
    #[arg(
        long,
        value_name = "FINGERPRINT",
        requires = "join",
        help_heading = "Membership"
    )]
    trust: Vec<Fingerprint>,

    /// Where others dial this node, the best first, unless that is where it listens; needed where it listens at all addresses, as at
    /// tcp://[::]:7400.
    #[arg(long, value_name = "LOCATOR", requires = "swim", value_parser = net::parse_locator, help_heading = "Membership")]
    advertise: Vec<Locator>,

    /// The node's name among the members; that of its identity unless given.
    #[arg(long, value_name = "NAME", requires = "swim", help_heading = "Membership")]
    name: Option<Word>,

    /// Where it stands: a region, a rack.
    #[arg(long, value_name = "ZONE", requires = "swim", help_heading = "Membership")]
    zone: Option<Word>,

    /// Which of this identity's members it is. Two processes of one identity need different ones.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "main",
        help_heading = "Membership"
    )]
    instance: Word,

    /// The name of the cluster, which every record is signed for: who is of another is turned away.
    #[arg(
        long,
        value_name = "NAME",
        env = "VALKYRIE_CLUSTER",
        default_value = "default",
        help_heading = "Membership"
    )]
    cluster: Word,

    /// The longest round trip between any two members, the same for all of them. Who does not answer is gone after some twenty to thirty of
    /// these.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_round_trip, help_heading = "Membership")]
    round_trip: Duration,
}

/// Below the default's nothing would be gained, and above a minute nothing is meant.
fn parse_round_trip(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    match (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&time) {
        true => Ok(time),
        false => Err("write a time from 1ms to 60s".to_owned()),
    }
}

/// A member to be, whose endpoint is not built yet.
pub(crate) struct Candidate {
    inbox: Inbox,
    members: Members,
}

impl SwimArgs {
    /// Whether to be a member at all.
    pub(crate) const fn is_asked(&self) -> bool {
        self.swim
    }

    /// Looks at what can be known to be wrong before anything begins.
    pub(crate) fn check(&self, listen: &[Locator]) -> Result<(), CliError> {
        if !self.swim {
            // Where --swim is excluded by another option, clap asks for it no more.
            let for_members = !self.join.is_empty()
                || !self.advertise.is_empty()
                || self.name.is_some()
                || self.zone.is_some();
            return match for_members {
                true => Err(CliError::new(
                    Exit::Usage,
                    "--join, --trust, --advertise, --name and --zone are for members: give --swim",
                )),
                false => Ok(()),
            };
        }
        if self.trust.len() > 1 && self.trust.len() != self.join.len() {
            let message = format!(
                "{} fingerprints for {} places: give one --trust for all places of --join, or one for each",
                self.trust.len(),
                self.join.len()
            );
            return Err(CliError::new(Exit::Usage, message));
        }
        if self.advertise.is_empty()
            && let Some(place) = listen.iter().find(|place| is_anywhere(place))
            && listen.iter().all(is_anywhere)
        {
            let message =
                format!("members cannot dial {place}, which stands for all addresses of this machine");
            return Err(CliError::new(Exit::Usage, message)
                .hint("say where they find this node, as in --advertise tcp://10.0.0.1:7400"));
        }
        Ok(())
    }

    /// Adds what members offer each other, and who is here as a registry that only reads, if this is to be a member. Within a runtime.
    pub(crate) fn serve(&self, services: ServicesBuilder) -> (ServicesBuilder, Option<Candidate>) {
        if !self.swim {
            return (services, None);
        }
        let members = Members::new();
        let services = registry_service(services, Arc::new(members.clone()), ServiceBounds::DEFAULT);
        let (services, inbox) = swim_service(services);
        (services, Some(Candidate { inbox, members }))
    }

    /// The node's name: the identity's own, as far as it is made of what words are.
    fn name(&self, access: &Access) -> Result<Word, CliError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let plain = |letter: char| match letter {
            '-' | '.' | '_' => letter,
            letter if letter.is_ascii_alphanumeric() => letter,
            _ => '-',
        };
        let text: String = access.keystore().document().name().chars().map(plain).collect();
        text.parse().map_err(|_| {
            let message = format!("the identity's name, {text:?}, cannot be a member's");
            CliError::new(Exit::Usage, message).hint("give another with --name")
        })
    }

    /// The places to begin with, and who has to be there.
    fn seeds(&self) -> Vec<Seed> {
        let expected = |at: usize| {
            let expected = match &self.trust[..] {
                [one] => Some(one),
                several => several.get(at),
            };
            expected.map_or(Expect::Anybody, |fingerprint| Expect::Fingerprint(*fingerprint))
        };
        let seeds = self.join.iter().enumerate();
        seeds
            .map(|(at, place)| Seed {
                place: place.clone(),
                expect: expected(at),
            })
            .collect()
    }
}

impl Candidate {
    /// Joins, as a node that listens at `bound` and offers these services. What comes of it is told by [`Member::follow`].
    pub(crate) fn join(
        self,
        args: &SwimArgs,
        access: &Access,
        endpoint: &Endpoint,
        bound: &[Locator],
        offered: &[&str],
    ) -> Result<Member, CliError> {
        let usage = |error: &dyn std::fmt::Display| CliError::new(Exit::Usage, error.to_string());
        let mut description = Description::new(args.name(access)?);
        description.zone = args.zone.clone();
        let places = match args.advertise.is_empty() {
            true => bound,
            false => &args.advertise[..],
        };
        for place in places.iter().filter(|place| !is_anywhere(place)) {
            description = description.locator(place.clone());
        }
        for name in offered.iter().chain([&registry_wire::SERVICE]) {
            let (name, version) = (name.parse(), env!("CARGO_PKG_VERSION").parse());
            let (name, version) = (
                name.map_err(|error| usage(&error))?,
                version.map_err(|error| usage(&error))?,
            );
            description = description.service(Service::new(name, version));
        }
        description.check().map_err(|error| usage(&error))?;
        let key: Arc<SigningKey> = access.signing_key()?;
        let seeds = args.seeds();
        let mut node = Node::builder(args.cluster.clone(), key, description)
            .instance(args.instance.clone())
            .config(SwimConfig::for_round_trips(args.round_trip))
            .members(self.members);
        for seed in seeds.clone() {
            node = node.seed(seed);
        }
        let node = node
            .join(endpoint.clone(), self.inbox)
            .map_err(|error| usage(&error))?;
        Ok(Member::new(node, endpoint, seeds))
    }
}

/// What peers may do at a member where nobody has said: whoever proves an identity may be one, call `services` and read; and who shows the node's own may
/// ask for its links. Everybody may ask to write everywhere, because the answer, that nothing can be written here, is the same for all.
pub(crate) fn open_policy(own: Fingerprint, services: &[&str]) -> Result<AccessPolicy, CliError> {
    let members = [
        registry_wire::SERVICE,
        registry_wire::OPERATOR_SERVICE,
        swim_wire::SERVICE,
    ];
    let services: Vec<&str> = services.iter().copied().chain(members).collect();
    let text = format!(
        r#"
version = 1
[[allow]]
peers = ["any"]
services = {services:?}
[[allow]]
peers = ["{own}"]
services = ["node"]
"#
    );
    AccessPolicy::parse(&text).map_err(|error| CliError::new(Exit::Local, error.to_string()))
}

/// Whether a place stands for all addresses of a machine, so that nobody else can dial it.
fn is_anywhere(place: &Locator) -> bool {
    let authority = place.rest().split('/').next().unwrap_or_default();
    let Ok(place) = Locator::new("tcp", authority) else {
        return false;
    };
    let address = place.host_port().map(|place| place.host.parse());
    matches!(address, Ok(Ok(address)) if std::net::IpAddr::is_unspecified(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_stands_for_all_addresses_is_told_from_one() {
        for (place, anywhere) in [
            ("tcp://0.0.0.0:7400", true),
            ("quic://[::]:0", true),
            ("ws://[::]:7001/path", true),
            ("tcp://127.0.0.1:7400", false),
            ("tcp://[::1]:7400", false),
            ("tcp://registry.example.org:7400", false),
            ("uds:///run/registry.sock", false),
        ] {
            assert_eq!(is_anywhere(&place.parse().unwrap()), anywhere, "{place}");
        }
    }

    #[test]
    fn a_round_trip_is_one_of_this_planet() {
        assert_eq!(parse_round_trip("50ms"), Ok(Duration::from_millis(50)));
        for bad in ["0s", "2m", "soon"] {
            assert!(parse_round_trip(bad).is_err(), "{bad}");
        }
    }
}
