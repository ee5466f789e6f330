//! A session moves from QUIC to TCP when the network begins to swallow UDP: nothing is lost, nothing comes twice.
//!
//! This needs root, network namespaces and iptables. Where those are missing each test says so and ends.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use netns::{Cable, End};
use tokio::sync::oneshot;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{AccessPolicy, EndpointBuilder, Locator, Services};

/// A cable, or the reason why there is none, said.
fn cable() -> Option<Cable> {
    match Cable::lay(1500) {
        Ok(cable) => Some(cable),
        Err(missing) => {
            let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
            None
        }
    }
}

/// An endpoint that trusts whom it meets, for a network that nobody else is on.
fn endpoint(name: &str) -> EndpointBuilder {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let identity = Identity::generate(name, UnixTime::from_secs(now.as_secs())).expect("random bytes");
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    let security = Security::new(Live::new(identity), Live::new(trust));
    valkyrie::endpoint()
        .security(security)
        .policy(AccessPolicy::allow_authenticated())
        .resume_for(Duration::from_secs(60))
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// Gives numbers back, each once and in order.
fn services() -> Services {
    Services::builder()
        .stream("numbers", "back", |_, mut send, mut recv| async move {
            let mut next = 0;
            while let Some(message) = recv.recv().await? {
                assert_eq!(message.payload, number(next), "in order and once");
                next += 1;
                send.send(message).await?;
            }
            Ok(())
        })
        .build()
        .expect("no mistake")
}

const PORT: u16 = 7000;
const WANTED: u64 = 5_000;

#[test]
fn a_session_moves_to_tcp_when_udp_is_blocked() {
    let Some(cable) = cable() else { return };
    let place = |scheme: &str| -> Locator {
        let host = cable.ipv4(End::Far);
        format!("{scheme}://{host}:{PORT}").parse().expect("a locator")
    };
    let (ready, is_ready) = oneshot::channel();
    let (over, is_over) = oneshot::channel::<()>();
    let server = cable.run_at(End::Far, {
        let places = [place("quic"), place("tcp")];
        async move {
            let server = endpoint("server")
                .services(services())
                .build()
                .expect("no mistake");
            for place in &places {
                server.listen(place).await.expect("it is free");
            }
            ready.send(()).expect("the dialler waits");
            let _ = is_over.await;
        }
    });
    let (half, is_half) = oneshot::channel();
    let (blocked, is_blocked) = oneshot::channel();
    let dialler = cable.run_at(End::Near, {
        let place = place("auto");
        async move {
            is_ready.await.expect("it listens");
            let client = endpoint("client").build().expect("no mistake");
            let connection = client.connect(&place).await.expect("it answers");
            let before = connection.link().peer;
            let (mut send, mut recv) = connection.open(("numbers", "back")).await.expect("it is served");
            let sender = tokio::spawn(async move {
                for next in 0..WANTED / 2 {
                    send.send(number(next)).await.expect("it goes");
                }
                half.send(()).expect("the test waits");
                is_blocked.await.expect("the test blocks");
                for next in WANTED / 2..WANTED {
                    send.send(number(next)).await.expect("it goes on");
                }
                send.finish();
            });
            let mut next = 0;
            while let Some(message) = recv.recv().await.expect("it goes on") {
                assert_eq!(message.payload, number(next), "in order and once");
                next += 1;
            }
            sender.await.expect("it does not panic");
            let _ = over.send(());
            (next, before, connection.link().peer, connection.link().resumes)
        }
    });
    is_half.blocking_recv().expect("half of it has gone");
    cable.block(End::Far, "udp", true).expect("iptables");
    blocked.send(()).expect("the dialler waits");
    let (received, before, after, resumes) = dialler.result();
    server.result();
    assert_eq!(received, WANTED);
    assert!(before.starts_with("quic"), "{before}");
    assert!(after.starts_with("tcp"), "{after}");
    assert_eq!(resumes, 1);
}

#[test]
fn where_udp_never_passes_tcp_is_dialled() {
    let Some(cable) = cable() else { return };
    cable.block(End::Far, "udp", true).expect("iptables");
    let host = cable.ipv4(End::Far);
    let (ready, is_ready) = oneshot::channel();
    let (over, is_over) = oneshot::channel::<()>();
    let server = cable.run_at(End::Far, async move {
        let server = endpoint("server")
            .services(services())
            .build()
            .expect("no mistake");
        server
            .listen(&format!("tcp://{host}:{PORT}"))
            .await
            .expect("it is free");
        ready.send(()).expect("the dialler waits");
        let _ = is_over.await;
    });
    let dialler = cable.run_at(End::Near, async move {
        is_ready.await.expect("it listens");
        let client = endpoint("client").build().expect("no mistake");
        let connection = client
            .connect(&format!("auto://{host}:{PORT}"))
            .await
            .expect("it answers");
        let peer = connection.link().peer;
        let _ = over.send(());
        peer
    });
    assert!(dialler.result().starts_with("tcp"));
    server.result();
}
