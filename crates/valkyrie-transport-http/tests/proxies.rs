//! Links through proxies that speak HTTP/2.
#![cfg(unix)]

#[path = "proxies/program.rs"]
mod program;
mod support;

use program::{Kind, Proxy};
use support::{close, read, within, write_all};
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{Link, Listener, Transport, accept};
use valkyrie_transport_http::HttpTransport;

/// Through the proxy's plain port, and through the one where TLS ends.
async fn pairs(kind: Kind) -> Option<(Proxy, Vec<(Box<dyn Link>, Box<dyn Link>)>, Box<dyn Listener>)> {
    let proxy = Proxy::start(kind)?;
    let behind = format!("http://127.0.0.1:{}", proxy.behind).parse().unwrap();
    let mut listener = HttpTransport::new().listen(&behind).await.unwrap();
    let plain = HttpTransport::new();
    let secure = HttpTransport::secure(Certificates::self_signed(), Roots::Any).without_binding();
    let places: [(HttpTransport, String); 2] = [
        (plain, format!("http://127.0.0.1:{}", proxy.plain)),
        (secure, format!("https://127.0.0.1:{}", proxy.tls)),
    ];
    let mut pairs = Vec::new();
    for (transport, place) in places {
        let place = place.parse().unwrap();
        let (dialled, accepted) =
            within(async { tokio::join!(transport.dial(&place), accept(&mut *listener)) }).await;
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!(
            dialled.channel_binding(),
            None,
            "the two ends of TLS are not those of the link"
        );
        pairs.push((dialled, accepted));
    }
    Some((proxy, pairs, listener))
}

/// Both ways at once, a half close, and answers after it.
async fn bytes_pass(kind: Kind) {
    let Some((_proxy, pairs, _listener)) = pairs(kind).await else {
        return;
    };
    for (mut dialled, mut accepted) in pairs {
        // Little first, so that a proxy that gathers bytes is found out.
        within(write_all(&mut *dialled, b"ping")).await.unwrap();
        assert_eq!(within(read(&mut *accepted, 4)).await.unwrap(), "ping");
        within(write_all(&mut *accepted, b"pong")).await.unwrap();
        assert_eq!(within(read(&mut *dialled, 4)).await.unwrap(), "pong");

        let long: Vec<u8> = (0..LONG_BYTES).map(|at| (at % 251) as u8).collect();
        let expected = long.clone();
        let echo = tokio::spawn(async move {
            let arrived = read(&mut *accepted, LONG_BYTES).await.unwrap();
            assert!(arrived == expected, "other bytes arrived");
            assert!(
                read(&mut *accepted, 1).await.unwrap().is_empty(),
                "the end did not arrive"
            );
            write_all(&mut *accepted, &arrived).await.unwrap();
            close(&mut *accepted).await.unwrap();
            accepted
        });
        within(write_all(&mut *dialled, &long)).await.unwrap();
        within(close(&mut *dialled)).await.unwrap();
        let back = within(read(&mut *dialled, LONG_BYTES)).await.unwrap();
        assert!(back == long, "other bytes came back");
        assert!(within(read(&mut *dialled, 1)).await.unwrap().is_empty());
        within(echo).await.unwrap();
    }
}

/// A link that is dropped ends the other end's reading, whichever that is. HAProxy makes an end of a failure in one
/// direction: that nothing is missing is for the session to know.
async fn a_drop_ends_reading(kind: Kind) {
    let Some((_proxy, pairs, _listener)) = pairs(kind).await else {
        return;
    };
    for (index, (mut dialled, mut accepted)) in pairs.into_iter().enumerate() {
        within(write_all(&mut *dialled, b"ping")).await.unwrap();
        assert_eq!(within(read(&mut *accepted, 4)).await.unwrap(), "ping");
        let mut left = if index == 0 {
            drop(dialled);
            accepted
        } else {
            drop(accepted);
            dialled
        };
        if let Ok(arrived) = within(read(&mut *left, 1)).await {
            assert!(arrived.is_empty(), "bytes came from a peer that wrote none");
        }
    }
}

#[tokio::test]
async fn bytes_pass_haproxy() {
    bytes_pass(Kind::Haproxy).await;
}

#[tokio::test]
async fn bytes_pass_nginx() {
    bytes_pass(Kind::Nginx).await;
}

#[tokio::test]
async fn a_drop_ends_reading_behind_haproxy() {
    a_drop_ends_reading(Kind::Haproxy).await;
}

#[tokio::test]
async fn a_drop_ends_reading_behind_nginx() {
    a_drop_ends_reading(Kind::Nginx).await;
}

const LONG_BYTES: usize = 4 * 1024 * 1024;
