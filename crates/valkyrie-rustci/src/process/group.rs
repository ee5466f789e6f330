//! The processes of one step: killed together and reaped.

use std::io;
use std::process::{Child, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process_group, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid, waitpid,
};

use super::outcome::Escaped;
use super::step::STEP_TOKEN;
use super::table;

/// Rounds of looking for processes and killing them. A process that is forking when it is killed
/// can leave one more behind; a round that finds nothing ends it.
const SWEEP_ROUNDS_MAX: usize = 16;
/// How long one killed process may take to die. Only one that hangs in the kernel takes longer.
const DEATH_WAIT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// Escaped processes that are named in a report; all are killed.
const ESCAPED_NAMED_MAX: usize = 16;

/// Makes this process the parent of orphans below it, so that it can reap processes which steps
/// left behind. A runner calls it once when it starts; it does nothing where the system cannot.
///
/// # Errors
/// What the system says.
pub fn adopt_orphans() -> io::Result<()> {
    if cfg!(target_os = "linux") {
        set_child_subreaper(Some(getpid()))?;
    }
    Ok(())
}

/// A started shell and everything that stays in its process group.
///
/// The shell is not reaped before the group has been killed: until then its number cannot be given
/// to another process, so a signal to the group never hits a stranger.
#[derive(Debug)]
pub(super) struct Group {
    child: Option<Child>,
    leader: Pid,
    token: String,
}

/// What was found when the group was ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: io::Result<ExitStatus>,
    pub(super) left_behind: u32,
    pub(super) escaped: Vec<Escaped>,
}

impl Group {
    pub(super) fn new(child: Child, token: String) -> Self {
        let leader = Pid::from_child(&child);
        Self {
            child: Some(child),
            leader,
            token,
        }
    }

    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// Asks every process of the group to end. Stopped ones are continued, so that they hear it.
    pub(super) fn terminate(&self) {
        // A group without members is fine: then there is nobody to tell.
        let _ = kill_process_group(self.leader, Signal::TERM);
        let _ = kill_process_group(self.leader, Signal::CONT);
    }

    /// Kills whatever is left, in the group and escaped, and reaps the shell. Blocks until they
    /// are dead.
    pub(super) fn end(mut self) -> Ended {
        self.end_in_place()
    }

    fn end_in_place(&mut self) -> Ended {
        let mut ended = Ended {
            status: Err(io::ErrorKind::NotFound.into()),
            left_behind: 0,
            escaped: Vec::new(),
        };
        let Some(mut child) = self.child.take() else {
            return ended;
        };
        self.sweep(&mut ended);
        wait_without_reaping(self.leader);
        ended.status = child.wait();
        ended
    }

    fn sweep(&self, ended: &mut Ended) {
        let own = getpid().as_raw_nonzero().get();
        let leader = self.leader.as_raw_nonzero().get();
        for round in 0..SWEEP_ROUNDS_MAX {
            let found: Vec<table::Entry> = table::all()
                .into_iter()
                .filter(|entry| entry.pid != self.leader)
                .filter(|entry| entry.group == leader || table::carries(entry.pid, STEP_TOKEN, &self.token))
                // A zombie below another parent is that parent's to reap.
                .filter(|entry| !entry.zombie || entry.parent == own)
                .collect();
            let _ = kill_process_group(self.leader, Signal::KILL);
            if found.is_empty() {
                return;
            }
            for entry in found {
                let escaped = entry.group != leader;
                if !entry.zombie && round == 0 && !escaped {
                    ended.left_behind += 1;
                }
                if self.kill_one(&entry, escaped) && escaped && ended.escaped.len() < ESCAPED_NAMED_MAX {
                    ended.escaped.push(Escaped {
                        pid: entry.pid.as_raw_nonzero().get(),
                        name: entry.name,
                    });
                }
            }
        }
    }

    /// Kills a process, waits for its death and reaps it if it has become ours. Says whether it was
    /// alive and one of the step's.
    fn kill_one(&self, entry: &table::Entry, escaped: bool) -> bool {
        let Ok(handle) = pidfd_open(entry.pid, PidfdFlags::empty()) else {
            return false;
        };
        // The handle is of whoever has the number now. Only if that one carries the mark is it the
        // process that was found; members of the group are covered by the signal to the group.
        if escaped && !entry.zombie {
            if !table::carries(entry.pid, STEP_TOKEN, &self.token) {
                return false;
            }
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
        let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&DEATH_WAIT));
        // Fails unless it is our child, which it is once it was orphaned and we adopt orphans.
        let _ = waitpid(Some(entry.pid), WaitOptions::NOHANG);
        !entry.zombie
    }
}

impl Drop for Group {
    /// A step that is dropped halfway leaves nothing running.
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        let _ = kill_process_group(self.leader, Signal::KILL);
        let rest = Self {
            child: self.child.take(),
            leader: self.leader,
            token: std::mem::take(&mut self.token),
        };
        // Reaping may have to wait for the deaths, which a drop must not.
        let reaper = std::thread::Builder::new().name(String::from("step-reaper"));
        let _ = reaper.spawn(move || drop_blocking(rest));
    }
}

fn drop_blocking(mut group: Group) {
    group.end_in_place();
}

/// Blocks until a child has ended, and leaves it to be reaped.
pub(super) fn wait_without_reaping(pid: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
}
