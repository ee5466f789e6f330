//! Prints the frames in a run of hexadecimal digits: arguments, or standard input without any.
//!
//! `cargo run -p valkyrie-frame --example decode -- 5243 0202 00ff0000 00000000 00000002 00000007 6869`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::Read;

use valkyrie_frame::{Frames, MAX_PAYLOAD_BYTES};

fn main() -> Result<(), Box<dyn Error>> {
    let mut text: String = std::env::args().skip(1).collect();
    if text.is_empty() {
        std::io::stdin().read_to_string(&mut text)?;
    }
    let bytes = unhex(&text)?;
    let mut frames = Frames::new(&bytes, MAX_PAYLOAD_BYTES);
    for frame in frames.by_ref() {
        let frame = frame?;
        println!("{:?}", frame.header);
        if let Some(seconds) = frame.extensions.timestamp() {
            println!("  Timestamp({seconds})");
        }
        for extension in frame.extensions.iter() {
            println!("  {extension:?}");
        }
        println!("  payload: {}", frame.payload.escape_ascii());
    }
    if !frames.rest().is_empty() {
        println!(
            "{} bytes of a frame that has not wholly arrived",
            frames.rest().len()
        );
    }
    Ok(())
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    if !digits.len().is_multiple_of(2) {
        return Err("the digits are odd in number".into());
    }
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| Ok(u8::from_str_radix(&pair, 16)?)).collect()
}
