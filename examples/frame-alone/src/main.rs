//! Writes three frames, reads them back in two pieces and prints them, with the codec alone.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use valkyrie_frame::bytes::{Buf, Bytes, BytesMut};
use valkyrie_frame::{Batch, Extensions, Frame, Header, Kind, StreamId};

/// What this program takes as a payload; a peer may send less than the protocol allows.
const MAX_PAYLOAD_BYTES: u32 = 16 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut batch = Batch::default();
    let lane = StreamId::new(101);
    let route = Extensions::builder()
        .deadline_ms(1500)
        .route("greeter", "hello")?
        .finish()?;
    let request = Header {
        correlation: 1,
        ..Header::new(Kind::REQUEST, lane)
    };
    batch.push(request, route.as_bytes(), Bytes::from_static(b"Valkyrie"))?;
    batch.push(Header::new(Kind::PING, StreamId::CONTROL), &[], Bytes::new())?;
    batch.push(
        Header::new(Kind::NOTIFY, lane),
        &[],
        Bytes::from(vec![b'x'; 2000]),
    )?;
    println!("{} bytes in {} chunks", batch.len(), batch.chunks().count());

    // A link cuts where it likes: the first piece ends within the third frame.
    let mut buf = BytesMut::new();
    for piece in [200, batch.len() - 200] {
        buf.extend_from_slice(&batch.copy_to_bytes(piece));
        while let Some(frame) = Frame::decode(&mut buf, MAX_PAYLOAD_BYTES)? {
            let Header {
                kind,
                stream,
                priority,
                ..
            } = frame.header;
            let (class, priority) = (stream.class(), priority.byte());
            println!(
                "{kind} on stream {stream} ({class}, priority {priority}), {} bytes",
                frame.payload.len()
            );
            for extension in frame.extensions.iter() {
                println!("  {extension:?}");
            }
        }
        println!("{} bytes wait for more", buf.len());
    }
    Ok(())
}
