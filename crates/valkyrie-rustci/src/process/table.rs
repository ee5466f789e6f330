//! The process table, as far as Linux shows it. Elsewhere it is empty, and only groups are known.

use rustix::process::Pid;

/// One live process.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pid: Pid,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) zombie: bool,
    pub(super) name: String,
}

/// Every process of the machine.
#[cfg(target_os = "linux")]
pub(super) fn all() -> Vec<Entry> {
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw).filter_map(one).collect()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn all() -> Vec<Entry> {
    Vec::new()
}

/// One process, unless it is gone.
#[cfg(target_os = "linux")]
pub(super) fn one(pid: Pid) -> Option<Entry> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse_stat(pid, &stat)
}

/// `pid (name) state ppid pgrp …`, where the name may hold anything, so that the last parenthesis
/// is the one that counts.
#[cfg(target_os = "linux")]
fn parse_stat(pid: Pid, stat: &[u8]) -> Option<Entry> {
    let text = String::from_utf8_lossy(stat);
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let mut fields = text.get(close + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Entry {
        pid,
        zombie: matches!(state, "Z" | "X"),
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        name: text
            .get(open + 1..close)?
            .chars()
            .filter(|c| !c.is_control())
            .collect(),
    })
}

/// Whether a process was started with `variable=value`, or with a value that continues it after a
/// slash: the mark of steps that a nested runner started inside this one.
#[cfg(target_os = "linux")]
pub(super) fn carries(pid: Pid, variable: &str, value: &str) -> bool {
    let Ok(environment) = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else {
        return false;
    };
    let wanted = format!("{variable}={value}");
    environment.split(|byte| *byte == 0).any(|entry| {
        entry
            .strip_prefix(wanted.as_bytes())
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn carries(_: Pid, _: &str, _: &str) -> bool {
    false
}

/// The value of a variable that a process was started with.
#[cfg(target_os = "linux")]
pub(super) fn variable(pid: Pid, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn variable(_: Pid, _: &str) -> Option<String> {
    None
}

/// How many processes the kernel has killed for want of memory since it started.
pub(super) fn out_of_memory_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        let pid = Pid::from_raw(7).unwrap();
        let entry = parse_stat(pid, b"7 (a) Z 9 (\n) S 12 34 34 0 -1").unwrap();
        assert_eq!((entry.parent, entry.group, entry.zombie), (12, 34, false));
        assert_eq!(entry.name, "a) Z 9 (");
        assert!(parse_stat(pid, b"7 (a").is_none());
        assert!(parse_stat(pid, b"").is_none());
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = rustix::process::getpid();
        assert!(all().iter().any(|entry| entry.pid == own && !entry.zombie));
    }
}
