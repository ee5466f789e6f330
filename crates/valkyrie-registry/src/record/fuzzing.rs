//! What the fuzz target reaches that nobody else needs: a record's form without its signature, which no fuzzer finds.

use super::encoding;
use crate::Key;
use crate::agent::AgentId;

/// What is read, written again, and the place that it belongs at; `None` where it is refused.
pub fn again(bytes: &[u8]) -> Option<(Vec<u8>, Key)> {
    let (body, _, signatures) = encoding::parse(bytes).ok()?;
    let id = AgentId::new(body.keys.fingerprint(), body.instance.clone()).ok()?;
    let mut again = encoding::encode(&body);
    encoding::put_signatures(&mut again, &signatures);
    Some((again, id.key()))
}
