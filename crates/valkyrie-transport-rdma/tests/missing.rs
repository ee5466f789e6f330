//! Machines without RDMA: what is missing is said.

use valkyrie_transport::{Fault, Transport, TransportError};
use valkyrie_transport_rdma::RdmaTransport;

#[tokio::test]
async fn what_is_missing_is_said_to_those_who_dial_and_listen() {
    let transport = RdmaTransport::new();
    // TEST-NET-1, where nobody is, with or without RDMA.
    let place = "rdma://192.0.2.1:7000".parse().unwrap();
    let listened = transport
        .listen(&place)
        .await
        .err()
        .expect("no machine has this address");
    if !std::path::Path::new("/sys/class/infiniband").exists() {
        let dialled = transport.dial(&place).await.err().expect("there is no RDMA");
        for error in [dialled, listened] {
            let TransportError::Unusable { reason, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(error.fault(), Fault::Caller);
            let says_what = ["built without RDMA", "comes with", "no RDMA device"];
            assert!(says_what.iter().any(|what| reason.contains(what)), "{reason}");
        }
    }
}

#[tokio::test]
async fn a_foreign_scheme_and_port_0_are_refused_before_anything_is_looked_for() {
    let transport = RdmaTransport::new();
    let foreign = "tcp://127.0.0.1:1".parse().unwrap();
    assert!(matches!(
        transport.dial(&foreign).await.err(),
        Some(TransportError::UnsupportedScheme { .. })
    ));
    assert!(matches!(
        transport.listen(&foreign).await.err(),
        Some(TransportError::UnsupportedScheme { .. })
    ));
    let any_port = "rdma://127.0.0.1:0".parse().unwrap();
    assert!(matches!(
        transport.dial(&any_port).await.err(),
        Some(TransportError::Unusable { .. })
    ));
}
