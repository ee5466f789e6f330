//! A second of virtual time on a full wire: who gets how much of it.
//!
//! `cargo run -p valkyrie-sim --example full_wire`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_proto::{Class, Config, Event, Extensions, Inbox, Message, Side};
use valkyrie_sim::{Pair, Path};

fn main() -> Result<(), Box<dyn Error>> {
    // 8 Mbit/s, 5 ms each way.
    let mut pair = Pair::open(
        Config::default(),
        Path::new(1_000_000, Duration::from_millis(5)),
        1,
    );
    let now = pair.now();
    let classes = [Class::System, Class::Job, Class::Data, Class::Bulk];
    let mut senders = Vec::new();
    for class in classes {
        let sender = pair.session(Side::Dialer);
        senders.push(sender.open(now, class, None, Extensions::EMPTY, Bytes::new(), None)?);
    }
    let (mut readers, mut inbox) = (Vec::new(), Inbox::new());
    for _ in 0..1000 {
        for &sender in &senders {
            // A class that is full refuses until the wire has taken something; bulk drops its oldest.
            for _ in 0..4 {
                let message = Message::data(Bytes::from_static(&[0; 2000]));
                let _ = pair.session(Side::Dialer).send(sender, message);
            }
        }
        pair.run_for(Duration::from_millis(1));
        while let Some(event) = pair.node(Side::Acceptor).events.pop_front() {
            if let Event::Opened(opened) = event {
                readers.push(opened.key);
            }
        }
        for &reader in &readers {
            pair.session(Side::Acceptor).recv(reader, &mut inbox)?;
            while inbox.pop_front().is_some() {}
        }
    }
    let stats = pair.session(Side::Dialer).stats();
    for class in classes {
        let class_stats = stats.class(class);
        println!(
            "{class:>8}: {:>7} bytes sent, {} messages dropped",
            class_stats.bytes_sent, class_stats.dropped_sending
        );
    }
    Ok(())
}
