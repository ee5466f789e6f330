//! Peers that send what they like: clients to a registry, and a registry to its clients.

use std::sync::Arc;

use bytes::Bytes;
use valkyrie_endpoint::{AccessPolicy, CallError, Connection, Endpoint, ErrorCode, RecvError, Services};
use valkyrie_registry::Prefix;
use valkyrie_registry::store::{
    Answer, Batch, Certificate, Change, Entry, Event, Page, Revision, Store, StoreError, WatchError,
};
use valkyrie_registry_remote::RemoteStore;
use valkyrie_registry_remote::wire::{ListMessage, Method, Reply, SERVICE, WatchMessage};
use valkyrie_transport::mem::MemTransport;

use crate::support::{PLACE, Stage, config, key, mem, within};

#[tokio::test]
async fn requests_that_are_none_are_refused_and_the_connection_lives() {
    let stage = Stage::new();
    let _registry = stage.serve(mem()).await;
    let node = stage.node("hostile");
    let connection = node.endpoint.connect(PLACE).await.unwrap();
    let garbage = Bytes::from_static(&[0xff; 40]);
    for method in Method::ALL {
        if method.is_stream() {
            let opened = connection
                .open((SERVICE, method.name()))
                .payload(garbage.clone())
                .await;
            let (_send, mut recv) = opened.unwrap();
            match within(recv.recv()).await {
                Err(RecvError::Reset(failure)) => assert_eq!(failure.code, ErrorCode::INVALID_ARGUMENT),
                other => panic!("{other:?}"),
            }
        } else {
            match within(connection.call((SERVICE, method.name()), garbage.clone())).await {
                Err(CallError::Failed(failure)) => assert_eq!(failure.code, ErrorCode::INVALID_ARGUMENT),
                other => panic!("{other:?}"),
            }
        }
    }
    // Somebody who watches has nothing to say.
    let opening = valkyrie_registry_remote::wire::Request::Watch {
        prefix: Prefix::all(),
        after: Revision::NONE,
    };
    let opened = connection
        .open((SERVICE, "watch"))
        .payload(opening.encode().unwrap())
        .await;
    let (mut send, mut recv) = opened.unwrap();
    send.send(Bytes::from_static(b"more")).await.unwrap();
    let ended = loop {
        // Whether the beginning is seen before the end is nobody's business.
        match within(recv.recv()).await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(ended, Err(RecvError::Reset(_))), "{ended:?}");
    let store = RemoteStore::over(connection, config()).await.unwrap();
    assert!(store.get(&key("a")).await.unwrap().value.is_none());
}

/// A registry that says what it is told to say.
async fn lying(list: Vec<Bytes>, watch: Vec<Bytes>, answer: Bytes) -> (Endpoint, Connection) {
    let caps = Reply::encode(&Ok(Reply::Caps(mem().caps()))).unwrap();
    let says = |messages: Vec<Bytes>| {
        let messages = Arc::new(messages);
        move |_, mut send: valkyrie_endpoint::SendStream, recv: valkyrie_endpoint::RecvStream| {
            let messages = Arc::clone(&messages);
            async move {
                for message in messages.iter() {
                    send.send(message.clone()).await?;
                }
                drop(recv);
                Ok(())
            }
        }
    };
    let services = Services::builder()
        .unary(SERVICE, "caps", move |_, _| std::future::ready(Ok(caps.clone())))
        .unary(SERVICE, "get", move |_, _| std::future::ready(Ok(answer.clone())))
        .stream(SERVICE, "list", says(list))
        .stream(SERVICE, "watch", says(watch))
        .build()
        .unwrap();
    let transport = MemTransport::new();
    let endpoint = |services| {
        let builder = Endpoint::builder()
            .transport(transport.clone())
            .services(services);
        builder
            .policy(AccessPolicy::allow_authenticated())
            .build()
            .unwrap()
    };
    let registry = endpoint(services);
    registry.listen(PLACE).await.unwrap();
    let connection = endpoint(Services::default()).connect(PLACE).await.unwrap();
    (registry, connection)
}

