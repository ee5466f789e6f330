//! Two nodes whose identities come from a SPIFFE agent: one serves and permits by SPIFFE ID, the other calls. Then the
//! agent renews what the caller is, and at last says that the server is not registered any more: it believes nobody
//! from then on, and the connection ends.
//!
//!     cargo run -p example-spiffe-nodes
//!
//! The agents here are small ones that the tests of `valkyrie-spiffe` use, one for each node. Where SPIRE runs, its
//! agent's address takes their place.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use tonic::Code;
use valkyrie::security::security::Security;
use valkyrie::security::{Live, Trust};
use valkyrie::{AccessPolicy, Services};
use valkyrie_spiffe::Workload;

use crate::agent::{Agent, Authority, Given};

#[path = "../../../crates/valkyrie-spiffe/tests/agent/agent.rs"]
#[expect(dead_code, reason = "tests want more of their agent")]
mod agent;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::new();
    let runner_id = "spiffe://example.org/ci/runner";
    let store_agent = Agent::start(Given::new(&authority, "spiffe://example.org/store"));
    let runner_agent = Agent::start(Given::until(&authority, runner_id, 2041));

    let (store, security) = node(&store_agent).await?;
    let services = Services::builder()
        .unary("store", "who", |context, _payload| async move {
            let who = context.identity().spiffe_id().unwrap_or("nobody");
            Ok(who.to_owned().into())
        })
        .build()?;
    let policy = AccessPolicy::parse(POLICY)?;
    let server = valkyrie::endpoint()
        .security(security)
        .services(services)
        .policy(policy)
        .build()?;
    let place = server.listen("tcp://127.0.0.1:0").await?;

    let (runner, security) = node(&runner_agent).await?;
    let client = valkyrie::endpoint().security(security).build()?;
    let connection = client.connect(&place).await?;
    let peer = connection.identity().spiffe_id().unwrap_or("nobody").to_owned();
    let answer = connection.call(("store", "who"), "").timeout(PATIENCE).await?;
    say(&format!(
        "{peer} says that I am {}",
        String::from_utf8_lossy(&answer)
    ))?;

    runner_agent.give(Given::until(&authority, runner_id, 2042));
    let state = runner.wait_for(|state| state.updates == 2).await;
    connection.call(("store", "who"), "").timeout(PATIENCE).await?;
    say(&format!(
        "renewed until {}; the connection lives on",
        state.not_after
    ))?;

    store_agent.say(Code::PermissionDenied);
    store.wait_for(|state| state.trust_domains.is_empty()).await;
    let reason = tokio::time::timeout(PATIENCE, connection.closed()).await?;
    say(&format!("the server was withdrawn: {reason}"))?;
    match client.connect(&place).await {
        Ok(_) => Err("a server that believes nobody took a connection".into()),
        Err(error) => say(&format!("and again: {error}")),
    }
}

/// A workload of that agent, and what an endpoint needs of it.
async fn node(agent: &Agent) -> Result<(Workload, Security), Box<dyn Error>> {
    let trust = Live::new(Trust::default());
    let workload = Workload::connect(Some(&agent.address()), &trust, PATIENCE).await?;
    let security = Security::new(workload.identity().clone(), trust);
    Ok((workload, security))
}

fn say(text: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

const POLICY: &str = r#"
version = 1

[[allow]]
peers = ["spiffe://example.org/ci/*"]
services = ["store"]
"#;

/// Everything here is over in a moment.
const PATIENCE: Duration = Duration::from_secs(20);
