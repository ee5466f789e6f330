//! `crates/valkyrie-transport-rdma-sys`, a workspace of its own: the RDMA transport on `rdma-sys`, whose build wants the libraries'
//! headers and a libclang of version 14, and whose dependencies are held against the advisories that they are allowed.

use std::path::{Path, PathBuf};

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::steps::{deny, tests};
use crate::tools;

/// The folder of the crate.
const FOLDER: &str = "crates/valkyrie-transport-rdma-sys";

/// The headers of the libraries, as pkg-config knows them, and Debian's packages of them.
const HEADERS: [(&str, &str); 2] = [("libibverbs", "libibverbs-dev"), ("librdmacm", "librdmacm-dev")];

/// Debian's package of the last libclang that the binding's bindgen works with: from 16 on it panics.
const LIBCLANG: &str = "libclang-14-dev";

/// Lints, tests and dependencies. Tests on a device skip themselves where there is none; those of the sizes and values that both
/// bindings must agree on need none.
pub(super) fn run(context: &Context) -> Outcome {
    let libclang = match prepare(&context.root) {
        Ok(libclang) => libclang,
        Err(missing) => {
            println!("{FOLDER} was NOT built: {missing}.");
            return Outcome::partly(format!("SKIPPED, {missing}"));
        }
    };
    if let Err(failure) = lint(context, &libclang) {
        return Err(failure).into();
    }
    let tested = tests::tell(
        cargo(context, "test", &libclang).args(["--lib", "--tests", "--no-fail-fast"]),
        "cargo test",
    );
    match deny::check(context, &context.root.join(FOLDER)) {
        _ if tested.failure.is_some() => tested,
        Ok(denied) => Outcome {
            note: format!("{}; {}", tested.note, denied.note),
            partial: denied.partial,
            ..tested
        },
        Err(failure) => Err(failure).into(),
    }
}

/// Installs what is missing where it can, and says where libclang is. The error says what this machine lacks.
fn prepare(root: &Path) -> Result<PathBuf, String> {
    if tools::find("pkg-config").is_none() {
        tools::apt_install(root, "pkg-config");
    }
    for (library, package) in HEADERS {
        let there = || {
            Shell::new("pkg-config", root)
                .args(["--exists", library])
                .read()
                .is_some()
        };
        if !there() {
            tools::apt_install(root, package);
        }
        if !there() {
            return Err(format!(
                "there are no headers of {library}; apt-get install {package}"
            ));
        }
    }
    if libclang().is_none() {
        tools::apt_install(root, LIBCLANG);
    }
    libclang().ok_or_else(|| format!("there is no libclang 14; apt-get install {LIBCLANG}"))
}

/// The folder of libclang 14, where Debian and its relatives have it.
fn libclang() -> Option<PathBuf> {
    let folder = PathBuf::from("/usr/lib/llvm-14/lib");
    let is_there = std::fs::read_dir(&folder).is_ok_and(|files| {
        files.flatten().any(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            name.starts_with("libclang.so") || name.starts_with("libclang-14.so")
        })
    });
    is_there.then_some(folder)
}

fn lint(context: &Context, libclang: &Path) -> Result<(), Failure> {
    cargo(context, "clippy", libclang)
        .args(["--all-targets", "--", "-D", "warnings"])
        .run()
}

fn cargo(context: &Context, subcommand: &str, libclang: &Path) -> Shell {
    let build = &context.metadata.target_directory;
    Shell::cargo(&context.root)
        .args([subcommand, "--manifest-path"])
        .args([format!("{FOLDER}/Cargo.toml")])
        .args(["--target-dir", &build.to_string_lossy()])
        .env("LIBCLANG_PATH", &libclang.to_string_lossy())
}
