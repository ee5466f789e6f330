//! Nothing is left behind: counted by the kernel, in a program of its own.
#![cfg(feature = "verbs")]

mod support;

use std::process::Command;

use bytes::BytesMut;
use support::{anywhere, device};
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_rdma::RdmaTransport;

/// What this process holds: descriptors, and the kernel's counts of each kind of RDMA resource.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    resources: Vec<(String, u32)>,
}

/// `rdma resource` says how many there are of each kind, as `0: rxe0: pd 1 cq 1 qp 1 cm_id 0 mr 0 ctx 0 srq 0`.
fn held() -> Option<Held> {
    let output = Command::new("rdma").arg("resource").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut resources = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(2);
        while let (Some(kind), Some(count)) = (words.next(), words.next()) {
            // A context is the library's, which keeps it for as long as the process lives.
            if kind != "ctx" {
                resources.push((kind.to_owned(), count.parse().ok()?));
            }
        }
    }
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(Held {
        descriptors,
        resources,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn many_links_leave_nothing_behind() {
    let Some(address) = device() else { return };
    if held().is_none() {
        there_is_nothing_to_count_with();
        return;
    }
    // The first link opens the device, which stays open.
    round(address, 1).await;
    let before = settled(None).await;
    for _ in 0..3 {
        round(address, 40).await;
    }
    assert_eq!(settled(Some(&before)).await, before, "something was left behind");
}

/// Dials, uses, closes or drops `count` links.
async fn round(address: std::net::IpAddr, count: usize) {
    let mut listener = RdmaTransport::new().listen(&anywhere(address)).await.unwrap();
    let locator = listener.locator().clone();
    let mut links: Vec<[Box<dyn Link>; 2]> = Vec::new();
    for _ in 0..count {
        // An emulated machine on a busy one may take its time.
        let patient = RdmaTransport::new().with_connect_timeout(std::time::Duration::from_secs(60));
        let dialled = patient.dial(&locator).await.unwrap();
        links.push([dialled, accept(&mut *listener).await.unwrap()]);
    }
    for (index, [a, b]) in links.iter_mut().enumerate() {
        let text = vec![7; 1 + index * 5000];
        let slices = [std::io::IoSlice::new(&text)];
        std::future::poll_fn(|cx| a.poll_write(cx, Lane::FIRST, &slices))
            .await
            .unwrap();
        let mut buf = BytesMut::new();
        std::future::poll_fn(|cx| b.poll_read(cx, Lane::FIRST, &mut buf))
            .await
            .unwrap();
        // Some are closed in good order, others in the middle.
        if index % 2 == 0 {
            std::future::poll_fn(|cx| a.poll_close(cx)).await.unwrap();
        }
    }
    // Dials that are given up, and one that nobody answers.
    let transport = RdmaTransport::new();
    for polls in 0..5 {
        let mut dial = transport.dial(&locator);
        for _ in 0..polls {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(1), &mut dial).await;
        }
    }
    drop(listener);
    RdmaTransport::new()
        .dial(&locator)
        .await
        .err()
        .expect("nobody listens any more");
}

/// What is held once links that were dropped have been taken apart, which happens on other threads. With something to
/// compare it waits until that is so, half a minute at most.
async fn settled(wanted: Option<&Held>) -> Held {
    let mut last = held().unwrap();
    for _ in 0..300 {
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(100));
        pause.tick().await;
        pause.tick().await;
        let now = held().unwrap();
        if wanted.map_or(now == last, |wanted| now == *wanted) {
            return now;
        }
        last = now;
    }
    last
}

fn there_is_nothing_to_count_with() {
    let required = std::env::var_os("VALKYRIE_RDMA_REQUIRED").is_some();
    assert!(!required, "there is no program `rdma` to count with");
}
