//! The Autobahn suite for WebSocket, against the frames of `valkyrie-transport-ws` as acceptor and as dialler.
//!
//! The suite is a program for Python 2.7, which few machines have; where it cannot be had the step says so. Cases 12 and
//! 13 are about compression, which is refused, and are left out. The reports stay below the target folder.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// The packages' versions.
const REQUIREMENTS: &str = "clients/autobahn/requirements.txt";

/// The cases left out: permessage-deflate.
const LEFT_OUT: [&str; 2] = ["12.*", "13.*"];

/// How many cases there are without them; fewer mean that the suite did not run to its end.
const CASES: usize = 301;

/// Both sides take a minute each on two cores.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);

/// What our side is called in the reports.
const AGENT: &str = "valkyrie";

/// Runs the suite in both directions and judges every case.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let Some(python) = python(&context.root) else {
        println!("There is no Python 2.7 with pip, which Autobahn needs, so the suite was NOT run.");
        return Ok(Outcome::partly("SKIPPED, no Python 2.7"));
    };
    let Some(suite) = suite(context, &python)? else {
        println!("The packages of {REQUIREMENTS} cannot be installed here, so the suite was NOT run.");
        return Ok(Outcome::partly(
            "SKIPPED, the packages cannot be installed from PyPI",
        ));
    };
    let reports = context.metadata.target_directory.join("autobahn");
    let _ = std::fs::remove_dir_all(&reports);
    std::fs::create_dir_all(&reports).map_err(|source| Failure::File {
        path: reports.clone(),
        source,
    })?;
    Shell::cargo(&context.root)
        .args(["build", "-p", "valkyrie-transport-ws", "--example", "autobahn"])
        .run()?;
    let ours = context.metadata.target_directory.join("debug/examples/autobahn");
    let suite = Suite {
        root: &context.root,
        python,
        code: format!(
            "import site; site.addsitedir({:?}); from autobahntestsuite.wstest import run; run()",
            suite.to_string_lossy()
        ),
        ours,
        reports,
    };
    let mut faults = suite.against_our_acceptor()?;
    faults.extend(suite.against_our_dialler()?);
    Failure::unless_empty("cases of Autobahn that are not as they should be", faults)?;
    Ok(Outcome::passed(format!(
        "{CASES} cases as acceptor and {CASES} as dialler; reports in {}",
        suite.reports.display()
    )))
}

struct Suite<'a> {
    root: &'a Path,
    python: PathBuf,
    code: String,
    ours: PathBuf,
    reports: PathBuf,
}

impl Suite<'_> {
    fn against_our_acceptor(&self) -> Result<Vec<String>, Failure> {
        let place = free_place(self.root)?;
        let specification = self.specify(
            "acceptor",
            json!({ "servers": [{ "agent": AGENT, "url": format!("ws://{place}") }] }),
        )?;
        let mut command = Command::new(&self.ours);
        command.args(["acceptor", &place.to_string()]);
        let _acceptor = Background::start(command, place)?;
        let (lines, ended) = Shell::new(&self.python.to_string_lossy(), &self.reports)
            .args(["-c", &self.code, "-m", "fuzzingclient", "-s", &specification])
            .limit(LIMIT)
            .gather();
        shown_if_failed(&lines, ended)?;
        self.judge("acceptor")
    }

    fn against_our_dialler(&self) -> Result<Vec<String>, Failure> {
        let place = free_place(self.root)?;
        let specification = self.specify("dialler", json!({ "url": format!("ws://{place}") }))?;
        let mut command = Command::new(&self.python);
        command
            .args(["-c", &self.code, "-m", "fuzzingserver", "-s", &specification])
            .current_dir(&self.reports)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _server = Background::start(command, place)?;
        Shell::new(&self.ours.to_string_lossy(), self.root)
            .args(["dialler", &place.to_string(), AGENT])
            .limit(LIMIT)
            .run()?;
        self.judge("dialler")
    }

    /// Writes what the suite is to do, and gives the file's name.
    fn specify(&self, side: &str, mut specification: serde_json::Value) -> Result<String, Failure> {
        let path = self.reports.join(format!("{side}.json"));
        specification["outdir"] = json!(self.reports.join(side));
        specification["cases"] = json!(["*"]);
        specification["exclude-cases"] = json!(LEFT_OUT);
        specification["exclude-agent-cases"] = json!({});
        std::fs::write(&path, specification.to_string()).map_err(|source| Failure::File {
            path: path.clone(),
            source,
        })?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn judge(&self, side: &str) -> Result<Vec<String>, Failure> {
        let path = self.reports.join(side).join("index.json");
        let text = std::fs::read_to_string(&path).map_err(|source| Failure::File { path, source })?;
        let report: BTreeMap<String, BTreeMap<String, Verdict>> = serde_json::from_str(&text)?;
        Ok(faults(side, report.get(AGENT)))
    }
}

/// What the suite found out about a case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    behavior: String,
    behavior_close: String,
}

