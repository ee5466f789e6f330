//! Happy eyeballs, RFC 8305: several addresses of one name race, politely.
//!
//! This file knows no sockets: what an attempt is comes as a function, so that the tests run on virtual time. It begins
//! where RFC 8305, section 4 does, with a list of addresses in the system's order of preference (`getaddrinfo` asks
//! for both families and waits for both, so the asynchronous queries of section 3 do not arise).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Orders addresses so that families alternate, beginning with the family of the first (RFC 8305, section 4, with a
/// First Address Family Count of 1). Within a family the order stays. Repeated addresses are tried once.
pub(crate) fn interleave(addresses: impl IntoIterator<Item = SocketAddr>, max: usize) -> Vec<SocketAddr> {
    let mut first_family = VecDeque::new();
    let mut other_family = VecDeque::new();
    let mut first_is_v6 = None;
    for address in addresses {
        let is_first = *first_is_v6.get_or_insert(address.is_ipv6()) == address.is_ipv6();
        let family = if is_first {
            &mut first_family
        } else {
            &mut other_family
        };
        // Bounded while collecting: a name may have any number of addresses.
        if family.len() < max && !family.contains(&address) {
            family.push_back(address);
        }
    }
    let mut ordered = Vec::with_capacity(first_family.len() + other_family.len());
    while !(first_family.is_empty() && other_family.is_empty()) {
        ordered.extend(first_family.pop_front());
        ordered.extend(other_family.pop_front());
    }
    ordered.truncate(max);
    ordered
}

/// Tries `addresses` in order until one connects: the next begins when the last one begun has had `attempt_delay`, or
/// at once when it fails (RFC 8305, section 5). The first success wins and the other attempts are dropped.
///
/// # Errors
///
/// Every failure in the order they happened, when no attempt is left.
pub(crate) async fn race<T, E, F>(
    addresses: &[SocketAddr],
    attempt_delay: Duration,
    mut connect: impl FnMut(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, E)>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = addresses.iter().copied();
    let mut attempts: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failures = Vec::new();
    let mut next_begins = pin!(sleep(Duration::ZERO));
    // The newest attempt failing lets the next begin at once; an older one failing does not.
    let mut begin_now = true;

    poll_fn(|cx| {
        loop {
            if begin_now || next_begins.as_mut().poll(cx).is_ready() {
                begin_now = false;
                if let Some(address) = waiting.next() {
                    attempts.push((address, Box::pin(connect(address))));
                    next_begins.as_mut().reset(Instant::now() + attempt_delay);
                } else if attempts.is_empty() {
                    return Poll::Ready(Err(std::mem::take(&mut failures)));
                }
            }
            let mut index = 0;
            while let Some((address, attempt)) = attempts.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok(connected)),
                    Poll::Ready(Err(error)) => {
                        failures.push((*address, error));
                        begin_now |= index + 1 == attempts.len();
                        attempts.remove(index);
                    }
                    Poll::Pending => index += 1,
                }
            }
            begin_now |= attempts.is_empty();
            if !begin_now && (waiting.len() == 0 || next_begins.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
        }
    })
    .await
}
