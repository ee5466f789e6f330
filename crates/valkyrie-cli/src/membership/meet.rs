//! The first word with the places of `--join`, so that what is wrong there is told. The node goes on trying by itself.

use valkyrie::Endpoint;
use valkyrie_registry_swim::node::Seed;

use super::follow::DIAL_FOR;
use crate::exit::{CliError, Exit};
use crate::units::Span;

/// Dials a place once.
pub(super) async fn meet(endpoint: Endpoint, seed: Seed) -> Result<(), CliError> {
    let dialling = endpoint.connect_expecting(&seed.place, seed.expect);
    match tokio::time::timeout(DIAL_FOR, dialling).await {
        // It ends when it is dropped: the node has its own.
        Ok(met) => Ok(met.map(drop)?),
        Err(_) => {
            let message = format!("{} did not answer within {}", seed.place, Span(DIAL_FOR));
            Err(CliError::new(Exit::Unreachable, message))
        }
    }
}

/// What has come of the places so far.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    pub(super) met: usize,
    /// Somebody answered who is not trusted, or does not trust this node.
    distrusted: Vec<CliError>,
}

impl Meetings {
    /// Takes another of `all`. An error that nothing but a person can mend, and that leaves nobody to join, ends the program; every other is
    /// returned to be told.
    pub(super) fn take(
        &mut self,
        met: Result<(), CliError>,
        all: usize,
    ) -> Result<Option<CliError>, CliError> {
        let error = match met {
            Ok(()) => {
                self.met += 1;
                return Ok(None);
            }
            Err(error) => error,
        };
        if error.exit != Exit::Distrust {
            return Ok(Some(error));
        }
        self.distrusted.push(error.clone());
        match self.distrusted.len() == all {
            true => Err(error),
            false => Ok(Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_distrust_everywhere_leaves_nothing_to_wait_for() {
        let fails = |exit| Err(CliError::new(exit, "why"));
        let mut meetings = Meetings::default();
        assert!(meetings.take(fails(Exit::Distrust), 2).is_ok());
        assert!(meetings.take(fails(Exit::Unreachable), 2).is_ok());
        let mut meetings = Meetings::default();
        assert!(meetings.take(fails(Exit::Distrust), 2).is_ok());
        assert!(meetings.take(fails(Exit::Distrust), 2).is_err());
        let mut meetings = Meetings::default();
        assert!(meetings.take(Ok(()), 2).is_ok_and(|told| told.is_none()));
        assert!(meetings.take(fails(Exit::Distrust), 2).is_ok());
    }
}
