//! Agents that are away, refuse, or send what cannot be used.

use std::time::Duration;

use bytes::Bytes;
use tonic::Code;
use valkyrie_security::spiffe::SvidError;
use valkyrie_security::{Live, Trust};
use valkyrie_spiffe::{AgentFault, Workload, WorkloadError};

use crate::agent::{Agent, Authority, Given};
use crate::{Node, PATIENCE, RUNNER, STORE};

/// Short, where it is known that nothing will come.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// Why there is no identity at all from this address. Nobody is believed because of it.
async fn fault_at(address: &str) -> AgentFault {
    let trust = Live::new(Trust::default());
    let version = trust.version();
    let mut patience = IMPATIENCE;
    loop {
        let fault = match Workload::connect(Some(address), &trust, patience).await {
            Err(WorkloadError::NoIdentity { fault, .. }) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(trust.version(), version);
        // A machine that is busy may not have come to it.
        if fault != AgentFault::Silent || patience > PATIENCE {
            return fault;
        }
        patience *= 2;
    }
}

/// Why there is no identity from an agent that gives this.
async fn refused(given: Given) -> AgentFault {
    let agent = Agent::start(given);
    fault_at(&agent.address()).await
}

/// What an agent that gives this is said to have done wrong, when it gave something good before; which is kept.
async fn kept(given: impl FnOnce(&Authority) -> Given) -> AgentFault {
    let authority = Authority::new();
    let agent = Agent::start(Given::new(&authority, RUNNER));
    let runner = Node::of(&agent).await;
    let store = Node::of(&Agent::start(Given::new(&authority, STORE))).await;
    let before = runner.workload.state();
    agent.give(given(&authority));
    let state = runner.until(|state| state.fault.is_some()).await;
    assert_eq!(
        (&state.spiffe_id, &state.trust_domains, state.not_after),
        (&before.spiffe_id, &before.trust_domains, before.not_after)
    );
    assert!(store.meets(&runner).is_ok() && runner.meets(&store).is_ok());

    // And what is good again is taken.
    agent.give(Given::until(&authority, RUNNER, 2045));
    let after = runner.until(|state| state.fault.is_none()).await;
    assert!(after.not_after > before.not_after);
    state.fault.expect("there is one")
}

/// A bundle of so many authorities.
fn many(authority: &Authority, count: usize) -> Given {
    Given::new(authority, RUNNER).with_bundle(authority.der().repeat(count).into())
}

/// So many trust domains beside the workload's own.
fn wide(authority: &Authority, count: usize) -> Given {
    (0..count).fold(Given::new(authority, RUNNER), |given, at| {
        given.federated(&format!("t{at}.example"), authority)
    })
}

#[tokio::test]
async fn an_agent_that_goes_away_changes_nothing_and_is_found_again() {
    let authority = Authority::new();
    let mut agent = Agent::start(Given::new(&authority, RUNNER));
    let runner = Node::of(&agent).await;
    let store = Node::of(&Agent::start(Given::new(&authority, STORE))).await;
    let before = runner.workload.state();
    agent.stop();
    let gone = runner
        .until(|state| matches!(state.fault, Some(AgentFault::Unreachable(_))))
        .await;
    assert_eq!(
        (&gone.spiffe_id, &gone.trust_domains, gone.ended),
        (&before.spiffe_id, &before.trust_domains, false)
    );
    assert!(store.meets(&runner).is_ok() && runner.meets(&store).is_ok());

    agent.give(Given::until(&authority, RUNNER, 2045));
    agent.resume();
    let back = runner.until(|state| state.fault.is_none()).await;
    assert!(back.not_after > before.not_after);
    assert!(store.meets(&runner).is_ok() && runner.meets(&store).is_ok());
}

#[tokio::test]
async fn without_an_agent_there_is_an_error_in_time() {
    let fault = fault_at("unix:/nonexistent/agent.sock").await;
    assert!(matches!(fault, AgentFault::Unreachable(_)), "{fault}");
    assert!(fault.to_string().contains("No such file"), "{fault}");
}

#[tokio::test]
async fn what_is_no_address_is_refused_at_once() {
    let trust = Live::new(Trust::default());
    for address in [
        "",
        "http://example.org",
        "unix:",
        "/run/spire/agent.sock",
        "unix:agent.sock",
    ] {
        let no_address = Workload::connect(Some(address), &trust, Duration::MAX).await;
        assert!(
            matches!(no_address, Err(WorkloadError::Address { .. })),
            "{address}: {no_address:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_starts_late_is_waited_for() {
    let authority = Authority::new();
    let mut agent = Agent::start(Given::new(&authority, RUNNER));
    agent.stop();
    let (address, trust) = (agent.address(), Live::new(Trust::default()));
    let mut waiting = Box::pin(Workload::connect(Some(&address), &trust, PATIENCE));
    // Long enough for one attempt that fails; however long it takes, what follows holds.
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    agent.resume();
    assert_eq!(waiting.await.unwrap().state().spiffe_id, RUNNER);
}

#[tokio::test]
async fn an_agent_that_never_answers_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let trust = Live::new(Trust::default());
    let address = format!("unix:{}", socket.display());
    let silent = Workload::connect(Some(&address), &trust, IMPATIENCE).await;
    let fault = AgentFault::Silent;
    let patience = IMPATIENCE;
    assert_eq!(silent.unwrap_err(), WorkloadError::NoIdentity { patience, fault });
}

#[tokio::test]
async fn a_socket_of_something_else_is_no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.writable().await;
            let _ = stream.try_write(b"SSH-2.0-OpenSSH_10.0\r\n");
        }
    });
    let fault = fault_at(&format!("unix:{}", socket.display())).await;
    assert!(matches!(fault, AgentFault::Unreachable(_)), "{fault}");
}

