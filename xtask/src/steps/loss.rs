//! Measures over QUIC and over TCP, between network namespaces, and draws for the book: what loss in bulk does to the other classes, and
//! how each class holds itself back; and, in a network namespace, what half-open floods do to a server. It takes some minutes of an idle
//! machine and root, so `ci` leaves it out.

use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// Builds the example `name` with optimisation and runs it with `arguments`.
pub(crate) fn run(context: &Context, name: &str, arguments: &[String]) -> Result<(), Failure> {
    ensure_network_tools(context);
    Shell::cargo(&context.root)
        .args(["run", "--release", "-p", "valkyrie", "--features", "full"])
        .args([
            "--example",
            name,
            "--",
            "--plot",
            &format!("docs/book/{name}.svg"),
        ])
        .args(arguments)
        .run()
}

/// Builds the example `flood` with optimisation and runs it with `arguments`. It draws nothing.
pub(crate) fn flood(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    ensure_network_tools(context);
    Shell::cargo(&context.root)
        .args(["run", "--release", "-p", "valkyrie", "--example", "flood", "--"])
        .args(arguments)
        .run()
}

/// Installs what makes networks of a machine's own, where this is root on a machine with apt.
pub(super) fn ensure_network_tools(context: &Context) {
    for (program, package) in NETWORK_TOOLS {
        if tools::find(program).is_none() {
            tools::apt_install(&context.root, package);
        }
    }
}

/// What makes networks of a machine's own, each with Debian's package of it.
pub(super) const NETWORK_TOOLS: [(&str, &str); 2] = [("tc", "iproute2"), ("iptables", "iptables")];
