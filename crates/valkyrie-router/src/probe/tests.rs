use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use valkyrie_endpoint::security::identity::SigningKey;

use super::*;

fn owner() -> Fingerprint {
    SigningKey::generate_classical().unwrap().fingerprint()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn local() -> ProbeRules {
    ProbeRules::new().allow(net("127.0.0.0/8"), 1..=u16::MAX)
}

#[test]
fn nothing_is_allowed_that_no_rule_allows() {
    let (one, other) = (owner(), owner());
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(!ProbeRules::new().allows(&one, address("10.0.0.1:80")));
    let rules = ProbeRules::new()
        .allow(net("10.1.0.0/16"), 8000..=8999)
        .allow_for(one, net("fd00::/8"), 80..=80);
    for (owner, text, allowed) in [
        (&other, "10.1.2.3:8080", true),
        (&other, "10.1.2.3:22", false),
        (&other, "10.2.2.3:8080", false),
        (&other, "[::ffff:10.1.2.3]:8080", true),
        (&one, "[fd00::1]:80", true),
        (&other, "[fd00::1]:80", false),
        (&one, "169.254.169.254:80", false),
    ] {
        assert_eq!(rules.allows(owner, address(text)), allowed, "{text}");
    }
}

/// A server that answers every connection with this and hears one request first.
async fn server(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let (heard, hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 512];
            let length = socket.read(&mut request).await.unwrap_or(0);
            let _ = heard.send(String::from_utf8_lossy(&request[..length]).into_owned());
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (place, hears)
}

#[tokio::test]
async fn a_place_that_accepts_is_well_and_one_that_nobody_listens_on_is_not() {
    let (place, _hears) = server("").await;
    let ask = async |place: &str| super::ask(&local(), &owner(), &place.parse().unwrap()).await;
    ask(&format!("tcp://{place}")).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = ask(&format!("tcp://{closed}")).await.unwrap_err();
    assert!(matches!(error, ProbeError::Unwell { .. }), "{error}");
    let error = ask("uds:///run/agent").await.unwrap_err();
    assert!(matches!(error, ProbeError::Place { .. }), "{error}");
}

#[tokio::test]
async fn what_no_rule_allows_hears_nothing() {
    let (place, mut hears) = server("").await;
    let elsewhere = ProbeRules::new().allow(net("10.0.0.0/8"), 1..=u16::MAX);
    for place in [
        format!("tcp://{place}"),
        format!("tcp://localhost:{}", place.rsplit(':').next().unwrap()),
    ] {
        let error = super::ask(&elsewhere, &owner(), &place.parse().unwrap())
            .await
            .unwrap_err();
        assert!(matches!(error, ProbeError::NotAllowed(_)), "{error}");
    }
    assert!(hears.try_recv().is_err());
}

#[cfg(feature = "probe-http")]
#[tokio::test]
async fn an_http_place_is_well_when_it_says_so() {
    for (answer, well) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        ("SSH-2.0-OpenSSH\r\n", false),
        ("", false),
    ] {
        let (place, mut hears) = server(answer).await;
        let asked = super::ask(
            &local(),
            &owner(),
            &format!("http://{place}/healthz?full").parse().unwrap(),
        )
        .await;
        assert_eq!(asked.is_ok(), well, "{answer:?}: {asked:?}");
        let request = hears.recv().await.unwrap();
        assert!(request.starts_with("GET /healthz?full HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {place}\r\n")), "{request}");
    }
}
