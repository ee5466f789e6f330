//! Finds the programs that steps need, and installs those that cargo or apt can install.
//!
//! What is installed goes below Cargo's target folder, never into the user's own `~/.cargo/bin`: it is cached
//! with the build and vanishes with `cargo clean`. A program already on the `PATH` is used as it is.

use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;

/// A program that `cargo install` can provide.
#[derive(Debug)]
pub(crate) struct CargoTool {
    /// The package on crates.io, which is also the program's name.
    pub(crate) package: &'static str,
    /// The version that is built where none is on the `PATH`.
    pub(crate) version: &'static str,
    /// More arguments to `cargo install`.
    pub(crate) arguments: &'static [&'static str],
    /// Whether it works for so long that it is worth optimising.
    pub(crate) optimised: bool,
}

/// The path of a program on the `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The path of a cargo tool that is on the `PATH` or was built before.
pub(crate) fn present(context: &Context, tool: &CargoTool) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = find(tool.package) {
        return Ok(Some(path));
    }
    let program = context.scratch("tools")?.join("bin").join(tool.package);
    Ok(program.is_file().then_some(program))
}

/// The path of a cargo tool, which is built first when it is nowhere.
pub(crate) fn ensure(context: &Context, tool: &CargoTool) -> Result<PathBuf, Failure> {
    if let Some(program) = present(context, tool)? {
        return Ok(program);
    }
    let root = context.scratch("tools")?;
    let program = root.join("bin").join(tool.package);
    println!(
        "{} is not installed; building it once into {} (also possible: cargo install --locked {})",
        tool.package,
        root.display(),
        tool.package
    );
    let build = context.scratch("tools-build")?;
    let root_text = root.to_string_lossy().into_owned();
    Shell::cargo(&context.root)
        .args(["install", "--locked", tool.package])
        .args(["--version", tool.version, "--root", &root_text])
        .args(tool.arguments)
        // A tool that runs for a second and is built from nothing is cheapest unoptimised.
        .env(
            "CARGO_PROFILE_RELEASE_OPT_LEVEL",
            if tool.optimised { "3" } else { "0" },
        )
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_TARGET_DIR", &build.to_string_lossy())
        .run()
        .map_err(|_| Failure::Missing {
            tool: tool.package,
            how: format!("cargo install --locked {}", tool.package),
        })?;
    // The intermediate files are large and never needed again.
    let _ = std::fs::remove_dir_all(&build);
    Ok(program)
}

/// Fails unless there is a C++ compiler; installs one where this is root on a machine with apt.
pub(crate) fn ensure_cxx(root: &Path) -> Result<(), Failure> {
    let named = std::env::var("CXX").ok();
    let found =
        |named: Option<&str>| named.is_some() || ["c++", "g++", "clang++"].iter().any(|p| find(p).is_some());
    if found(named.as_deref()) {
        return Ok(());
    }
    apt_install(root, "g++");
    if found(None) {
        Ok(())
    } else {
        Err(Failure::Missing {
            tool: "a C++ compiler",
            how: "apt-get install g++ (or your system's package of clang or gcc)".to_owned(),
        })
    }
}

/// Fails unless what crates with all features are built with is there: CMake and libclang for the binding to the RDMA libraries,
/// and the compiler of protocol buffers with its own definitions for the client of etcd. Installs them where this is root on a machine
/// with apt.
pub(crate) fn ensure_bindings(root: &Path) -> Result<(), Failure> {
    if find("cmake").is_none() {
        apt_install(root, "cmake");
    }
    if !has_libclang() {
        apt_install(root, "libclang-dev");
    }
    if protoc().is_none() {
        apt_install(root, "protobuf-compiler");
    }
    if protoc().is_some_and(|protoc| !knows_its_own(&protoc)) {
        apt_install(root, "libprotobuf-dev");
    }
    if find("cmake").is_none() || !has_libclang() {
        return Err(Failure::Missing {
            tool: "CMake or libclang",
            how: "apt-get install cmake libclang-dev (or your system's packages of them)".to_owned(),
        });
    }
    match protoc() {
        Some(protoc) if knows_its_own(&protoc) => Ok(()),
        _ => Err(Failure::Missing {
            tool: "protoc or the definitions that come with it",
            how: "apt-get install protobuf-compiler libprotobuf-dev (or your system's packages of them)"
                .to_owned(),
        }),
    }
}

