//! Calls that are made as the peer of a connection and do not go over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use valkyrie_endpoint::{
    AccessPolicy, AdmissionLimits, CallError, Class, Connection, Endpoint, ErrorCode, LocalCaller, Method,
    PolicyHandle, Qos, Services,
};
use valkyrie_frame::Extension;
use valkyrie_transport::mem::MemTransport;

use crate::people::{Person, who};
use crate::support::{Pair, text, within};

/// Somebody who is connected to a server, and the calls that are made as that somebody within the server.
struct Served {
    connection: Connection,
    policy: PolicyHandle,
    calls: Arc<AtomicUsize>,
    local: LocalCaller,
    _server: Endpoint,
}

impl Served {
    async fn new(policy: &str) -> Self {
        let (ada, bob) = Person::friends("ada", "bob");
        let mem = MemTransport::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let policy = PolicyHandle::new(AccessPolicy::parse(policy).unwrap());
        let builder = bob.builder(mem.clone()).services(who(&calls));
        let server = builder.policy(policy.clone()).build().unwrap();
        server.listen("mem://served").await.unwrap();
        let client = ada.endpoint(mem, Services::default());
        let connection = within(client.connect("mem://served")).await.unwrap();
        within(connection.ping()).await.unwrap();
        let local = server.connections().pop().unwrap().local_caller();
        Self {
            connection,
            policy,
            calls,
            local,
            _server: server,
        }
    }

