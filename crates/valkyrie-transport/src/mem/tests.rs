//! What the memory link promises beyond the conformance suite, on an executor of a few lines: no runtime is needed.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use bytes::BytesMut;

use super::{MemTransport, PIPE_BYTES, WAITING_LINKS_MAX};
use crate::{Lane, Link, Listener, Locator, Transport, TransportError, accept};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn place(text: &str) -> Locator {
    text.parse().unwrap()
}

fn connected(transport: &MemTransport) -> (Box<dyn Link>, Box<dyn Link>) {
    block_on(async {
        let place = place("mem://pair");
        let mut listener = transport.listen(&place).await.unwrap();
        let dialled = transport.dial(&place).await.unwrap();
        (dialled, accept(&mut *listener).await.unwrap())
    })
}

fn write(link: &mut dyn Link, lane: Lane, bytes: &[u8]) -> Poll<io::Result<usize>> {
    link.poll_write(
        &mut Context::from_waker(Waker::noop()),
        lane,
        &[IoSlice::new(bytes)],
    )
}

fn read(link: &mut dyn Link, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
    link.poll_read(&mut Context::from_waker(Waker::noop()), lane, buf)
}

#[test]
fn a_link_works_between_threads_without_a_runtime() {
    let (mut here, mut there) = connected(&MemTransport::new());
    let total = 10 * PIPE_BYTES;
    let writer = thread::spawn(move || {
        block_on(async {
            let mut left = total;
            while left > 0 {
                let chunk = vec![7; left.min(10_000)];
                left -= poll_fn(|cx| here.poll_write(cx, Lane::FIRST, &[IoSlice::new(&chunk)]))
                    .await
                    .unwrap();
            }
            poll_fn(|cx| here.poll_close(cx)).await.unwrap();
            here
        })
    });
    let mut received = 0;
    block_on(async {
        loop {
            let mut buf = BytesMut::new();
            match poll_fn(|cx| there.poll_read(cx, Lane::FIRST, &mut buf))
                .await
                .unwrap()
            {
                0 => break,
                count => received += count,
            }
        }
    });
    writer.join().unwrap();
    assert_eq!(received, total);
}

#[test]
fn a_pipe_takes_its_capacity_and_not_a_byte_more() {
    let (mut here, mut there) = connected(&MemTransport::new().with_pipe_bytes(10));
    assert!(matches!(
        write(&mut *here, Lane::FIRST, &[1; 8]),
        Poll::Ready(Ok(8))
    ));
    assert!(matches!(
        write(&mut *here, Lane::FIRST, &[2; 8]),
        Poll::Ready(Ok(2))
    ));
    assert!(write(&mut *here, Lane::FIRST, &[3; 8]).is_pending());
    let mut buf = BytesMut::new();
    assert!(matches!(
        read(&mut *there, Lane::FIRST, &mut buf),
        Poll::Ready(Ok(10))
    ));
    assert_eq!(&buf[..], [1, 1, 1, 1, 1, 1, 1, 1, 2, 2]);
    assert!(matches!(
        write(&mut *here, Lane::FIRST, &[3; 8]),
        Poll::Ready(Ok(8))
    ));
}

#[test]
fn reading_wakes_the_writer_and_writing_wakes_the_reader() {
    let (mut here, mut there) = connected(&MemTransport::new().with_pipe_bytes(4));
    let (reader, writer) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let (read_waker, write_waker) = (Waker::from(Arc::clone(&reader)), Waker::from(Arc::clone(&writer)));

    let mut buf = BytesMut::new();
    assert!(
        there
            .poll_read(&mut Context::from_waker(&read_waker), Lane::FIRST, &mut buf)
            .is_pending()
    );
    assert!(write(&mut *here, Lane::FIRST, &[1; 4]).is_ready());
    assert_eq!((reader.now(), writer.now()), (1, 0));

    let mut cx = Context::from_waker(&write_waker);
    assert!(
        here.poll_write(&mut cx, Lane::FIRST, &[IoSlice::new(&[2])])
            .is_pending()
    );
    assert!(read(&mut *there, Lane::FIRST, &mut buf).is_ready());
    assert_eq!((reader.now(), writer.now()), (1, 1));
}

#[test]
fn a_dropped_link_reads_as_a_reset_after_its_last_byte() {
    let (mut here, mut there) = connected(&MemTransport::new());
    assert!(write(&mut *here, Lane::FIRST, b"half a mess").is_ready());
    drop(here);
    let mut buf = BytesMut::new();
    assert!(matches!(
        read(&mut *there, Lane::FIRST, &mut buf),
        Poll::Ready(Ok(11))
    ));
    let Poll::Ready(Err(error)) = read(&mut *there, Lane::FIRST, &mut buf) else {
        panic!("no error")
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let Poll::Ready(Err(error)) = write(&mut *there, Lane::FIRST, b"x") else {
        panic!("no error")
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_closed_and_then_dropped_link_reads_as_the_end() {
    let (mut here, mut there) = connected(&MemTransport::new());
    block_on(poll_fn(|cx| here.poll_close(cx))).unwrap();
    drop(here);
    let mut buf = BytesMut::new();
    assert!(matches!(
        read(&mut *there, Lane::FIRST, &mut buf),
        Poll::Ready(Ok(0))
    ));
    assert!(matches!(
        read(&mut *there, Lane::FIRST, &mut buf),
        Poll::Ready(Ok(0))
    ));
}

#[test]
fn tables_are_apart_unless_cloned_or_process_wide() {
    let place = place("mem://tables-are-apart");
    block_on(async {
        let mine = MemTransport::new();
        let _listener = mine.listen(&place).await.unwrap();
        assert!(mine.clone().with_lanes(3).dial(&place).await.is_ok());
        assert!(matches!(
            MemTransport::new().dial(&place).await,
            Err(TransportError::Refused { .. })
        ));
        assert!(matches!(
            MemTransport::process_wide().dial(&place).await,
            Err(TransportError::Refused { .. })
        ));
        let _wide = MemTransport::process_wide().listen(&place).await.unwrap();
        assert!(MemTransport::process_wide().dial(&place).await.is_ok());
    });
}

#[test]
fn a_full_listener_refuses_and_keeps_what_waits() {
    let place = place("mem://full");
    block_on(async {
        let transport = MemTransport::new();
        let mut listener: Box<dyn Listener> = transport.listen(&place).await.unwrap();
        let mut dialled = Vec::new();
        for _ in 0..WAITING_LINKS_MAX {
            dialled.push(transport.dial(&place).await.unwrap());
        }
        let Err(error) = transport.dial(&place).await else {
            panic!("taken past the bound")
        };
        assert!(matches!(error, TransportError::Busy { .. }));
        assert!(error.is_transient());
        assert!(accept(&mut *listener).await.is_ok());
        assert!(transport.dial(&place).await.is_ok());
    });
}

#[test]
fn a_dropped_listener_ends_the_links_nobody_accepted() {
    let place = place("mem://dropped");
    block_on(async {
        let transport = MemTransport::new();
        let listener = transport.listen(&place).await.unwrap();
        let mut dialled = transport.dial(&place).await.unwrap();
        drop(listener);
        let error = poll_fn(|cx| dialled.poll_read(cx, Lane::FIRST, &mut BytesMut::new()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(matches!(
            transport.dial(&place).await,
            Err(TransportError::Refused { .. })
        ));
        assert!(transport.listen(&place).await.is_ok());
    });
}
