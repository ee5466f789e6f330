//! Sessions over RDMA, where there is a device: secure calls and streams, and a session that goes on over TCP when its link over
//! RDMA breaks. Without a device each test says so and ends; `cargo xtask rdma` runs them on one.

#[path = "../../valkyrie-endpoint/tests/it/breakable.rs"]
mod breakable;
#[path = "../../valkyrie-transport-rdma/tests/support/mod.rs"]
mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use breakable::Breaker;
use bytes::Bytes;
use support::{anywhere, device};
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{AccessPolicy, Endpoint, Method, RdmaTransport, Services, TcpTransport};

/// Longer than anything here takes, on a machine that is emulated and does much else.
const PATIENCE: Duration = Duration::from_secs(300);

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn endpoint(breaker: &Breaker) -> Endpoint {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let identity = Identity::generate("rdma", UnixTime::from_secs(now.as_secs())).expect("random bytes");
    // Links over RDMA never say that they are within the machine.
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    let services = Services::builder()
        .unary("text", "reverse", |_, mut text| async move {
            let mut bytes = text.split_off(0).to_vec();
            bytes.reverse();
            Ok(bytes.into())
        })
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
        .expect("no mistake");
    Endpoint::builder()
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .transport(breaker.over(TcpTransport::new()))
        .transport(breaker.over(RdmaTransport::new()))
        .services(services)
        .policy(AccessPolicy::allow_authenticated())
        .resume_for(Duration::from_secs(60))
        .build()
        .expect("no mistake")
}

#[tokio::test]
async fn a_secure_session_over_rdma_calls_and_streams() {
    let Some(address) = device() else { return };
    let breaker = Breaker::default();
    let (server, client) = (endpoint(&breaker), endpoint(&breaker));
    let place = server.listen(anywhere(address)).await.expect("it is free");
    let talk = async {
        let connection = client.connect(place).await.expect("it answers");
        assert!(connection.link().peer.starts_with("rdma"));
        let reverse = Method::new("text", "reverse").expect("a method");
        let text: Bytes = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let answer = connection.call(&reverse, text.clone()).await.expect("it answers");
        assert!(answer.iter().eq(text.iter().rev()));
        let (mut send, mut recv) = connection.open(("numbers", "back")).await.expect("it is served");
        for next in 0..200 {
            send.send(number(next)).await.expect("it goes");
            let message = recv.recv().await.expect("it comes").expect("there is more");
            assert_eq!(message.payload, number(next));
        }
        send.finish();
        assert!(recv.recv().await.expect("it ends well").is_none());
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("it ends");
}

#[tokio::test]
async fn a_session_goes_on_over_tcp_when_its_rdma_link_breaks() {
    let Some(address) = device() else { return };
    let breaker = Breaker::default();
    let (server, client) = (endpoint(&breaker), endpoint(&breaker));
    let place = server.listen(anywhere(address)).await.expect("it is free");
    server
        .listen(&format!("tcp://{address}:0"))
        .await
        .expect("it is free");
    let wanted = 3_000;
    let talk = async {
        breaker.only("rdma");
        let connection = client.connect(place).await.expect("it answers");
        assert!(connection.link().peer.starts_with("rdma"));
        let (mut send, mut recv) = connection.open(("numbers", "back")).await.expect("it is served");
        let sender = tokio::spawn(async move {
            for next in 0..wanted {
                send.send(number(next)).await.expect("it goes on");
            }
            send.finish();
        });
        let mut next = 0;
        while let Some(message) = recv.recv().await.expect("it goes on") {
            assert_eq!(message.payload, number(next), "in order and once");
            next += 1;
            if next == wanted / 3 {
                breaker.only("tcp");
                breaker.break_all();
            }
        }
        assert_eq!(next, wanted);
        sender.await.expect("it does not panic");
        // All of the stream may have been on its way already; this was not.
        let reverse = Method::new("text", "reverse").expect("a method");
        let answer = connection.call(&reverse, "abc").await.expect("it goes on");
        assert_eq!(answer, "cba");
        let link = connection.link();
        assert!(link.peer.starts_with("tcp"), "{}", link.peer);
        assert!(link.resumes >= 1);
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("it ends");
}
