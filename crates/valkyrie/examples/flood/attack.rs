//! The attacker: so many connections a second, each of which costs the server what its kind can make it cost.
//!
//! It holds no key that anybody trusts, and needs none: everything it does comes before that is asked.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use valkyrie::frame::{Flags, Frame, Header, Kind, MAX_PAYLOAD_BYTES, StreamId};
use valkyrie::security::handshake::Dial;
use valkyrie::security::{DiallerHandshake, Place, SuiteId};

use crate::people::{security, unix_now};

/// What one connection of the attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Says nothing.
    Silent,
    /// Sends the first half of the first message.
    Half,
    /// Sends a first message of IK of the right length with nothing in it that verifies.
    Junk,
    /// Hangs up at once, without a goodbye.
    Gone,
    /// Sends a good first message, and again with the cookie where it is asked for one, so that its handshake is computed; then nothing.
    Cookie,
}

impl Attack {
    /// All of them by turns.
    pub(crate) const ALL: [Self; 5] = [Self::Silent, Self::Half, Self::Junk, Self::Gone, Self::Cookie];
}

/// A flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) target: SocketAddr,
    /// The first of the addresses that it comes from, and how many they are.
    pub(crate) source: Ipv4Addr,
    pub(crate) sources: u32,
    /// By turns.
    pub(crate) attacks: &'static [Attack],
    pub(crate) per_s: u32,
    /// How many attempts there are in all.
    pub(crate) attempts: u32,
    /// Connections that it holds at once, within what its process may open.
    pub(crate) held_max: usize,
    /// How long it holds one that the server does not end.
    pub(crate) hold: Duration,
}

/// What came of it, as the attacker sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// Connections that TCP made.
    pub(crate) connected: u32,
    /// Those that it did not, in the attacker's patience.
    pub(crate) unconnected: u32,
    /// Those that the server ended.
    pub(crate) ended: u32,
    /// Those that were asked for a cookie.
    pub(crate) challenged: u32,
    /// Those whose handshake went on, up to where the attacker would have to show a key.
    pub(crate) answered: u32,
    /// How long it took to begin all of them.
    pub(crate) time: Duration,
}

impl Made {
    fn add(&mut self, one: Self) {
        self.connected += one.connected;
        self.unconnected += one.unconnected;
        self.ended += one.ended;
        self.challenged += one.challenged;
        self.answered += one.answered;
    }
}

impl Flood {
    /// Does it. One thread is enough.
    pub(crate) async fn run(self) -> Made {
        let messages = Arc::new(Messages::new());
        let mut running = JoinSet::new();
        let mut made = Made::default();
        let mut ticks = interval(TICK);
        let begun = Instant::now();
        for number in 0..self.attempts {
            let due = Duration::from_secs_f64(f64::from(number) / f64::from(self.per_s));
            while begun.elapsed() < due {
                ticks.tick().await;
            }
            while let Some(one) = running.try_join_next() {
                made.add(one.expect("it does not panic"));
            }
            while running.len() >= self.held_max {
                let one = running.join_next().await.expect("there are some");
                made.add(one.expect("it does not panic"));
            }
            running.spawn(self.attempt(number, Arc::clone(&messages)));
        }
        made.time = begun.elapsed();
        while let Some(one) = running.join_next().await {
            made.add(one.expect("it does not panic"));
        }
        made
    }

    async fn attempt(self, number: u32, messages: Arc<Messages>) -> Made {
        let mut made = Made::default();
        let Ok(stream) = self.connect(number).await else {
            made.unconnected += 1;
            return made;
        };
        made.connected += 1;
        let attack = self.attacks[number as usize % self.attacks.len()];
        match timeout(self.hold, messages.talk(attack, stream, &mut made)).await {
            // What the attacker itself hung up on is nobody else's end.
            Ok(_) if attack == Attack::Gone => {}
            Ok(_) => made.ended += 1,
            Err(_) => {}
        }
        made
    }

    async fn connect(&self, number: u32) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // It leaves nothing behind that would make it run out of ports.
        socket.set_zero_linger()?;
        let source = Ipv4Addr::from_bits(self.source.to_bits() + number % self.sources);
        socket.bind((source, 0).into())?;
        timeout(self.hold, socket.connect(self.target)).await?
    }
}

/// What it says, made once and for all.
struct Messages {
    /// The payload of a good first message, up to where a cookie may be, and from behind that.
    good: [Vec<u8>; 2],
    junk: Vec<u8>,
}

impl Messages {
    fn new() -> Self {
        let place = Place::dialled("tcp://anywhere", false);
        let dial = Dial {
            place,
            known: None,
            binding: None,
        };
        let security = Arc::new(security("mallory"));
        let dialler = DiallerHandshake::new(security, dial, Instant::now(), unix_now());
        let mut first = BytesMut::new();
        dialler.expect("it can begin").poll_transmit(&mut first);
        let frame = Frame::decode(&mut first, MAX_PAYLOAD_BYTES).expect("a frame");
        let good = frame.expect("all of it").payload;
        // In front of the cookie: five bytes, and the suites that the fifth counts.
        let (before, after) = good.split_at(5 + usize::from(good[4]));
        let [ik, xx] = [SuiteId::IK_AES.0, SuiteId::XX_AES.0];
        let mut junk = vec![1, 1, 0, ik, 2, ik, xx, 0, 0];
        junk.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(IK_BYTES));
        Self {
            good: [before.to_vec(), after[1..].to_vec()],
            junk,
        }
    }

    fn first(&self, cookie: &[u8]) -> Vec<u8> {
        let [before, after] = &self.good;
        key_exchange(&[before.as_slice(), &[cookie.len() as u8], cookie, after].concat())
    }

    /// Ends when the server hangs up, or the attacker does.
    async fn talk(&self, attack: Attack, mut stream: TcpStream, made: &mut Made) -> io::Result<()> {
        let first = match attack {
            Attack::Silent => Vec::new(),
            Attack::Half => {
                let mut first = self.first(&[]);
                first.truncate(first.len() / 2);
                first
            }
            Attack::Junk => key_exchange(&self.junk),
            Attack::Gone => return Ok(()),
            Attack::Cookie => self.first(&[]),
        };
        stream.write_all(&first).await?;
        let mut input = BytesMut::new();
        while stream.read_buf(&mut input).await? > 0 {
            let Ok(Some(frame)) = Frame::decode(&mut input, MAX_PAYLOAD_BYTES) else {
                continue;
            };
            match (frame.header.kind, &*frame.payload) {
                // Why, which suite, and the cookie, behind its length.
                (Kind::AUTH_CHALLENGE, [1, _, 32, cookie @ ..]) => {
                    made.challenged += 1;
                    if attack == Attack::Cookie {
                        stream.write_all(&self.first(cookie)).await?;
                    }
                }
                (Kind::KEY_EXCHANGE, _) => made.answered += 1,
                _ => {}
            }
        }
        Ok(())
    }
}

fn key_exchange(payload: &[u8]) -> Vec<u8> {
    let mut header = Header::new(Kind::KEY_EXCHANGE, StreamId::CONTROL);
    header.flags = Flags::CRITICAL;
    header.length = payload.len() as u32;
    [&header.encode(), payload].concat()
}

/// The Noise message of a first message of IK: two keys, an encapsulation key and a clock, the latter three with tags.
const IK_BYTES: usize = 32 + (1184 + 16) + (32 + 16) + (8 + 16);

/// How often attempts are begun.
const TICK: Duration = Duration::from_millis(1);
