//! Questions to the person at the terminal: whether to trust a peer, and passphrases.
//!
//! They go to the terminal itself and not through standard input and output, which may be files.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal, if there is one and somebody would see a question there.
pub(crate) fn terminal() -> Option<File> {
    if !io::stderr().is_terminal() {
        return None;
    }
    OpenOptions::new().read(true).write(true).open("/dev/tty").ok()
}

/// Shows `question` and reads a line of at most a few hundred bytes; the end of input is an empty answer.
pub(crate) fn line(terminal: &mut File, question: &str) -> io::Result<String> {
    terminal.write_all(question.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(&*terminal)
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Shows `question` and reads a line without showing it. Ctrl-C is an error of kind `Interrupted`.
pub(crate) fn hidden(terminal: &mut File, question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let silenced = Silenced::new(terminal)?;
    terminal.write_all(question.as_bytes())?;
    // With room for any passphrase, so that none is left behind by a buffer that grew.
    let mut answer = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX as usize));
    let mut byte = Zeroizing::new([0]);
    let ended = loop {
        if (&*terminal).read(&mut *byte)? == 0 {
            break Ok(());
        }
        match byte[0] {
            b'\n' | b'\r' | END_OF_INPUT => break Ok(()),
            INTERRUPT => break Err(io::ErrorKind::Interrupted.into()),
            BACKSPACE | DELETE => {
                answer.pop();
            }
            byte if answer.len() < ANSWER_BYTES_MAX as usize => answer.push(byte),
            _ => {}
        }
    };
    drop(silenced);
    terminal.write_all(b"\n")?;
    ended.map(|()| answer)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silenced {
    terminal: File,
    before: Termios,
}

impl Silenced {
    fn new(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        // Signals come as bytes, or Ctrl-C would leave a terminal behind that shows nothing.
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        // Whoever cannot be given their terminal back cannot be told either.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Longer than any answer.
const ANSWER_BYTES_MAX: u64 = 1024;

const INTERRUPT: u8 = 3;
const END_OF_INPUT: u8 = 4;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;
