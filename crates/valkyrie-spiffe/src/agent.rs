//! The connection to an agent, made anew when it breaks.

use std::pin::Pin;
use std::time::Duration;

use spiffe::transport::Endpoint;
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context};
use tokio_stream::{Stream, StreamExt as _};

use crate::fault::{AgentFault, WorkloadError};

/// What an agent answers, one after the other, over as many connections as it takes.
pub(crate) struct Answers {
    agent: Endpoint,
    stream: Option<ContextStream>,
    /// Before the next attempt to connect.
    pause: Duration,
}

type ContextStream = Pin<Box<dyn Stream<Item = Result<X509Context, WorkloadApiError>> + Send>>;

impl Answers {
    /// Of the agent at `address`, or where the environment says. Nothing is asked yet.
    pub(crate) fn new(address: Option<&str>) -> Result<Self, WorkloadError> {
        let address = match address {
            Some(address) => address.to_owned(),
            None => std::env::var_os(ADDRESS_VARIABLE)
                .ok_or(WorkloadError::NoAddress)?
                .to_string_lossy()
                .into_owned(),
        };
        let agent = Endpoint::parse(&address).map_err(|error| WorkloadError::Address {
            reason: error.to_string(),
            address,
        })?;
        Ok(Self {
            agent,
            stream: None,
            pause: Duration::ZERO,
        })
    }

    /// Waits for the next answer. After a fault it may be called again, and pauses before it asks again.
    pub(crate) async fn next(&mut self) -> Result<X509Context, AgentFault> {
        // Taken out, so that what breaks, or is dropped in between, is connected anew.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let context = stream.next().await.ok_or(AgentFault::Ended)??;
        self.stream = Some(stream);
        self.pause = PAUSE_MIN;
        Ok(context)
    }

    async fn connect(&mut self) -> Result<ContextStream, AgentFault> {
        tokio::time::sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).clamp(PAUSE_MIN, PAUSE_MAX);
        let client = WorkloadApiClient::connect(self.agent.clone()).await?;
        Ok(Box::pin(client.stream_x509_contexts().await?))
    }
}

/// Where SPIFFE says that the address is when nobody says it otherwise.
const ADDRESS_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";
/// An agent that is started anew is back within this; asking more often would only keep it busy.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// An agent that is away for long is found again within this, long before what it gave expires.
const PAUSE_MAX: Duration = Duration::from_secs(10);
