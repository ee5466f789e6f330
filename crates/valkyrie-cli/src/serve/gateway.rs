//! The gateways of `valkyrie serve`: its services for plain HTTP clients.

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use valkyrie::gateway::{Gateway, Node};
use valkyrie::security::audit::AuditEvent;
use valkyrie::transport::tls::Certificates;
use valkyrie::{Endpoint, PolicyHandle, Services};

use super::ServeArgs;
use crate::exit::{CliError, Exit};
use crate::out::Out;
use crate::trail::Trail;

/// Those that run.
pub(super) struct Gateways {
    running: JoinSet<()>,
    ending: watch::Sender<()>,
}

impl Gateways {
    /// Starts what the arguments ask for, and says where.
    pub(super) async fn begin(
        args: &ServeArgs,
        services: Services,
        policy: PolicyHandle,
        certificates: &Certificates,
        trail: &Trail,
        out: &mut Out,
    ) -> Result<Self, CliError> {
        let (ending, ends) = watch::channel(());
        let mut running = JoinSet::new();
        if args.gateway.is_empty() {
            return Ok(Self { running, ending });
        }
        let recording = trail.clone();
        let builder = Endpoint::builder()
            .services(services)
            .policy(policy)
            .audit(move |event: &AuditEvent<'_>| recording.record(event));
        let node = Node::new(builder)
            .await
            .map_err(|error| CliError::new(Exit::Local, format!("the gateway cannot begin: {error}")))?;
        let gateway = Gateway::new(node)
            .with_origins(&args.web_origin)
            .with_certificates(certificates.clone());
        for locator in &args.gateway {
            let server = gateway
                .listen(locator)
                .await
                .map_err(|error| CliError::new(Exit::Local, error.to_string()))?;
            if out.is_json() {
                out.json(&json!({"event": "gateway", "locator": server.locator().as_str()}))?;
            } else {
                let paint = out.paint();
                out.line(format_args!("gateway on {}", paint.bold(server.locator())))?;
                out.flush()?;
            }
            let mut ends = ends.clone();
            running.spawn(server.run(async move {
                let _ = ends.changed().await;
            }));
        }
        Ok(Self { running, ending })
    }

    /// Takes no client any more, and waits for the calls that are under way, within the gateway's own bound.
    pub(super) async fn end(mut self) {
        drop(self.ending);
        while self.running.join_next().await.is_some() {}
    }
}
