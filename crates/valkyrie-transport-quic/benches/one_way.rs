//! Messages of 64 bytes in one direction, gathered into batches, over a link and over the QUIC library alone: both sides
//! in this process, on two threads.
//!
//! `cargo bench -p valkyrie-transport-quic`. The library alone is given the same certificates, windows and batch size, and
//! its reader looks at the bytes in place.

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{RecvStream, SendStream, TransportConfig, VarInt};
use tokio::runtime::Runtime;
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{Lane, Transport, accept};
use valkyrie_transport_quic::{QuicTransport, RECEIVE_WINDOW_BYTES, SEND_WINDOW_BYTES};

const MESSAGE: [u8; 64] = [7; 64];
const BATCH_MESSAGES: usize = 1024;
const BATCH_BYTES: usize = BATCH_MESSAGES * MESSAGE.len();
const ALPN: &[u8] = b"bench";

fn one_way(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("one_way_64_bytes");
    group
        .throughput(Throughput::Elements(BATCH_MESSAGES as u64))
        .measurement_time(Duration::from_secs(5));
    // A slice for each message, as an endpoint would offer large payloads, and one for all, as it offers small ones.
    for slices in [1, BATCH_MESSAGES] {
        let name = BenchmarkId::new("link", format!("{slices} slices"));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|batches| over_a_link(&runtime, batches, slices));
        });
    }
    group.bench_function("library", |bencher| {
        bencher.iter_custom(|batches| over_the_library(&runtime, batches));
    });
    group.finish();
}

fn over_a_link(runtime: &Runtime, batches: u64, slices: usize) -> Duration {
    runtime.block_on(async {
        let transport = QuicTransport::new();
        let mut listener = transport
            .listen(&"quic://127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let mut dialled = transport.dial(listener.locator()).await.unwrap();
        let mut accepted = accept(&mut *listener).await.unwrap();
        let start = Instant::now();
        let writer = tokio::spawn(async move {
            let piece = MESSAGE.repeat(BATCH_MESSAGES / slices);
            for _ in 0..batches {
                let mut slices = vec![IoSlice::new(&piece); slices];
                let mut left = &mut slices[..];
                while !left.is_empty() {
                    let written = poll_fn(|cx| dialled.poll_write(cx, LANE, left)).await.unwrap();
                    IoSlice::advance_slices(&mut left, written);
                }
            }
            dialled
        });
        let reader = tokio::spawn(async move {
            let mut left = batches as usize * BATCH_BYTES;
            let mut buf = BytesMut::new();
            while left > 0 {
                buf.clear();
                left -= poll_fn(|cx| accepted.poll_read(cx, LANE, &mut buf))
                    .await
                    .unwrap();
            }
            accepted
        });
        let ends = (writer.await.unwrap(), reader.await.unwrap());
        let elapsed = start.elapsed();
        drop(ends);
        elapsed
    })
}

const LANE: Lane = Lane(3);

fn over_the_library(runtime: &Runtime, batches: u64) -> Duration {
    runtime.block_on(async {
        let (mut send, mut recv, _held) = library_stream().await;
        let start = Instant::now();
        let writer = tokio::spawn(async move {
            let batch = Bytes::from(MESSAGE.repeat(BATCH_MESSAGES));
            for _ in 0..batches {
                send.write_chunk(batch.clone()).await.unwrap();
            }
            send
        });
        let reader = tokio::spawn(async move {
            let mut left = batches as usize * BATCH_BYTES + 1;
            let mut chunks: [Bytes; 32] = Default::default();
            while left > 0 {
                let count = recv.read_chunks(&mut chunks).await.unwrap().unwrap();
                left -= chunks[..count].iter().map(Bytes::len).sum::<usize>();
            }
            recv
        });
        let ends = (writer.await.unwrap(), reader.await.unwrap());
        let elapsed = start.elapsed();
        drop(ends);
        elapsed
    })
}

/// A stream between two endpoints of the library, and what must be held for it to live. One byte is under way on it.
async fn library_stream() -> (SendStream, RecvStream, impl Sized) {
    let transport = || {
        let mut config = TransportConfig::default();
        config
            .send_window(SEND_WINDOW_BYTES.into())
            .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES));
        Arc::new(config)
    };
    let tls = Certificates::self_signed().server_config(&[ALPN]).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    config.transport_config(transport());
    let server = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();

    let tls = Roots::Any.client_config(&[ALPN]).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(transport());
    let client = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let connecting = client
        .connect_with(config, server.local_addr().unwrap(), "localhost")
        .unwrap();
    let (dialled, accepted) = tokio::join!(connecting, async {
        server.accept().await.unwrap().await.unwrap()
    });
    let dialled = dialled.unwrap();
    let (mut send, answer) = dialled.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    let (back, recv) = accepted.accept_bi().await.unwrap();
    (send, recv, (server, client, dialled, accepted, answer, back))
}

criterion_group!(benches, one_way);
criterion_main!(benches);
