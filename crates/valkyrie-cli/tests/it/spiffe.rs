//! `--spiffe`: programs whose identity an agent gives. The agent is that of the tests of `valkyrie-spiffe`.

#[path = "../../../valkyrie-spiffe/tests/agent/agent.rs"]
#[allow(dead_code, reason = "the tests of valkyrie-spiffe use all of it")]
mod agent;

use self::agent::{Agent, Authority, Given};
use crate::keys::made;
use crate::support::{
    Server, assert_code, home, json_lines, other_home, run, run_as, stderr, stdout, until, valkyrie,
};

const RUNNER: &str = "spiffe://example.org/ci/runner";
const STORE: &str = "spiffe://example.org/ci/store";

/// Who runs the store lets the trust domain's runners call echo, and nobody else.
const POLICY: &str = "\
version = 1
[[allow]]
peers = [\"spiffe://example.org/ci/*\"]
services = [\"echo\"]
";

fn spiffe_at(agent: &Agent) -> String {
    format!("--spiffe={}", agent.address())
}

/// A server with an SVID, and the policy above.
fn store(agent: &Agent) -> Server {
    let file = other_home("policy.toml");
    std::fs::write(&file, POLICY).expect("a file");
    let policy = file.to_str().expect("text");
    let spiffe = spiffe_at(agent);
    let args = [
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "quic://127.0.0.1:0",
        "--policy",
        policy,
        &spiffe,
    ];
    Server::start_as(&other_home("server"), &args)
}

fn echo_code(server: &Server, runner: &Agent) -> Option<i32> {
    let spiffe = spiffe_at(runner);
    let output = run(["call", server.locator(), "echo", "echo", &spiffe]);
    output.status.code()
}

#[test]
fn two_programs_of_a_trust_domain_know_each_other_by_their_svids() {
    let fingerprint = made(&home(), "client");
    let authority = Authority::new();
    let (store_agent, runner_agent) = (
        Agent::start(Given::new(&authority, STORE)),
        Agent::start(Given::new(&authority, RUNNER)),
    );
    let server = store(&store_agent);
    let spiffe = spiffe_at(&runner_agent);

    let shown = run(["ping", "-v", "-n", "1", server.locator(), &spiffe]);
    assert_code(&shown, 0);
    assert!(stdout(&shown).contains(STORE), "{}", stdout(&shown));
    // Over TCP and on top of TLS it is the same identity.
    for locator in &server.locators {
        let told = run(["ping", "-n", "1", "--json", locator, &spiffe]);
        let security = &json_lines(&told)[0]["security"];
        assert_eq!(
            (&security["trusted"], &security["spiffe_id"]),
            (&"svid".into(), &STORE.into()),
            "{locator}"
        );
    }

    assert_eq!(echo_code(&server, &runner_agent), Some(0));
    let trusted = run_as(&other_home("server"), ["keys", "trust", &fingerprint]);
    assert_code(&trusted, 0);
    let log = other_home("server").join("audit.log");
    until(|| std::fs::read_to_string(&log).is_ok_and(|log| log.contains("were read anew")));
    // The agent's trust domain is still believed.
    assert_eq!(echo_code(&server, &runner_agent), Some(0));
}

#[test]
fn a_trust_domain_that_the_agent_withdraws_is_believed_no_more() {
    let (authority, other) = (Authority::new(), Authority::new());
    let store_agent = Agent::start(Given::new(&authority, STORE));
    let runner_agent = Agent::start(Given::new(&authority, RUNNER));
    let server = store(&store_agent);
    assert_eq!(echo_code(&server, &runner_agent), Some(0));

    store_agent.give(Given::new(&other, STORE));
    until(|| echo_code(&server, &runner_agent) == Some(7));
    runner_agent.give(Given::new(&other, RUNNER));
    assert_eq!(echo_code(&server, &runner_agent), Some(0));
}

#[test]
fn an_agent_that_is_not_named_or_not_one_is_said_so_at_once() {
    let unnamed = valkyrie(["ping", "tcp://127.0.0.1:1", "--spiffe"])
        .env_remove("SPIFFE_ENDPOINT_SOCKET")
        .output()
        .expect("the program starts");
    assert_code(&unnamed, 6);
    assert!(
        stderr(&unnamed).contains("SPIFFE_ENDPOINT_SOCKET"),
        "{}",
        stderr(&unnamed)
    );
    let strange = run(["ping", "tcp://127.0.0.1:1", "--spiffe=http://agent"]);
    assert_code(&strange, 6);
    assert!(stderr(&strange).contains("http://agent"), "{}", stderr(&strange));
    let both = run(["ping", "tcp://127.0.0.1:1", "--plain", "--spiffe"]);
    assert_code(&both, 2);
}
