//! Messages of 64 bytes over a link and over the HTTP/2 library as it is used by itself, with a task for each connection:
//! both sides in this process, on two threads.
//!
//! `cargo bench -p valkyrie-transport-http`. One way they are gathered into batches; there and back there is one at a time.

use std::future::poll_fn;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use h2::{RecvStream, SendStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_http::{HttpTransport, WINDOW_BYTES};

const MESSAGE: [u8; 64] = [7; 64];
const BATCH_MESSAGES: usize = 1024;
const BATCH_BYTES: usize = BATCH_MESSAGES * MESSAGE.len();

fn link(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("one_way_64_bytes");
    group
        .throughput(Throughput::Elements(BATCH_MESSAGES as u64))
        .measurement_time(Duration::from_secs(3));
    group.bench_function("link", |bencher| {
        bencher.iter_custom(|batches| one_way_over_a_link(&runtime, batches as usize * BATCH_BYTES));
    });
    group.bench_function("library", |bencher| {
        bencher.iter_custom(|batches| one_way_over_the_library(&runtime, batches as usize * BATCH_BYTES));
    });
    group.finish();
    let mut group = criterion.benchmark_group("there_and_back_64_bytes");
    group.measurement_time(Duration::from_secs(3));
    group.bench_function("link", |bencher| {
        bencher.iter_custom(|rounds| there_and_back_over_a_link(&runtime, rounds));
    });
    group.bench_function("library", |bencher| {
        bencher.iter_custom(|rounds| there_and_back_over_the_library(&runtime, rounds));
    });
    group.finish();
}

async fn pair() -> (Box<dyn Link>, Box<dyn Link>) {
    let transport = HttpTransport::new();
    let place = "http://127.0.0.1:0".parse().unwrap();
    let mut listener = transport.listen(&place).await.unwrap();
    let place = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    (dialled.unwrap(), accepted.unwrap())
}

async fn write(link: &mut dyn Link, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let slices = [IoSlice::new(bytes)];
        let count = poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &slices))
            .await
            .unwrap();
        bytes = &bytes[count..];
    }
}

async fn read(link: &mut dyn Link, buf: &mut BytesMut, count: usize) {
    let mut left = count;
    while left > 0 {
        buf.clear();
        left -= poll_fn(|cx| link.poll_read(cx, Lane::FIRST, buf)).await.unwrap();
    }
}

fn one_way_over_a_link(runtime: &Runtime, total: usize) -> Duration {
    runtime.block_on(async {
        let (mut dialled, mut accepted) = pair().await;
        let start = Instant::now();
        let writer = tokio::spawn(async move {
            let batch = MESSAGE.repeat(BATCH_MESSAGES);
            for _ in 0..total / BATCH_BYTES {
                write(&mut *dialled, &batch).await;
            }
            dialled
        });
        let reader = tokio::spawn(async move {
            read(&mut *accepted, &mut BytesMut::new(), total).await;
            accepted
        });
        let ends = (writer.await.unwrap(), reader.await.unwrap());
        let elapsed = start.elapsed();
        drop(ends);
        elapsed
    })
}

fn there_and_back_over_a_link(runtime: &Runtime, rounds: u64) -> Duration {
    runtime.block_on(async {
        let (mut dialled, mut accepted) = pair().await;
        let echo = tokio::spawn(async move {
            let mut buf = BytesMut::new();
            for _ in 0..rounds {
                read(&mut *accepted, &mut buf, MESSAGE.len()).await;
                write(&mut *accepted, &MESSAGE).await;
            }
            accepted
        });
        let asking = tokio::spawn(async move {
            let mut buf = BytesMut::new();
            let start = Instant::now();
            for _ in 0..rounds {
                write(&mut *dialled, &MESSAGE).await;
                read(&mut *dialled, &mut buf, MESSAGE.len()).await;
            }
            (start.elapsed(), dialled)
        });
        let (elapsed, _dialled) = asking.await.unwrap();
        drop(echo.await.unwrap());
        elapsed
    })
}

type Ends = ((SendStream<Bytes>, RecvStream), (SendStream<Bytes>, RecvStream));

/// The two ends of one request, as the library is used elsewhere.
async fn library() -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    dialled.set_nodelay(true).unwrap();
    accepted.set_nodelay(true).unwrap();
    let serving = tokio::spawn(async move {
        let mut server = h2::server::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake::<_, Bytes>(accepted)
            .await
            .unwrap();
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        let send = respond.send_response(http::Response::new(()), false).unwrap();
        (send, request.into_body())
    });
    let (mut requests, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake::<_, Bytes>(dialled)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://localhost/").body(()).unwrap();
    let (response, send) = requests.send_request(request, false).unwrap();
    let recv = response.await.unwrap().into_body();
    ((send, recv), serving.await.unwrap())
}

async fn send(send: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let capacity = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
        send.send_data(bytes.split_to(capacity.min(bytes.len())), false)
            .unwrap();
    }
}

async fn receive(recv: &mut RecvStream, count: usize) {
    let mut left = count;
    while left > 0 {
        let bytes = recv.data().await.unwrap().unwrap();
        left -= bytes.len();
        recv.flow_control().release_capacity(bytes.len()).unwrap();
    }
}

fn one_way_over_the_library(runtime: &Runtime, total: usize) -> Duration {
    runtime.block_on(async {
        let (mut dialled, mut accepted) = library().await;
        let start = Instant::now();
        let writer = tokio::spawn(async move {
            let batch = Bytes::from(MESSAGE.repeat(BATCH_MESSAGES));
            for _ in 0..total / BATCH_BYTES {
                send(&mut dialled.0, batch.clone()).await;
            }
            dialled
        });
        let reader = tokio::spawn(async move {
            receive(&mut accepted.1, total).await;
            accepted
        });
        let ends = (writer.await.unwrap(), reader.await.unwrap());
        let elapsed = start.elapsed();
        drop(ends);
        elapsed
    })
}

fn there_and_back_over_the_library(runtime: &Runtime, rounds: u64) -> Duration {
    runtime.block_on(async {
        let (mut dialled, mut accepted) = library().await;
        let echo = tokio::spawn(async move {
            for _ in 0..rounds {
                receive(&mut accepted.1, MESSAGE.len()).await;
                send(&mut accepted.0, Bytes::from_static(&MESSAGE)).await;
            }
            accepted
        });
        let asking = tokio::spawn(async move {
            let start = Instant::now();
            for _ in 0..rounds {
                send(&mut dialled.0, Bytes::from_static(&MESSAGE)).await;
                receive(&mut dialled.1, MESSAGE.len()).await;
            }
            (start.elapsed(), dialled)
        });
        let (elapsed, _dialled) = asking.await.unwrap();
        drop(echo.await.unwrap());
        elapsed
    })
}

criterion_group!(benches, link);
criterion_main!(benches);
