//! Drives a contender for a while and notes what was done.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::failure::Failure;

/// What to do in one window.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) duration: Duration,
    pub(crate) payload: Bytes,
    pub(crate) in_flight: usize,
}

impl Load {
    /// With many in flight a clock read before and after each call would be a good part of what is measured, so only
    /// each eighth is timed.
    pub(crate) fn calls_per_sample(&self) -> usize {
        if self.in_flight == 1 { 1 } else { 8 }
    }
}

/// What was done in one window.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    /// Empty for one-way messages, which have no round trip.
    pub(crate) latency_ns: Option<Histogram<u64>>,
}

/// Round trips in nanoseconds, capped at 4.2 s; collected flat because a histogram a caller would crowd the cache.
pub(crate) type Samples = Vec<u32>;

pub(crate) fn sample(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

/// Puts the samples into one histogram with three significant digits.
pub(crate) fn histogram<'a>(samples: impl IntoIterator<Item = &'a Samples>) -> Option<Histogram<u64>> {
    let mut histogram = Histogram::new_with_bounds(1, u64::from(u32::MAX), 3).ok()?;
    for samples in samples {
        for sample in samples {
            histogram.saturating_record(u64::from(*sample));
        }
    }
    (!histogram.is_empty()).then_some(histogram)
}

/// A client that can be shared: each clone may have one call under way.
pub(crate) trait Caller: Clone + Send + 'static {
    fn call(&mut self, payload: Bytes) -> impl Future<Output = Result<Bytes, Failure>> + Send;
}

/// Keeps `in_flight` calls under way until the time is up, each from a task of its own, and waits for the last answer.
pub(crate) async fn closed_loop<C: Caller>(caller: &C, load: &Load) -> Result<Done, Failure> {
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..load.in_flight {
        callers.spawn(call_until(caller.clone(), load.clone(), began + load.duration));
    }
    let mut messages = 0;
    let mut samples = Vec::with_capacity(load.in_flight);
    while let Some(ended) = callers.join_next().await {
        let (calls, taken) =
            ended.map_err(|panic| Failure::Control(format!("a calling task ended early: {panic}")))??;
        messages += calls;
        samples.push(taken);
    }
    Ok(Done {
        messages,
        elapsed: began.elapsed(),
        latency_ns: histogram(&samples),
    })
}

async fn call_until<C: Caller>(mut caller: C, load: Load, end: Instant) -> Result<(u64, Samples), Failure> {
    let untimed = load.calls_per_sample() - 1;
    let mut calls = 0;
    let mut samples = Samples::with_capacity(FIRST_SAMPLES);
    loop {
        for _ in 0..untimed {
            check(&load.payload, &caller.call(load.payload.clone()).await?)?;
        }
        let began = Instant::now();
        check(&load.payload, &caller.call(load.payload.clone()).await?)?;
        let done = Instant::now();
        samples.push(u32::try_from((done - began).as_nanos()).unwrap_or(u32::MAX));
        calls += untimed as u64 + 1;
        if done >= end {
            return Ok((calls, samples));
        }
    }
}

/// One call whose answer is compared byte by byte; the measured ones are compared by length.
pub(crate) async fn call_once<C: Caller>(mut caller: C, payload: &Bytes) -> Result<(), Failure> {
    let answer = caller.call(payload.clone()).await?;
    if answer == *payload {
        return Ok(());
    }
    Err(Failure::WrongAnswer {
        sent: payload.len(),
        received: answer.len(),
    })
}

#[inline]
fn check(sent: &Bytes, received: &Bytes) -> Result<(), Failure> {
    if sent.len() == received.len() {
        return Ok(());
    }
    Err(Failure::WrongAnswer {
        sent: sent.len(),
        received: received.len(),
    })
}

/// Room for the samples of a short window.
const FIRST_SAMPLES: usize = 4096;
