//! Two endpoints at the ends of a cable between network namespaces: what the examples that measure, and the tests that share their
//! measurements, begin with.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use valkyrie::proto::Config;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{AccessPolicy, Endpoint, EndpointBuilder, Locator, Qos, Services};

use crate::netns::{Cable, End};

/// The two endpoints of a measurement.
pub(crate) struct Ends {
    pub(crate) services: Services,
    /// Of both.
    pub(crate) config: Config,
    /// Of the one that dials.
    pub(crate) qos: Qos,
    /// Where the other listens, and where it is dialled: not the same where something lies between.
    pub(crate) listen: Locator,
    pub(crate) dial: Locator,
}

impl Ends {
    /// Endpoints as they are without configuration, of whom the far one has these services.
    pub(crate) fn new(cable: &Cable, scheme: &str, services: Services) -> Self {
        let host = cable.ipv4(End::Far);
        let locator: Locator = format!("{scheme}://{host}:7000").parse().expect("a locator");
        Self {
            services,
            config: Config::default(),
            qos: Qos::default(),
            listen: locator.clone(),
            dial: locator,
        }
    }

    /// Has `work` done at the near end, with its endpoint and the place of the far one.
    pub(crate) fn run<F>(
        self,
        cable: &Cable,
        work: impl FnOnce(Endpoint, Locator) -> F + Send + 'static,
    ) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (ready, is_ready) = oneshot::channel();
        let (over, is_over) = oneshot::channel::<()>();
        let (config, listen, services) = (self.config.clone(), self.listen, self.services);
        let server = cable.run_at(End::Far, async move {
            let server = endpoint("receiver").config(config).services(services);
            let server = server.build().expect("no mistake");
            server.listen(&listen).await.expect("it is free");
            ready.send(()).expect("the dialler waits");
            let _ = is_over.await;
        });
        let dialler = cable.run_at(End::Near, async move {
            is_ready.await.expect("it listens");
            let client = endpoint("sender").config(self.config).qos(self.qos);
            let client = client.build().expect("no mistake");
            let result = work(client, self.dial).await;
            let _ = over.send(());
            result
        });
        let result = dialler.result();
        server.result();
        result
    }
}

/// An endpoint that trusts whom it meets, for a network that nobody else is on.
fn endpoint(name: &str) -> EndpointBuilder {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let identity = Identity::generate(name, UnixTime::from_secs(now.as_secs())).expect("random bytes");
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    valkyrie::endpoint()
        .security(Security::new(Live::new(identity), Live::new(trust)))
        // Nobody is let into the critical and system classes who is not named, unless everybody is.
        .policy(AccessPolicy::allow_all())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value that so many of a thousand do not exceed.
pub(crate) fn at<T: Copy + Default>(sorted: &[T], permille: usize) -> T {
    let place = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}
