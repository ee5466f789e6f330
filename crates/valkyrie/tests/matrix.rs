//! The table of what each link can do, in the book, is what links say of themselves.
//!
//! With `VALKYRIE_WRITE_MATRIX=1` the table is written anew instead of compared.

#[path = "../../valkyrie-transport-redis/tests/support/mod.rs"]
mod redis_server;

#[cfg(feature = "rdma")]
#[allow(dead_code)]
#[path = "../../valkyrie-transport-rdma/tests/support/mod.rs"]
mod rdma;

use std::fmt::Write;
use std::path::PathBuf;

use redis_server::Redis;
use valkyrie::Transport;
use valkyrie::transport::{Capabilities, accept};
use valkyrie::{
    HttpTransport, MemTransport, QuicTransport, RedisTransport, TcpTransport, UdsTransport, WsTransport,
};

/// A link that was made for this, as its dialler sees it.
async fn capabilities(transport: &dyn Transport, place: &str) -> Capabilities {
    let place = place.parse().expect("a locator");
    let mut listener = transport.listen(&place).await.expect("it is free");
    let place = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let (dialled, accepted) = (dialled.expect("it is dialled"), accepted.expect("it is accepted"));
    assert_eq!(dialled.capabilities().lanes, accepted.capabilities().lanes);
    dialled.capabilities()
}

fn row(name: &str, capabilities: Capabilities) -> String {
    let yes = |so: bool| if so { "yes" } else { "–" };
    let mut cannot = Vec::new();
    if capabilities.lanes == 1 {
        cannot.push("keep classes apart: what is lost of one holds up all");
    }
    if !capabilities.secure {
        cannot.push("encrypt: records are sealed above it");
    }
    if capabilities.peer_credentials.is_none() {
        cannot.push("name the peer's account");
    }
    format!(
        "| `{name}` | {} | {} | {} | {} | {} | {} | {} | {} |",
        capabilities.lanes,
        yes(capabilities.reliable),
        yes(capabilities.ordered),
        yes(capabilities.secure),
        yes(capabilities.vectored),
        yes(capabilities.local),
        yes(capabilities.peer_credentials.is_some()),
        cannot.join("; ")
    )
}

#[tokio::test]
async fn the_book_says_what_links_say() {
    let writes = std::env::var_os("VALKYRIE_WRITE_MATRIX").is_some();
    let folder = std::env::temp_dir().join(format!("valkyrie-matrix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let uds = format!("uds://{}/m.sock", folder.display());
    let secure = WsTransport::secure(
        valkyrie::transport::tls::Certificates::default(),
        valkyrie::transport::tls::Roots::default(),
    );
    let https = HttpTransport::secure(
        valkyrie::transport::tls::Certificates::default(),
        valkyrie::transport::tls::Roots::default(),
    );
    let mut links: Vec<(&str, Box<dyn Transport>, String)> = vec![
        ("mem", Box::new(MemTransport::new()), "mem://matrix".to_owned()),
        ("uds", Box::new(UdsTransport::new()), uds),
        (
            "tcp",
            Box::new(TcpTransport::new()),
            "tcp://127.0.0.1:0".to_owned(),
        ),
        (
            "quic",
            Box::new(QuicTransport::new()),
            "quic://127.0.0.1:0".to_owned(),
        ),
        ("ws", Box::new(WsTransport::new()), "ws://127.0.0.1:0/".to_owned()),
        ("wss", Box::new(secure), "wss://127.0.0.1:0/".to_owned()),
        (
            "http",
            Box::new(HttpTransport::new()),
            "http://127.0.0.1:0".to_owned(),
        ),
        ("https", Box::new(https), "https://127.0.0.1:0".to_owned()),
    ];
    let redis = Redis::start();
    if let Some(redis) = &redis {
        links.push((
            "redis",
            Box::new(RedisTransport::new()),
            redis.at("matrix").to_string(),
        ));
    }
    let rdma = rdma_device();
    if let Some((transport, place)) = rdma {
        links.push(("rdma", transport, place));
    }
    let has_rdma = links.iter().any(|(name, ..)| *name == "rdma");
    let mut table = String::from(
        "| link | lanes | reliable | ordered | encrypts itself | takes several buffers | within the machine | names the peer | what it cannot |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, transport, place) in &links {
        let _ = writeln!(table, "{}", row(name, capabilities(&**transport, place).await));
    }
    let _ = std::fs::remove_dir_all(&folder);
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/book/transports.md");
    let text = std::fs::read_to_string(&page).expect("the page is there");
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the page has the table's beginning");
    let (old, after) = rest.split_once(END).expect("the page has the table's end");
    // Without a Redis server, or an RDMA device, nobody can say what its row is.
    let unknown = |row: &str| {
        row.starts_with("| `redis`") && redis.is_none() || row.starts_with("| `rdma`") && !has_rdma
    };
    let old_rows: String = old
        .lines()
        .filter(|row| !unknown(row))
        .map(|row| format!("{row}\n"))
        .collect();
    table.extend(
        old.lines()
            .filter(|row| writes && unknown(row))
            .map(|row| format!("{row}\n")),
    );
    if writes {
        let new = format!("{before}{BEGIN}\n{table}{END}{after}");
        std::fs::write(&page, new).expect("the page can be written");
    } else {
        assert_eq!(
            old_rows.trim(),
            table.trim(),
            "write it anew with VALKYRIE_WRITE_MATRIX=1"
        );
    }
}

/// A transport over RDMA and a place for it, where it was built and there is a device.
#[cfg(feature = "rdma")]
fn rdma_device() -> Option<(Box<dyn Transport>, String)> {
    let place = rdma::anywhere(rdma::device()?).to_string();
    Some((Box::new(valkyrie::RdmaTransport::new()), place))
}

#[cfg(not(feature = "rdma"))]
fn rdma_device() -> Option<(Box<dyn Transport>, String)> {
    None
}

const BEGIN: &str = "<!-- written by crates/valkyrie/tests/matrix.rs -->";
const END: &str = "<!-- end -->";
