//! What the fuzz target reaches: any bytes as any of the messages, written again where they are read.

use super::{ListMessage, Method, Reply, Request, WatchMessage};

/// The message of a kind that `selector` chooses, written again; `None` where it is refused.
pub fn again(selector: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let method = Method::ALL[usize::from(selector) % Method::ALL.len()];
    let again = match selector / 64 {
        0 => Request::decode(method, bytes).ok()?.encode(),
        1 => Reply::encode(&Reply::decode(method, bytes).ok()?),
        2 => ListMessage::decode(bytes).ok()?.encode(),
        _ => WatchMessage::decode(bytes).ok()?.encode(),
    };
    // What was read can be written.
    Some(again.expect("what was read cannot be written").to_vec())
}
