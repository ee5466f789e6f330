//! A bare axum handler, a gateway before nothing, and a gateway before a node, loaded by the same lines of h2load in turn:
//!
//! ```text
//! cargo run --release -p valkyrie --features gateway --example gateway_load -- 9
//! ```
//!
//! The number is how many rounds; with 0, or where there is no h2load (Debian: nghttp2-client), they serve and nothing loads them.
//! All answer with the body that they were sent. The ratios are those of one round, the medians over all, so that what else the
//! machine does meets all three; processor time is this process's, which h2load has none of.

use std::io::{self, Write};
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use rustix::time::{ClockId, clock_gettime};
use valkyrie::gateway::{Asked, Failure, Gateway, Node, Replies, Upstream};
use valkyrie::transport::BoxFuture;
use valkyrie::{AccessPolicy, Endpoint, Services};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(0), |rounds| rounds.parse())?;
    let bare = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut urls = vec![format!("http://{}{PATH}", bare.local_addr()?)];
    let router = Router::new().route(PATH, post(|body: Bytes| async move { body }));
    // As a gateway has it: an answer is on its way when it is written.
    let bare = bare.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    tokio::spawn(async move { axum::serve(bare, router).await });

    let server = Gateway::new(Echo).listen(&"http://127.0.0.1:0".parse()?).await?;
    urls.push(format!("{}{PATH}", server.locator()));
    tokio::spawn(server.run(std::future::pending()));

    let services = Services::builder()
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .build()?;
    let policy = AccessPolicy::allow_authenticated();
    let node = Node::new(Endpoint::builder().services(services).policy(policy)).await?;
    let server = Gateway::new(node).listen(&"http://127.0.0.1:0".parse()?).await?;
    urls.push(format!("{}{PATH}", server.locator()));
    let serving = tokio::spawn(server.run(std::future::pending()));

    let mut out = io::stdout();
    for (name, url) in NAMES.iter().zip(&urls) {
        writeln!(out, "{name} on {url}")?;
    }
    if rounds == 0 || Command::new("h2load").arg("--version").output().is_err() {
        return Ok(serving.await?);
    }
    let measured = tokio::task::spawn_blocking(move || measure(rounds, &urls)).await??;
    write!(out, "\n{measured}")?;
    Ok(())
}

/// Loads each in turn, again and again, and says what came of it as a table.
fn measure(rounds: usize, urls: &[String]) -> io::Result<String> {
    let body = tempfile::NamedTempFile::new()?;
    body.as_file().write_all(b"message")?;
    let body = body.path().to_string_lossy().into_owned();
    let mut text =
        "| | over | requests/s | to bare axum | processor | to bare axum |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (protocol, options) in PROTOCOLS {
        let load = |url: &String| {
            let requests = REQUESTS.to_string();
            let line = [&["-n", &requests, "-d", &body][..], options, &[url]].concat();
            let before = processor_time();
            let told = Command::new("h2load").args(line).output()?;
            let spent = processor_time() - before;
            Ok((
                requests_per_second(&told.stdout)?,
                spent.as_secs_f64() / f64::from(REQUESTS),
            ))
        };
        let rounds = (0..rounds).map(|_| urls.iter().map(load).collect::<io::Result<Vec<_>>>());
        let rounds = rounds.collect::<io::Result<Vec<_>>>()?;
        for (place, name) in NAMES.iter().enumerate() {
            let of = |value: fn(&[(f64, f64)], usize) -> f64| {
                median(rounds.iter().map(|round| value(round, place)).collect())
            };
            text += &format!(
                "| {name} | {protocol} | {:.0} | {:.2} | {:.1} µs | {:.2} |\n",
                of(|round, place| round[place].0),
                of(|round, place| round[place].0 / round[0].0),
                of(|round, place| round[place].1 * 1e6),
                of(|round, place| round[place].1 / round[0].1),
            );
        }
    }
    Ok(text)
}

/// What this process has used of the processors.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Out of `finished in 1.23s, 81300.81 req/s, 3.02MB/s`, if all requests were answered well.
fn requests_per_second(told: &[u8]) -> io::Result<f64> {
    let told = String::from_utf8_lossy(told);
    let all = format!("{REQUESTS} succeeded, 0 failed, 0 errored");
    let rate = told
        .split(" req/s")
        .next()
        .and_then(|before| before.rsplit(' ').next());
    match rate.and_then(|rate| rate.parse().ok()) {
        Some(rate) if told.contains(&all) => Ok(rate),
        _ => Err(io::Error::other(format!("h2load did not finish well:\n{told}"))),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

struct Echo;

impl Upstream for Echo {
    fn call(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Failure>> {
        Box::pin(async move { Ok(asked.body) })
    }

    fn stream(&self, _: Asked) -> BoxFuture<'_, Result<Box<dyn Replies>, Failure>> {
        Box::pin(async { Err(Failure::not_found("nothing streams here")) })
    }
}

const NAMES: [&str; 3] = ["bare axum", "a gateway before nothing", "a gateway before a node"];
const PATH: &str = "/v2/call/echo/echo";

/// Each time: half a second or more.
const REQUESTS: u32 = 50_000;

/// 256 in flight.
const PROTOCOLS: [(&str, &[&str]); 2] = [
    ("HTTP/1.1", &["--h1", "-c", "256", "-m", "1"]),
    ("HTTP/2", &["-c", "16", "-m", "16"]),
];
