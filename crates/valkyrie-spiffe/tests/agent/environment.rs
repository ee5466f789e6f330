//! The address of the agent as the environment gives it. A test runs itself in a process of its own, whose environment it
//! makes.

use std::process::Command;

use valkyrie_security::{Live, Trust};
use valkyrie_spiffe::{Workload, WorkloadError};

use crate::agent::{Agent, Authority, Given};
use crate::{PATIENCE, RUNNER};

#[test]
fn the_environment_names_the_agent() {
    let agent = Agent::start(Given::new(&Authority::new(), RUNNER));
    runs(
        "environment::a_workload_whose_environment_names_an_agent",
        Some(&agent.address()),
    );
    runs("environment::a_workload_whose_environment_names_none", None);
}

/// Runs a test of this file in such an environment.
fn runs(test: &str, address: Option<&str>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", test]);
    match address {
        Some(address) => command.env("SPIFFE_ENDPOINT_SOCKET", address),
        None => command.env_remove("SPIFFE_ENDPOINT_SOCKET"),
    };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the_environment_names_the_agent"]
async fn a_workload_whose_environment_names_an_agent() {
    let trust = Live::new(Trust::default());
    let workload = Workload::connect(None, &trust, PATIENCE).await.unwrap();
    assert_eq!(workload.state().spiffe_id, RUNNER);
}

#[tokio::test]
#[ignore = "run by the_environment_names_the_agent"]
async fn a_workload_whose_environment_names_none() {
    let trust = Live::new(Trust::default());
    let nowhere = Workload::connect(None, &trust, PATIENCE).await;
    assert!(matches!(nowhere, Err(WorkloadError::NoAddress)), "{nowhere:?}");
}