/// The cases that are not as they should be, and whether any are missing.
fn faults(side: &str, cases: Option<&BTreeMap<String, Verdict>>) -> Vec<String> {
    let good = |verdict: &str| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&verdict);
    let mut faults: Vec<String> = cases
        .into_iter()
        .flatten()
        .filter(|(_, verdict)| !good(&verdict.behavior) || !good(&verdict.behavior_close))
        .map(|(case, verdict)| {
            let Verdict {
                behavior,
                behavior_close,
            } = verdict;
            format!("as {side}, case {case}: {behavior}, closing {behavior_close}")
        })
        .collect();
    let count = cases.map_or(0, BTreeMap::len);
    if count != CASES {
        faults.push(format!("as {side}: {count} cases were run, not {CASES}"));
    }
    faults
}

/// A program that runs until this is dropped.
struct Background(Child);

impl Background {
    /// Starts a program and waits until it listens.
    fn start(mut command: Command, place: SocketAddr) -> Result<Self, Failure> {
        let line = format!("{command:?}");
        let failed = |status: String| Failure::Command {
            line: line.clone(),
            status,
        };
        let child = command.stdin(Stdio::null()).spawn();
        let mut background = Self(child.map_err(|error| failed(error.to_string()))?);
        let started = Instant::now();
        while TcpStream::connect(place).is_err() {
            if let Ok(Some(status)) = background.0.try_wait() {
                return Err(failed(status.to_string()));
            }
            if started.elapsed() > LISTENS_WITHIN {
                return Err(failed("no listener".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(background)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shown_if_failed(lines: &[String], ended: Result<(), Failure>) -> Result<(), Failure> {
    if ended.is_err() {
        lines.iter().for_each(|line| println!("{line}"));
    }
    ended
}

/// A port that was free a moment ago.
fn free_place(root: &Path) -> Result<SocketAddr, Failure> {
    let place = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    place.map_err(|source| Failure::File {
        path: root.to_path_buf(),
        source,
    })
}

/// A Python 2.7 that can install packages: on the `PATH`, or one that pyenv keeps.
fn python(root: &Path) -> Option<PathBuf> {
    let on_path = ["python2.7", "python2", "pypy"]
        .into_iter()
        .filter_map(tools::find);
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
    let kept = pyenv
        .and_then(|folder| std::fs::read_dir(folder.join("versions")).ok())
        .into_iter()
        .flatten()
        .flatten()
        .filter(|version| version.file_name().to_string_lossy().starts_with("2.7"))
        .map(|version| version.path().join("bin/python2.7"));
    let code = "import sys, pip; assert sys.version_info[:2] == (2, 7)";
    on_path.chain(kept).find(|path| {
        Shell::new(&path.to_string_lossy(), root)
            .args(["-c", code])
            .read()
            .is_some()
    })
}

/// The folder of the suite and what it stands on; `None` where they cannot be had.
fn suite(context: &Context, python: &Path) -> Result<Option<PathBuf>, Failure> {
    let folder = context.scratch("autobahn")?;
    let site = folder.join("site");
    let stamp = folder.join("requirements.installed");
    let wanted = context.root.join(REQUIREMENTS);
    let wanted = std::fs::read_to_string(&wanted).map_err(|source| Failure::File { path: wanted, source })?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(site));
    }
    let _ = std::fs::remove_dir_all(&site);
    let (lines, installed) = Shell::new(&python.to_string_lossy(), &context.root)
        .args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(["--target", &site.to_string_lossy(), "-r", REQUIREMENTS])
        .gather();
    if installed.is_err() {
        lines.iter().for_each(|line| println!("{line}"));
        return Ok(None);
    }
    std::fs::write(&stamp, wanted).map_err(|source| Failure::File { path: stamp, source })?;
    Ok(Some(site))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: impl Fn(&mut BTreeMap<String, Verdict>)) -> Vec<String> {
        let good = || Verdict {
            behavior: "OK".to_owned(),
            behavior_close: "INFORMATIONAL".to_owned(),
        };
        let mut cases = (0..CASES).map(|case| (format!("1.1.{case}"), good())).collect();
        change(&mut cases);
        faults("acceptor", Some(&cases))
    }

    #[test]
    fn a_failed_case_and_a_missing_one_are_told() {
        assert!(report(|_| {}).is_empty());
        let failed = report(|cases| {
            if let Some(case) = cases.get_mut("1.1.7") {
                case.behavior = "FAILED".to_owned();
            }
        });
        assert_eq!(failed, ["as acceptor, case 1.1.7: FAILED, closing INFORMATIONAL"]);
        let unclean = report(|cases| {
            if let Some(case) = cases.get_mut("1.1.7") {
                case.behavior_close = "UNCLEAN".to_owned();
            }
        });
        assert_eq!(unclean.len(), 1);
        assert_eq!(report(|cases| drop(cases.remove("1.1.7"))).len(), 1);
        assert_eq!(faults("dialler", None).len(), 1);
    }
}