#[tokio::test]
async fn a_workload_that_is_withdrawn_believes_nobody_and_keeps_its_identity() {
    let authority = Authority::new();
    let agent = Agent::start(Given::new(&authority, RUNNER));
    let runner = Node::of(&agent).await;
    let store = Node::of(&Agent::start(Given::new(&authority, STORE))).await;
    agent.say(Code::PermissionDenied);
    let state = runner.until(|state| state.fault.is_some()).await;
    assert!(
        matches!(state.fault, Some(AgentFault::NotRegistered(_))),
        "{state:?}"
    );
    assert!(state.trust_domains.is_empty() && !state.ended, "{state:?}");
    assert_eq!(state.spiffe_id, RUNNER);
    assert!(runner.meets(&store).is_err());

    agent.give(Given::new(&authority, RUNNER));
    runner.until(|state| state.fault.is_none()).await;
    assert!(runner.meets(&store).is_ok());
}

#[tokio::test]
async fn an_agent_that_does_not_take_the_request_is_not_asked_again() {
    for code in [Code::InvalidArgument, Code::Unimplemented] {
        let authority = Authority::new();
        let agent = Agent::start_saying(Err(code));
        let trust = Live::new(Trust::default());
        // With all the patience there is: it does not come to that.
        let address = agent.address();
        let connecting = Workload::connect(Some(&address), &trust, Duration::MAX);
        let never = tokio::time::timeout(PATIENCE, connecting)
            .await
            .expect("it gives up at once");
        assert!(
            matches!(
                never,
                Err(WorkloadError::NoIdentity {
                    fault: AgentFault::Refused(_),
                    ..
                })
            ),
            "{never:?}"
        );

        agent.give(Given::new(&authority, RUNNER));
        let runner = Node::of(&agent).await;
        agent.say(code);
        let state = runner.until(|state| state.ended).await;
        assert!(matches!(state.fault, Some(AgentFault::Refused(_))), "{state:?}");
        assert_eq!(state.trust_domains, ["example.org"]);
        // Whoever waits for more is told that there is none.
        assert_eq!(runner.until(|state| state.updates > 9).await, state);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_refused() {
    let authority = Authority::new();
    let good = || Given::new(&authority, RUNNER);
    for (what, wrong) in [
        ("another message", Given::no_message()),
        ("nothing", Given::nothing()),
        ("no certificate", good().with_chain(|_| "garbage".into())),
        (
            "half a certificate",
            good().with_chain(|leaf| leaf.slice(..leaf.len() / 2)),
        ),
        ("an authority", good().with_chain(|_| authority.der())),
        ("no bundle", good().with_bundle("".into())),
        ("a garbage bundle", good().with_bundle("garbage".into())),
        (
            "an SVID of no workload",
            Given::new(&authority, "spiffe://example.org"),
        ),
    ] {
        let fault = refused(wrong).await;
        assert!(matches!(fault, AgentFault::Answer(_)), "{what}: {fault:?}");
    }
    assert_eq!(
        refused(good().with_key_of(&good())).await,
        AgentFault::Svid(SvidError::OtherKey)
    );
}

#[tokio::test]
async fn garbage_leaves_what_was_there() {
    let fault = kept(|_| Given::no_message()).await;
    assert!(matches!(fault, AgentFault::Answer(_)), "{fault:?}");
    let fault = kept(|_| Given::nothing()).await;
    assert!(matches!(fault, AgentFault::Answer(_)), "{fault:?}");
    let fault = kept(|home| Given::new(home, RUNNER).with_chain(|_| "garbage".into())).await;
    assert!(matches!(fault, AgentFault::Answer(_)), "{fault:?}");
    let fault = kept(|home| Given::new(home, RUNNER).with_bundle("garbage".into())).await;
    assert!(matches!(fault, AgentFault::Answer(_)), "{fault:?}");
}

#[tokio::test]
async fn an_identity_that_cannot_be_used_leaves_the_former_one() {
    let other = |home: &Authority| Given::new(home, RUNNER).with_key_of(&Given::new(home, RUNNER));
    assert_eq!(kept(other).await, AgentFault::Svid(SvidError::OtherKey));
    let useless = |home: &Authority| Given::with_useless_key(home, RUNNER);
    assert_eq!(kept(useless).await, AgentFault::Svid(SvidError::KeyKind));
    let expired = |home: &Authority| Given::until(home, RUNNER, 2020);
    assert_eq!(kept(expired).await, AgentFault::Expired);
}

#[tokio::test]
async fn an_authority_is_withdrawn_even_beside_an_identity_that_cannot_be_used() {
    let (old, new) = (Authority::new(), Authority::new());
    let agent = Agent::start(Given::new(&old, RUNNER));
    let runner = Node::of(&agent).await;
    let store = Node::of(&Agent::start(Given::new(&old, STORE))).await;
    assert!(runner.meets(&store).is_ok());
    agent.give(Given::with_useless_key(&new, RUNNER));
    let state = runner.until(|state| state.updates == 2).await;
    assert_eq!(state.fault, Some(AgentFault::Svid(SvidError::KeyKind)));
    assert!(runner.meets(&store).is_err());
}

#[tokio::test]
async fn more_than_is_taken_leaves_what_was_there() {
    let bundle = |trust_domain: &str| AgentFault::Bundle {
        trust_domain: trust_domain.to_owned(),
        error: SvidError::TooMany,
    };
    assert_eq!(kept(|home| many(home, 65)).await, bundle("example.org"));
    let wide = kept(|home| wide(home, 64)).await;
    assert!(
        matches!(
            wide,
            AgentFault::Bundle {
                error: SvidError::TooMany,
                ..
            }
        ),
        "{wide:?}"
    );
    let chain = |home: &Authority| {
        let root = home.der();
        Given::new(home, RUNNER).with_chain(|leaf| [leaf, root.repeat(6).into()].concat().into())
    };
    assert_eq!(kept(chain).await, AgentFault::Svid(SvidError::TooMany));
    let huge = |home: &Authority| many(home, 4 * 1024 * 1024 / home.der().len() + 1);
    assert_eq!(kept(huge).await, AgentFault::TooLong);
    assert_eq!(refused(huge(&Authority::new())).await, AgentFault::TooLong);
}

#[tokio::test]
async fn bundles_are_taken_all_or_none() {
    let (home, authority) = (Authority::new(), Authority::new());
    let agent = Agent::start(Given::new(&home, RUNNER));
    let runner = Node::of(&agent).await;
    let mut strangers = Vec::new();
    for at in 0..8 {
        let there = Given::new(&authority, &format!("spiffe://t{at}.example/store"));
        strangers.push(Node::of(&Agent::start(there.federated("example.org", &home))).await);
    }
    let with = |count: usize| {
        (0..count).fold(Given::new(&home, RUNNER), |given, at| {
            given.federated(&format!("t{at}.example"), &authority)
        })
    };
    agent.give(with(64));
    let state = runner.until(|state| state.updates == 2).await;
    assert!(state.fault.is_some(), "{state:?}");
    for stranger in &strangers {
        assert!(runner.meets(stranger).is_err());
    }
    agent.give(with(63));
    runner.until(|state| state.updates == 3).await;
    for stranger in &strangers {
        assert!(runner.meets(stranger).is_ok());
    }
}

#[tokio::test]
async fn as_much_as_is_taken_is_taken() {
    let authority = Authority::new();
    Node::of(&Agent::start(many(&authority, 64))).await;
    let runner = Node::of(&Agent::start(wide(&authority, 63))).await;
    assert_eq!(runner.workload.state().trust_domains.len(), 64);
    let root = authority.der();
    let chain = |leaf: Bytes| [leaf, root.repeat(5).into()].concat().into();
    Node::of(&Agent::start(Given::new(&authority, RUNNER).with_chain(chain))).await;
}
