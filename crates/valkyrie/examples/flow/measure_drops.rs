//! Bulk that is pushed faster than the link carries it: what arrives, what is counted as dropped, and which.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie::{Class, Services};

use crate::ends::{Ends, lock};
use crate::measure::{BLOCK_BYTES, Network};
use crate::netns::Missing;

/// What came of one transport.
pub(crate) struct Run {
    pub(crate) scheme: &'static str,
    /// Messages that were sent, numbered from 0.
    pub(crate) sent: u64,
    /// The numbers of those that arrived, as they came.
    pub(crate) arrived: Vec<u64>,
    /// What the sender counts as dropped, and what the receiver does.
    pub(crate) dropped: [u64; 2],
}

impl Run {
    /// How often the numbers jump, and over how many in all.
    pub(crate) fn gaps(&self) -> (u64, u64) {
        let mut next = 0;
        let (mut gaps, mut missing) = (0, 0);
        for &number in self.arrived.iter().chain(&[self.sent]) {
            gaps += u64::from(number > next);
            missing += number.saturating_sub(next);
            next = number + 1;
        }
        (gaps, missing)
    }

    /// Messages at the end of which none is missing: what was the newest when sending ended.
    pub(crate) fn whole_tail(&self) -> u64 {
        let newest_first = self.arrived.iter().rev();
        let wanted = (0..self.sent).rev();
        newest_first.zip(wanted).take_while(|(a, b)| *a == b).count() as u64
    }

    /// Whether they came in order.
    pub(crate) fn in_order(&self) -> bool {
        self.arrived.is_sorted_by(|a, b| a < b)
    }
}

/// A line for each run.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = String::from(
        "| bulk over | sent | arrived | counted as dropped | missing | gaps | whole at the end |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for run in runs {
        let (gaps, missing) = run.gaps();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {missing} | {gaps} | {} |",
            run.scheme,
            run.sent,
            run.arrived.len(),
            run.dropped[0] + run.dropped[1],
            run.whole_tail()
        );
    }
    text
}

/// Sends twice what the link carries for so many seconds.
pub(crate) fn measure(scheme: &'static str, network: Network, seconds: u64) -> Result<Run, Missing> {
    let cable = network.lay()?;
    let arrived: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (ended, is_ended) = tokio::sync::oneshot::channel();
    let ended = Arc::new(Mutex::new(Some(ended)));
    let numbers = Arc::clone(&arrived);
    let services = Services::builder().stream("flow", "numbered", move |context, _send, mut recv| {
        let (numbers, ended) = (Arc::clone(&numbers), Arc::clone(&ended));
        async move {
            while let Ok(Some(message)) = recv.recv().await {
                let number = message
                    .payload
                    .first_chunk()
                    .map_or(0, |&n| u64::from_be_bytes(n));
                lock(&numbers).push(number);
            }
            let stats = context.connection().stats().session;
            let dropped = stats.class(Class::Bulk).dropped_receiving;
            if let Some(ended) = lock(&ended).take() {
                let _ = ended.send(dropped);
            }
            Ok(())
        }
    });
    let services = services.build().expect("no mistake");
    let offered = 2.0 * f64::from(network.kbit) * 125.0 / BLOCK_BYTES as f64;
    let (sent, dropped) = Ends::new(&cable, scheme, services).run(&cable, move |client, place| async move {
        let connection = client.connect(&place).await.expect("it answers");
        let opened = connection.open(("flow", "numbered")).class(Class::Bulk).await;
        let (mut send, _recv) = opened.expect("it is taken");
        let (begun, mut sent) = (Instant::now(), 0_u64);
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while begun.elapsed() < Duration::from_secs(seconds) {
            ticks.tick().await;
            while (sent as f64) < begun.elapsed().as_secs_f64() * offered {
                let mut block = vec![0; BLOCK_BYTES];
                block[..8].copy_from_slice(&sent.to_be_bytes());
                send.send(Bytes::from(block))
                    .await
                    .expect("bulk is never blocked");
                sent += 1;
            }
        }
        send.finish();
        let receiving = is_ended.await.expect("the stream ends");
        let stats = connection.stats().session;
        let sending = stats.class(Class::Bulk).dropped_sending;
        connection.close();
        (sent, [sending, receiving])
    });
    let arrived = std::mem::take(&mut *lock(&arrived));
    Ok(Run {
        scheme,
        sent,
        arrived,
        dropped,
    })
}
