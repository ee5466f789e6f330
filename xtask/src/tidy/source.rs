//! Rules for Rust files: finished, documented, of readable length, and never asleep in a test.
//! What the compiler or clippy can see is left to them.

/// Judges one Rust file.
pub(super) fn check(path: &str, text: &str, faults: &mut Vec<String>) {
    unfinished(path, text, faults);
    length(path, text, faults);
    // `foo/tests.rs` says by its place what it is.
    if !path.ends_with("/tests.rs") {
        module_docs(path, text, faults);
    }
    if is_test(path) {
        sleeps(path, text, faults);
    }
    if is_pure(path) {
        purity(path, text, faults);
    }
}

fn unfinished(path: &str, text: &str, faults: &mut Vec<String>) {
    // Put together here so that this file does not find itself.
    let marks = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("db", "g!"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    for (index, line) in text.lines().enumerate() {
        for mark in marks {
            if has_word(line, mark) {
                faults.push(format!("{path}:{}: `{mark}` marks unfinished work", index + 1));
            }
        }
    }
}

fn length(path: &str, text: &str, faults: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!(
            "{path}: {lines} lines; past {LINES_MAX} a file holds more than one idea"
        ));
    }
}

/// The first thing in a file, but for inner attributes, says what the file is.
fn module_docs(path: &str, text: &str, faults: &mut Vec<String>) {
    let first = text
        .lines()
        .map(str::trim_start)
        .find(|line| !line.is_empty() && !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//!") || line.starts_with("#![doc")) {
        faults.push(format!(
            "{path}:1: does not begin with `//!` docs that say what the file is"
        ));
    }
}

/// A test that waits for a fixed time is slow on a fast machine and wrong on a slow one.
fn sleeps(path: &str, text: &str, faults: &mut Vec<String>) {
    let virtual_time = ["start_paused = true", "start_paused(true)", "time::pause()"]
        .iter()
        .any(|mark| text.contains(mark));
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if !has_word(code, "sleep(") {
            continue;
        }
        if virtual_time && !code.contains("thread::sleep") {
            continue;
        }
        faults.push(format!(
            "{path}:{}: a test sleeps; wait for the event, or pause the clock",
            index + 1
        ));
    }
}

/// The codec and the session take `now` as an argument and leave I/O and tasks to others.
fn purity(path: &str, text: &str, faults: &mut Vec<String>) {
    for (index, line) in library(text).lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for name in IMPURE {
            if code.contains(name) {
                faults.push(format!(
                    "{path}:{}: `{name}` in a crate that does no I/O, reads no clock and spawns nothing",
                    index + 1
                ));
            }
        }
    }
}

/// The file without the module of tests that ends it, where a clock is welcome.
fn library(text: &str) -> &str {
    text.match_indices("\n#[cfg(test)]\nmod ")
        .find(|(start, _)| {
            let declaration = text[start + 1..].lines().nth(1).unwrap_or_default();
            declaration.ends_with('{')
        })
        .map_or(text, |(start, _)| &text[..start])
}

/// Whether the file is nothing but tests, by where it lies.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// Whether the file is part of a sans-IO crate's library.
fn is_pure(path: &str) -> bool {
    PURE.iter().any(|folder| path.starts_with(folder)) && !is_test(path)
}

/// Whether `line` holds `word` with nothing that continues a name before or after it.
fn has_word(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let ends = !word.ends_with(in_name) || after.is_none_or(|c| !in_name(c));
        before.is_none_or(|c| !in_name(c)) && ends
    })
}

/// Twice a long file; past it even a patient reader loses the thread.
const LINES_MAX: usize = 700;

/// Libraries, and parts of one, that hold no clock, socket or task.
const PURE: [&str; 9] = [
    "crates/valkyrie-frame/src/",
    "crates/valkyrie-proto/src/",
    "crates/valkyrie-security/src/",
    "crates/valkyrie-registry/src/agent",
    "crates/valkyrie-registry/src/directory",
    "crates/valkyrie-registry/src/health",
    "crates/valkyrie-registry/src/ledger",
    "crates/valkyrie-registry/src/query",
    "crates/valkyrie-registry/src/record",
];

/// What such a library never names.
const IMPURE: [&str; 10] = [
    "Instant::now",
    "SystemTime::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "std::fs",
    "std::process",
    "std::thread",
    "tokio::",
];