/// The compiler of protocol buffers, where the crate that runs it looks for it.
fn protoc() -> Option<PathBuf> {
    std::env::var_os("PROTOC")
        .map(PathBuf::from)
        .or_else(|| find("protoc"))
}

/// Whether the compiler finds the definitions that every other builds on, which Debian packs apart from it: beside itself, in the
/// system's folder, or where the environment says.
fn knows_its_own(protoc: &Path) -> bool {
    let beside = protoc
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("include"));
    let named = std::env::var_os("PROTOC_INCLUDE").map(PathBuf::from);
    [beside, named, Some(PathBuf::from("/usr/include"))]
        .into_iter()
        .flatten()
        .any(|folder| folder.join("google/protobuf/descriptor.proto").is_file())
}

/// Whether libclang is where the crate that reads C headers looks for it.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let is_libclang = |file: std::fs::DirEntry| {
        let name = file.file_name().to_string_lossy().into_owned();
        // Not `libclang-cpp`, which is another library.
        (name.starts_with("libclang.so") || name.starts_with("libclang-"))
            && name.contains(".so")
            && !name.contains("cpp")
    };
    let llvm = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|folder| folder.file_name().to_string_lossy().starts_with("llvm"))
        .map(|folder| folder.path().join("lib"));
    [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ]
    .into_iter()
    .map(PathBuf::from)
    .chain(llvm)
    .filter_map(|folder| std::fs::read_dir(folder).ok())
    .flatten()
    .flatten()
    .any(is_libclang)
}

/// Whether there is a redis-server; installs one first where this is root on a machine with apt.
pub(crate) fn ensure_redis_server(root: &Path) -> bool {
    if find(REDIS_SERVER).is_none() {
        apt_install(root, REDIS_SERVER);
    }
    find(REDIS_SERVER).is_some()
}

/// The program, and Debian's package of it.
pub(crate) const REDIS_SERVER: &str = "redis-server";

/// Whether there is a nats-server; installs one first where this is root on a machine with apt.
pub(crate) fn ensure_nats_server(root: &Path) -> bool {
    if find(NATS_SERVER).is_none() {
        apt_install(root, NATS_SERVER);
    }
    find(NATS_SERVER).is_some()
}

/// The program, and Debian's package of it.
pub(crate) const NATS_SERVER: &str = "nats-server";

/// Whether there is an etcd; installs one first where this is root on a machine with apt.
pub(crate) fn ensure_etcd(root: &Path) -> bool {
    if find(ETCD.0).is_none() {
        apt_install(root, ETCD.1);
    }
    find(ETCD.0).is_some()
}

/// The program, and Debian's package of it.
pub(crate) const ETCD: (&str, &str) = ("etcd", "etcd-server");

/// Installs a Debian package where this is root on a machine with apt; elsewhere, and when it fails, nothing happens.
pub(crate) fn apt_install(root: &Path, package: &str) {
    let is_root = Shell::new("id", root)
        .args(["-u"])
        .read()
        .is_some_and(|id| id.trim() == "0");
    if is_root && find("apt-get").is_some() {
        println!("installing {package} with apt-get");
        let install = || {
            Shell::new("apt-get", root)
                .args(["install", "-y", "--no-install-recommends", package])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .run()
        };
        // A fresh machine knows no packages before its first update.
        if install().is_err()
            && Shell::new("apt-get", root)
                .args(["update", "--quiet"])
                .run()
                .is_ok()
        {
            let _ = install();
        }
    }
}
