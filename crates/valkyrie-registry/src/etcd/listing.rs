//! Lists: page by page, all at the revision of the first.

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_client::{GetOptions, GetResponse};
use valkyrie_transport::BoxFuture;

use super::cluster::{Again, Cluster};
use super::fault::Fault;
use super::place::{Place, revision_number};
use crate::Prefix;
use crate::store::{Answer, Certificate, Entry, Listing, Page, Revision, StoreError};

/// A list that has begun.
pub(super) struct EtcdListing {
    cluster: Arc<Cluster>,
    place: Place,
    revision: Revision,
    /// Where the rest begins; `None` when there is no rest.
    rest: Option<Vec<u8>>,
    end: Vec<u8>,
    fetched: VecDeque<Arc<Entry>>,
}

/// Begins a list: what is fetched first says at which revision it is.
pub(super) async fn list(
    cluster: &Arc<Cluster>,
    place: &Place,
    prefix: &Prefix,
) -> Result<Answer<Box<dyn Listing>>, StoreError> {
    let (start, end) = place.range(prefix);
    let mut got = fetch(cluster, &start, &end, None).await?;
    let mut listing = EtcdListing {
        cluster: Arc::clone(cluster),
        place: place.clone(),
        revision: cluster.revision_of(got.header())?,
        rest: None,
        end,
        fetched: VecDeque::new(),
    };
    listing.take(&mut got)?;
    let listing: Box<dyn Listing> = Box::new(listing);
    cluster.answer(listing, got.header())
}

async fn fetch(
    cluster: &Cluster,
    start: &[u8],
    end: &[u8],
    at: Option<Revision>,
) -> Result<GetResponse, StoreError> {
    let mut options = GetOptions::new().with_range(end).with_limit(FETCH_ENTRIES);
    if let Some(number) = at.and_then(revision_number) {
        options = options.with_revision(number);
    }
    let asked = cluster.request(Again::Yes, |client| {
        let mut kv = client.kv_client().max_decoding_message_size(FETCH_BYTES_MAX);
        let (start, options) = (start.to_vec(), options.clone());
        async move { kv.get(start, Some(options)).await }
    });
    asked.await.map_err(Fault::of_reading)
}

impl EtcdListing {
    fn take(&mut self, got: &mut GetResponse) -> Result<(), StoreError> {
        let pairs = std::mem::take(&mut got.0.kvs);
        self.rest = match pairs.last() {
            Some(last) if got.more() => {
                let mut after = last.key.clone();
                after.push(0);
                Some(after)
            }
            _ => None,
        };
        for pair in pairs {
            self.fetched.extend(self.place.entry(pair)?);
        }
        Ok(())
    }
}

impl Listing for EtcdListing {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Option<Page>, StoreError>> {
        Box::pin(async move {
            // What is fetched may be marks alone.
            while self.fetched.is_empty() {
                let Some(start) = &self.rest else { return Ok(None) };
                let mut got = fetch(&self.cluster, start, &self.end, Some(self.revision)).await?;
                self.take(&mut got)?;
            }
            let count = self.fetched.len().min(max.max(1));
            Ok(Some(Page {
                entries: self.fetched.drain(..count).collect(),
                certificate: Certificate::none(),
            }))
        })
    }
}

/// Entries that are asked for at once.
const FETCH_ENTRIES: i64 = 512;
/// Bytes of an answer: as many of the largest entries, each with a kilobyte for its key and numbers.
const FETCH_BYTES_MAX: usize = FETCH_ENTRIES as usize * (crate::store::VALUE_BYTES_MAX + 1024);
