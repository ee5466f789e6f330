//! Ten peers, one of them slow and one failing: who gets the messages? `cargo run -p valkyrie-router --example choose`

use std::time::{Duration, Instant};

use fastrand::Rng;
use valkyrie_frame::Class;
use valkyrie_router::{Balance, BreakerLimits, Needs, Table, Way};
use valkyrie_transport::Capabilities;

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let mut ways = Vec::new();
    for number in 0..10 {
        ways.push(Way {
            peer: (),
            locator: format!("tcp://node-{number}:7000").parse()?,
            capabilities: Capabilities::default(),
            weight: 1,
            near: false,
        });
    }
    let table = Table::new(ways, BreakerLimits::default(), begun)?;
    let (needs, mut rng) = (Needs::of(Class::Data), Rng::new());
    let mut messages = std::collections::BTreeMap::new();
    // Time is an argument, so a minute passes at once.
    for millisecond in 0..60_000 {
        let now = begun + Duration::from_millis(millisecond);
        let id = table.choose(&needs, Balance::TwoChoices, None, now, &mut rng)?;
        let name = table
            .way(id)
            .map_or_else(String::new, |way| way.locator.to_string());
        let sent = table.begin(id, now).ok_or("it is of this table")?;
        let takes = if name.contains("node-3") { 40 } else { 2 };
        sent.answered(now + Duration::from_millis(takes));
        if name.contains("node-7") {
            table.failed(id, now);
        } else {
            table.succeeded(id, now);
        }
        *messages.entry(name).or_insert(0_u32) += 1;
    }
    for (name, count) in messages {
        println!("{name} {count:>6} {}", "#".repeat(count as usize / 200));
    }
    Ok(())
}