fn entry(name: &str, revision: u64) -> Arc<Entry> {
    Arc::new(Entry {
        key: key(name),
        value: Bytes::new(),
        created: Revision::new(revision),
        modified: Revision::new(revision),
        version: 1,
        lease: None,
    })
}

fn head<T>(value: T) -> Answer<T> {
    Answer {
        value,
        revision: Revision::new(5),
        at: None,
        certificate: Certificate::none(),
    }
}

fn page(name: &str) -> Bytes {
    let page = Page {
        entries: vec![entry(name, 1)],
        certificate: Certificate::none(),
    };
    ListMessage::Page(page).encode().unwrap()
}

fn batch(name: &str, revision: u64) -> Bytes {
    let change = Change {
        revision: Revision::new(revision),
        events: vec![Event::Put(entry(name, revision))],
    };
    let batch = Batch {
        changes: vec![Arc::new(change)],
        revision: Revision::new(revision),
        certificate: Certificate::none(),
    };
    WatchMessage::Batch(batch).encode().unwrap()
}

#[tokio::test]
async fn a_registry_that_answers_nonsense_is_broken() {
    let elsewhere = Reply::encode(&Ok(Reply::Got(head(Some(entry("other", 1)))))).unwrap();
    for answer in [Bytes::from_static(b"\0nonsense"), Bytes::new(), elsewhere] {
        let (_registry, connection) = lying(vec![], vec![], answer).await;
        let store = RemoteStore::over(connection, config()).await.unwrap();
        let got = within(store.get(&key("a"))).await;
        assert!(matches!(got, Err(StoreError::Broken(_))), "{got:?}");
    }
}

#[tokio::test]
async fn a_list_of_what_was_not_asked_for_is_broken() {
    let begun = ListMessage::Begun(head(())).encode().unwrap();
    let beneath = Prefix::beneath("a").unwrap();
    for messages in [
        vec![],
        vec![page("a/1")],
        vec![begun.clone(), begun.clone()],
        vec![begun.clone(), page("b/1")],
        vec![begun.clone(), page("a/2"), page("a/1")],
        vec![begun.clone(), page("a/1"), page("a/1")],
    ] {
        let (_registry, connection) = lying(messages.clone(), vec![], Bytes::new()).await;
        let store = RemoteStore::over(connection, config()).await.unwrap();
        let listed = within(valkyrie_registry::store::list_all(&store, &beneath, 9)).await;
        assert!(
            matches!(listed, Err(StoreError::Broken(_))),
            "{messages:?}: {listed:?}"
        );
    }
}

#[tokio::test]
async fn a_watch_of_what_was_not_asked_for_is_broken() {
    let begun = WatchMessage::Begun.encode().unwrap();
    let beneath = Prefix::beneath("a").unwrap();
    for messages in [
        vec![],
        vec![batch("a/1", 6)],
        vec![begun.clone()],
        vec![begun.clone(), begun.clone()],
        vec![begun.clone(), batch("b/1", 6)],
        vec![begun.clone(), batch("a/1", 5)],
        vec![begun.clone(), batch("a/1", 7), batch("a/1", 7)],
        vec![begun.clone(), Bytes::from_static(b"?")],
    ] {
        let (_registry, connection) = lying(vec![], messages.clone(), Bytes::new()).await;
        let store = RemoteStore::over(connection, config()).await.unwrap();
        let ended = within(async {
            let mut watch = store.watch(&beneath, Revision::new(5)).await?;
            loop {
                watch.next(8).await?;
            }
            #[expect(unreachable_code, reason = "it says what the block gives")]
            Ok::<(), WatchError>(())
        });
        let ended = ended.await.unwrap_err();
        assert!(
            matches!(ended, WatchError::Store(StoreError::Broken(_))),
            "{messages:?}: {ended}"
        );
    }
}
