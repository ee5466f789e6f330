//! `valkyrie ci …`: hands over to the CI layer, which has its own words, and takes its exit code.

use valkyrie_rustci::command::{self, CiArgs, CiExit, IoOptions};

use crate::exit::{CliError, Exit};
use crate::net;
use crate::out::ColorWhen;

/// Runs the command.
pub(crate) fn run(args: &CiArgs, color: ColorWhen, json: bool) -> Result<(), CliError> {
    let colour = match color {
        ColorWhen::Auto => None,
        ColorWhen::Always => Some(true),
        ColorWhen::Never => Some(false),
    };
    let ended = net::block_on(net::cores(), async {
        Ok(command::run(args, IoOptions { json, colour }).await)
    })?;
    // Whatever there was to say has been said.
    match ended {
        CiExit::Succeeded => Ok(()),
        CiExit::Failed => Err(CliError::silent(Exit::Failed)),
        CiExit::Usage => Err(CliError::silent(Exit::Usage)),
        CiExit::Unreachable => Err(CliError::silent(Exit::Unreachable)),
        CiExit::Interrupted => Err(CliError::silent(Exit::Interrupted)),
        CiExit::BrokenPipe => Err(CliError::silent(Exit::BrokenPipe)),
        CiExit::Terminated => Err(CliError::silent(Exit::Terminated)),
        _ => Err(CliError::silent(Exit::Local)),
    }
}
