//! A list that comes as a stream of pages, handed on in pages of the size that the reader asks for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use valkyrie_endpoint::{Message, RecvStream};
use valkyrie_registry::store::{Answer, Certificate, Entry, Listing, Page, StoreError};
use valkyrie_registry::{Key, Prefix};

use super::{BoxFuture, out_of_turn};
use crate::fault::{of_recv, unreadable};
use crate::wire::ListMessage;

pub(super) struct RemoteListing {
    recv: RecvStream,
    prefix: Prefix,
    within: Duration,
    /// What has come and was not asked for yet.
    entries: VecDeque<Arc<Entry>>,
    certificate: Certificate,
    last: Option<Key>,
}

impl RemoteListing {
    /// Waits for the beginning of a listing.
    pub(super) async fn begin(
        recv: RecvStream,
        prefix: Prefix,
        within: Duration,
    ) -> Result<Answer<Box<dyn Listing>>, StoreError> {
        let mut listing = Self {
            recv,
            prefix,
            within,
            entries: VecDeque::new(),
            certificate: Certificate::none(),
            last: None,
        };
        match listing.message().await? {
            Some(ListMessage::Begun(head)) => Ok(head.map(|()| Box::new(listing) as Box<dyn Listing>)),
            _ => Err(out_of_turn()),
        }
    }

    async fn message(&mut self) -> Result<Option<ListMessage>, StoreError> {
        let message: Option<Message> = match timeout(self.within, self.recv.recv()).await {
            Ok(received) => received.map_err(of_recv)?,
            Err(_) => {
                let text = "the registry did not go on with its list in time";
                return Err(StoreError::Unavailable(text.to_owned()));
            }
        };
        let decoded = message.map(|message| ListMessage::decode(&message.payload));
        decoded.transpose().map_err(|error| unreadable(&error))
    }

    fn take(&mut self, page: Page) -> Result<(), StoreError> {
        let follows = page.entries.first().map(|entry| &entry.key) > self.last.as_ref();
        if !follows || !page.entries.iter().all(|entry| self.prefix.covers(&entry.key)) {
            return Err(StoreError::Broken(
                "the registry lists what was not asked for".to_owned(),
            ));
        }
        self.last = page.entries.last().map(|entry| entry.key.clone());
        self.entries = page.entries.into();
        self.certificate = page.certificate;
        Ok(())
    }
}

impl Listing for RemoteListing {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Option<Page>, StoreError>> {
        Box::pin(async move {
            if self.entries.is_empty() {
                match self.message().await? {
                    None => return Ok(None),
                    Some(ListMessage::Page(page)) => self.take(page)?,
                    Some(ListMessage::Begun(_)) => return Err(out_of_turn()),
                }
            }
            let count = self.entries.len().min(max.max(1));
            Ok(Some(Page {
                entries: self.entries.drain(..count).collect(),
                certificate: self.certificate.clone(),
            }))
        })
    }
}