    async fn call(&self, class: Class) -> Result<String, ErrorCode> {
        let method = Method::new("who", "am-i").unwrap();
        match within(self.local.call(&method, "").class(class)).await {
            Ok(answer) => Ok(String::from_utf8(answer.to_vec()).unwrap()),
            Err(CallError::Failed(failure)) => Err(failure.code),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn the_handler_sees_the_peer_and_the_policy_decides() {
    let served = Served::new(&allowing("ada", "")).await;
    assert_eq!(served.local.identity().name(), Some("ada"));
    let over_the_connection = served.connection.call(("who", "am-i"), "").await.unwrap();
    assert_eq!(
        served.call(Class::Data).await.unwrap().as_bytes(),
        over_the_connection
    );
    assert_eq!(
        served.call(Class::Critical).await,
        Err(ErrorCode::PERMISSION_DENIED)
    );
    assert_eq!(served.calls.load(Ordering::Relaxed), 2);

    let nothing = "version = 1\n";
    served.policy.store(AccessPolicy::parse(nothing).unwrap());
    assert_eq!(served.call(Class::Data).await, Err(ErrorCode::PERMISSION_DENIED));
    served
        .policy
        .store(AccessPolicy::parse(&allowing("ada", "")).unwrap());
    assert!(served.call(Class::Data).await.is_ok());
}

#[tokio::test]
async fn a_rate_is_one_with_that_of_the_connection() {
    let served = Served::new(&allowing("ada", "rate = \"2/m\"\nburst = 2\n")).await;
    assert!(served.call(Class::Data).await.is_ok());
    assert!(served.connection.call(("who", "am-i"), "").await.is_ok());
    assert_eq!(served.call(Class::Data).await, Err(ErrorCode::RESOURCE_EXHAUSTED));
}

#[tokio::test]
async fn what_is_not_served_and_what_panics_are_failures() {
    let services = Services::builder()
        .unary("it", "panics", |_, _| async { panic!("on purpose") })
        .unary("it", "panics-later", |_, _| async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        })
        .notify("it", "notified", |_, _| async {})
        .build()
        .unwrap();
    let (pair, local) = local(services).await;
    for (name, code) in [
        ("panics", ErrorCode::HANDLER_PANICKED),
        ("panics-later", ErrorCode::HANDLER_PANICKED),
        ("notified", ErrorCode::NOT_FOUND),
        ("nothing", ErrorCode::NOT_FOUND),
    ] {
        let method = Method::new("it", name).unwrap();
        let failed = within(local.call(&method, "")).await.unwrap_err();
        assert!(
            matches!(&failed, CallError::Failed(failure) if failure.code == code),
            "{name}: {failed}"
        );
    }
    assert!(!pair.connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_handler_ends_with_its_caller_with_its_deadline_and_with_the_connection() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (pair, local) = local(waiting(tell)).await;
    let local = Arc::new(local);
    let method = Method::new("long", "job").unwrap();

    let called = tokio::spawn({
        let (local, method) = (Arc::clone(&local), method.clone());
        async move { local.call(&method, "").await }
    });
    assert_eq!(within(told.recv()).await, Some("started"));
    called.abort();
    assert_eq!(within(told.recv()).await, Some("dropped"));

    let begun = Instant::now();
    let over = local.call(&method, "").timeout(Duration::from_secs(3)).await;
    assert_eq!(over, Err(CallError::DeadlineExceeded));
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert_eq!(within(told.recv()).await, Some("started"));
    assert_eq!(within(told.recv()).await, Some("dropped"));

    let called = tokio::spawn({
        let (local, method) = (Arc::clone(&local), method.clone());
        async move { local.call(&method, "").await }
    });
    assert_eq!(within(told.recv()).await, Some("started"));
    pair.connection.close();
    assert!(matches!(within(called).await.unwrap(), Err(CallError::Lost(_))));
    assert_eq!(within(told.recv()).await, Some("dropped"));
    assert!(local.is_closed());
    assert!(matches!(
        local.call(&method, "").await,
        Err(CallError::NotSent(_))
    ));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_shielded_handler_learns_that_nobody_waits_and_ends_by_itself() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (go, gone) = watch::channel(false);
    let services = Services::builder()
        .unary("long", "job", move |context, _| {
            let (tell, mut gone) = (tell.clone(), gone.clone());
            async move {
                context.shield();
                tell.send("started").unwrap();
                context.cancelled().await;
                tell.send("cancelled").unwrap();
                gone.wait_for(|gone| *gone).await.unwrap();
                tell.send("done").unwrap();
                Ok(text(""))
            }
        })
        .build()
        .unwrap();
    let (pair, local) = local_with(services, Some(AdmissionLimits::new(1))).await;
    let local = Arc::new(local);
    let method = Method::new("long", "job").unwrap();
    let called = tokio::spawn({
        let (local, method) = (Arc::clone(&local), method.clone());
        async move { local.call(&method, "").await }
    });
    assert_eq!(within(told.recv()).await, Some("started"));
    called.abort();
    assert_eq!(within(told.recv()).await, Some("cancelled"));
    // It is in progress as long as it runs.
    let refused = within(local.call(&method, "")).await.unwrap_err();
    assert!(matches!(refused, CallError::Failed(failure) if failure.code == ErrorCode::OVERLOADED));
    go.send(true).unwrap();
    assert_eq!(within(told.recv()).await, Some("done"));
    drop(pair);
}

#[tokio::test]
async fn the_deadline_is_what_calls_inside_inherit() {
    let services = Services::builder()
        .unary("how", "long", |context, _| async move {
            assert!(context.deadline().is_some());
            let inside = valkyrie_endpoint::remaining().unwrap();
            Ok(text(if inside <= Duration::from_secs(5) {
                "short"
            } else {
                "long"
            }))
        })
        .build()
        .unwrap();
    let (_pair, local) = local(services).await;
    let method = Method::new("how", "long").unwrap();
    let answer = within(local.call(&method, "").timeout(Duration::from_secs(5))).await;
    assert_eq!(answer.unwrap(), "short");
}

#[tokio::test]
async fn the_trace_reaches_the_handler() {
    let services = Services::builder()
        .unary("trace", "echo", |context, _| async move {
            let trace = context.extensions().iter().find_map(|extension| match extension {
                Extension::TraceContext(trace) => Some(Bytes::copy_from_slice(trace)),
                _ => None,
            });
            Ok(trace.unwrap_or_default())
        })
        .build()
        .unwrap();
    let (_pair, local) = local(services).await;
    let method = Method::new("trace", "echo").unwrap();
    let answer = within(local.call(&method, "").trace_context(&[7; 26]))
        .await
        .unwrap();
    assert_eq!(answer, [7; 26][..]);
    assert_eq!(within(local.call(&method, "")).await.unwrap(), "");
}

async fn local(services: Services) -> (Pair, LocalCaller) {
    local_with(services, None).await
}

async fn local_with(services: Services, admission: Option<AdmissionLimits>) -> (Pair, LocalCaller) {
    let pair = Pair::new(services).await;
    pair.server
        .set_qos(Qos {
            admission,
            ..Qos::default()
        })
        .unwrap();
    let local = pair.accepted().await.local_caller();
    (pair, local)
}

/// `long/job` never answers, and says when it began and when it was dropped.
fn waiting(tell: mpsc::UnboundedSender<&'static str>) -> Services {
    struct Tell(mpsc::UnboundedSender<&'static str>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    let builder = Services::builder().unary("long", "job", move |_, _| {
        let tell = tell.clone();
        async move {
            tell.send("started").unwrap();
            let _dropped = Tell(tell);
            std::future::pending().await
        }
    });
    builder.build().unwrap()
}

fn allowing(who: &str, more: &str) -> String {
    format!(
        "version = 1\n[[allow]]\npeers = [\"name:{who}\"]\nservices = [\"who\"]\nclasses = [\"data\"]\n{more}"
    )
}
