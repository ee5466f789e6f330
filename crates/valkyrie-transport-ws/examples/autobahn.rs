//! The other end of the Autobahn suite, on the layer of frames: `cargo xtask autobahn` runs it.
//!
//! `acceptor HOST:PORT` echoes to everyone who opens a WebSocket; `dialler HOST:PORT AGENT` runs every case that the
//! suite's server has, and asks it for a report. The opening here is the least that RFC 6455 knows, without a path or a
//! subprotocol, which the suite does not send; frames, masks and rules are those of every link. Unlike a link it takes
//! text, because the suite mostly speaks text.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use valkyrie_transport_ws::frame::{
    Close, Decoder, Event, MessageKind, Opcode, Side, append_frame, close_code,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["acceptor", place] => accept_all(place).await?,
        ["dialler", place, agent] => run_cases(place, agent).await?,
        _ => return Err("usage: autobahn acceptor HOST:PORT | autobahn dialler HOST:PORT AGENT".into()),
    }
    Ok(())
}

async fn accept_all(place: &str) -> io::Result<()> {
    let listener = TcpListener::bind(place).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut socket = Socket {
                stream,
                side: Side::Acceptor,
                early: Vec::new(),
            };
            // What goes wrong with one connection is for the suite to judge.
            if socket.answer().await.is_ok() {
                let _ = socket.echo().await;
            }
        });
    }
}

async fn run_cases(place: &str, agent: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut count = Socket::dial(place, "/getCaseCount").await?;
    let count: u32 = count.first_text().await?.parse()?;
    for case in 1..=count {
        let mut socket = Socket::dial(place, &format!("/runCase?case={case}&agent={agent}")).await?;
        let _ = socket.echo().await;
    }
    let _ = Socket::dial(place, &format!("/updateReports?agent={agent}"))
        .await?
        .echo()
        .await;
    Ok(())
}

struct Socket {
    stream: TcpStream,
    side: Side,
    /// What came behind the head.
    early: Vec<u8>,
}

impl Socket {
    async fn dial(place: &str, path: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(place).await?;
        stream.set_nodelay(true)?;
        let mut socket = Self {
            stream,
            side: Side::Dialler,
            early: Vec::new(),
        };
        let key = generate_key();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        socket.stream.write_all(request.as_bytes()).await?;
        let head = socket.head().await?;
        if !head.starts_with("HTTP/1.1 101") || !head.contains(&derive_accept_key(key.as_bytes())) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(socket)
    }

    async fn answer(&mut self) -> io::Result<()> {
        let head = self.head().await?;
        let key = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
            .map(|(_, key)| derive_accept_key(key.trim().as_bytes()))
            .ok_or(io::ErrorKind::InvalidData)?;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {key}\r\n\r\n"
        );
        self.stream.write_all(answer.as_bytes()).await
    }

    /// Everything up to the empty line.
    async fn head(&mut self) -> io::Result<String> {
        loop {
            let end = self.early.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = self.early.split_off(end + 4);
                let head = std::mem::replace(&mut self.early, rest);
                return String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.early).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn first_text(&mut self) -> io::Result<String> {
        let mut decoder = Decoder::new(self.side);
        let mut text = Vec::new();
        let mut bytes = std::mem::take(&mut self.early);
        loop {
            let mut at = 0;
            while at < bytes.len() {
                let step = decoder.decode(&mut bytes[at..]).map_err(io::Error::other)?;
                if let Some(Event::Data { at: place, ended, .. }) = step.event {
                    text.extend_from_slice(&bytes[at + place.start..at + place.end]);
                    if ended {
                        return String::from_utf8(text).map_err(io::Error::other);
                    }
                }
                at += step.consumed;
            }
            bytes.clear();
            if self.stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends every message back until the peer closes or breaks a rule.
    async fn echo(&mut self) -> io::Result<()> {
        let mut decoder = Decoder::new(self.side);
        let mut message = Vec::new();
        let mut checked = 0;
        let mut bytes = std::mem::take(&mut self.early);
        let code = 'all: loop {
            let mut at = 0;
            let mut out = Vec::new();
            while at < bytes.len() {
                let step = match decoder.decode(&mut bytes[at..]) {
                    Ok(step) => step,
                    Err(violation) => {
                        self.stream.write_all(&out).await?;
                        break 'all violation.close_code();
                    }
                };
                match step.event {
                    Some(Event::Data {
                        kind,
                        at: place,
                        ended,
                        ..
                    }) => {
                        message.extend_from_slice(&bytes[at + place.start..at + place.end]);
                        if kind == MessageKind::Text && !is_utf8_so_far(&message, &mut checked, ended) {
                            self.stream.write_all(&out).await?;
                            break 'all close_code::NOT_UTF8;
                        }
                        if ended {
                            let opcode = match kind {
                                MessageKind::Text => Opcode::Text,
                                MessageKind::Binary => Opcode::Binary,
                            };
                            append_frame(&mut out, self.side, opcode, &message);
                            message.clear();
                            checked = 0;
                        }
                    }
                    Some(Event::Ping(payload)) => {
                        append_frame(&mut out, self.side, Opcode::Pong, payload.as_bytes());
                    }
                    Some(Event::Close(Close { code, .. })) => {
                        self.stream.write_all(&out).await?;
                        break 'all code.unwrap_or(close_code::NORMAL);
                    }
                    Some(Event::Pong(_)) | None => {}
                }
                at += step.consumed;
            }
            self.stream.write_all(&out).await?;
            bytes.clear();
            bytes.reserve(64 * 1024);
            if self.stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let mut close = Vec::new();
        append_frame(&mut close, self.side, Opcode::Close, &code.to_be_bytes());
        self.stream.write_all(&close).await?;
        // RFC 6455, section 7.1.1: the acceptor closes the connection first.
        if self.side == Side::Acceptor {
            self.stream.shutdown().await?;
        }
        let mut rest = [0; 4096];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

/// Whether a text that may go on is UTF-8 as far as it has come; `checked` remembers how far that was found out.
fn is_utf8_so_far(text: &[u8], checked: &mut usize, ended: bool) -> bool {
    match std::str::from_utf8(&text[*checked..]) {
        Ok(rest) => {
            *checked += rest.len();
            true
        }
        Err(error) => {
            *checked += error.valid_up_to();
            error.error_len().is_none() && !ended
        }
    }
}
