//! Measures Valkyrie beside the libraries that it stands on by themselves, the barest RPC, and tonic, in one run.
//!
//! Every contender has its server in a second process and uses one thread on each side. Within a scenario the
//! contenders take turns, round after round, so that what else the machine does falls on all of them alike; the
//! figures are medians over the rounds, and ratios are taken within each round before their median.
//!
//! This is not a load generator for servers elsewhere: `valkyrie bench` is. Read `scenario.rs` first.

mod address;
mod broker;
mod contender;
mod cpu;
mod failure;
mod frames;
mod idle;
mod load;
mod machine;
mod options;
mod report;
mod rounds;
mod scenario;
mod server;
mod summary;
mod targets;

use std::process::ExitCode;

use clap::Parser;

use crate::address::{Site, Socket};
use crate::broker::Broker;
use crate::failure::Failure;
use crate::options::Options;
use crate::report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(contender) = options.serve {
        let site = Site {
            socket: options.socket,
            broker: options.broker,
        };
        return match server::serve(contender, site, options.pin) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("server of {contender}: {failure}");
                ExitCode::FAILURE
            }
        };
    }
    match measure(&options) {
        Ok(report) if report.is_complete() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(INCOMPLETE),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for, prints it and writes it down.
fn measure(options: &Options) -> Result<Report, Failure> {
    let mut report = Report::new(options);
    if !options.idle_only {
        // Started for the first scenario that needs it.
        let mut broker = None;
        for scenario in scenario::all().filter(|scenario| options.wants(scenario)) {
            if scenario.socket != Socket::Redis {
                report.add(rounds::run(scenario, None, options)?);
                continue;
            }
            match broker.get_or_insert_with(Broker::start) {
                Ok(broker) => report.add(rounds::run(scenario, Some(&*broker), options)?),
                Err(failure) => {
                    eprintln!("{scenario} is left out: {failure}");
                    report.leave_out(scenario, failure.to_string());
                }
            }
        }
    }
    if options.idle_only || options.idle {
        for socket in options.idle_sockets() {
            report.add_idle(idle::run(socket, options)?);
        }
    }
    report.finish();
    print!("{}", report.render(options.markdown));
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(report)
}

/// The exit code when a contender failed somewhere or something was left out: the figures that were taken are printed all
/// the same.
const INCOMPLETE: u8 = 2;
