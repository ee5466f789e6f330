//! What is in the guest: a file system in memory with a shell, the modules, the libraries and the programs, and what it
//! does when it starts.

use std::fs;
use std::path::{Path, PathBuf};

use super::cpio::Archive;
use super::debian::Debian;
use super::{modules, read};
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// What the device in software is made of. `crc32_generic` is asked for by `rdma_rxe` through a name that is no dependency.
const MODULES: [&str; 5] = ["dummy", "crc32_generic", "rdma_rxe", "ib_uverbs", "rdma_ucm"];

/// Where programs go.
const PROGRAMS: &str = "programs";

/// What the guest says last.
const EXIT: &str = "valkyrie-guest: exit ";

/// The first program of the guest. The second serial line is what programs print to; the first is the kernel's.
///
/// The device lies on a network device that sends nothing anywhere; its address is its own, so both ends of every
/// connection are here. Its MTU is 4200, so that packets of 4096 bytes fit.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin:/usr/bin HOME=/tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1 </dev/null
run() {
    for module in $(cat /modules.list); do insmod $module || return 100; done
    ulimit -l unlimited
    ulimit -n 65536
    ip link set lo up || return 101
    ip link add rdma-test type dummy || return 102
    ip link set rdma-test mtu 4200 || return 103
    ip addr add 10.77.0.1/24 dev rdma-test || return 104
    ip link set rdma-test up || return 105
    rdma link add rxe0 type rxe netdev rdma-test || return 106
    sh /script
}
run
echo "valkyrie-guest: exit $?"
sync
poweroff -f
"#;

/// The script that runs all programs, each to its end, and fails if one did.
pub(super) fn script(programs: &[PathBuf], variables: &[(&str, &str)]) -> String {
    let mut script = String::from("export RUST_BACKTRACE=1\nfailed=0\ncd /tmp\n");
    for (name, value) in variables {
        script.push_str(&format!("export {name}={value}\n"));
    }
    for program in programs {
        let name = file_name(program);
        script.push_str(&format!(
            "echo \"\nRunning {name}\"\n/{PROGRAMS}/{name} || failed=1\n"
        ));
    }
    script.push_str(OTHERS);
    script.push_str("exit $failed\n");
    script
}

/// The example, and the command line with both of its ends, which are one user and so the same identity.
const OTHERS: &str = r#"
echo "
Running the example"
/programs/example-rdma-alone | tee said
grep -q "echoed: a line, and 1048576 bytes more" said || { echo "it did not come back"; failed=1; }
echo "
Running valkyrie serve and ping"
/programs/valkyrie serve --listen rdma://10.77.0.1:7000 &
served=$!
pinged=no
for try in 1 2 3 4 5 6 7 8 9 10; do
    # Until it listens.
    sleep 1
    if /programs/valkyrie ping rdma://10.77.0.1:7000 -n 3 -v; then pinged=yes; break; fi
done
kill $served
[ $pinged = yes ] || { echo "no ping came back"; failed=1; }
"#;

/// The exit code that the guest tells in its last line.
pub(super) fn exit_code(line: &str) -> Option<u8> {
    line.strip_prefix(EXIT)?.trim().parse().ok()
}

/// Puts the file system together and writes it to `image`.
pub(super) fn build(
    root: &Path,
    debian: &Debian,
    programs: &[PathBuf],
    script: &str,
    image: &Path,
) -> Result<(), Failure> {
    let mut guest = Guest {
        root,
        debian,
        archive: Archive::default(),
    };
    for folder in ["proc", "sys", "tmp"] {
        guest.archive.file(&format!("{folder}/.here"), b"", 0o644);
    }
    guest.archive.device("dev/console", (5, 1));
    guest.archive.file("init", INIT.as_bytes(), 0o755);
    guest.archive.file("script", script.as_bytes(), 0o755);
    guest
        .archive
        .file("etc/passwd", b"root:x:0:0:root:/tmp:/bin/sh\n", 0o644);
    guest.archive.file("etc/hosts", b"127.0.0.1 localhost\n", 0o644);
    guest.archive.file("etc/nsswitch.conf", b"hosts: files\n", 0o644);
    guest
        .archive
        .file("bin/busybox", &read(&debian.program("busybox"))?, 0o755);
    guest.modules()?;
    guest.program(&debian.program("rdma"), "usr/bin/rdma")?;
    guest.verbs()?;
    for program in programs {
        let small = stripped(root, program, image)?;
        guest.program(&small, &format!("{PROGRAMS}/{}", file_name(program)))?;
    }
    let bytes = guest.archive.finish();
    fs::write(image, bytes).map_err(|source| Failure::File {
        path: image.to_path_buf(),
        source,
    })
}

struct Guest<'a> {
    root: &'a Path,
    debian: &'a Debian,
    archive: Archive,
}

impl Guest<'_> {
    fn modules(&mut self) -> Result<(), Failure> {
        let mut list = String::new();
        for (name, content) in modules::in_order(self.root, &self.debian.modules(), &MODULES)? {
            let path = format!("modules/{name}.ko");
            self.archive.file(&path, &content, 0o644);
            list.push_str(&format!("/{path}\n"));
        }
        self.archive.file("modules.list", list.as_bytes(), 0o644);
        Ok(())
    }

    /// The libraries that programs open by name, and the device's driver for them, which is found by a file in `/etc`.
    fn verbs(&mut self) -> Result<(), Failure> {
        for library in ["libibverbs.so.1", "librdmacm.so.1"] {
            let path = self.debian.library(library);
            self.program(&path, &format!("usr/lib/x86_64-linux-gnu/{library}"))?;
        }
        let drivers = self.debian.library("libibverbs");
        for driver in fs::read_dir(&drivers).into_iter().flatten().flatten() {
            let name = driver.file_name().to_string_lossy().into_owned();
            if name.starts_with("librxe-") {
                self.program(
                    &driver.path(),
                    &format!("usr/lib/x86_64-linux-gnu/libibverbs/{name}"),
                )?;
            }
        }
        self.archive
            .file("etc/libibverbs.d/rxe.driver", b"driver rxe\n", 0o644);
        Ok(())
    }

    /// Adds a program or library, and the libraries that it names, as this machine's loader finds them.
    fn program(&mut self, path: &Path, inside: &str) -> Result<(), Failure> {
        self.archive.file(inside, &read(path)?, 0o755);
        let said = Shell::new("ldd", self.root)
            .args([&*path.to_string_lossy()])
            .env("LD_LIBRARY_PATH", &self.debian.library_path())
            .read()
            // Nothing to say of a program that is linked statically.
            .unwrap_or_default();
        for line in said.lines() {
            if let Some((inside, path)) = library(line) {
                self.archive.file(&inside, &read(&path)?, 0o755);
            }
        }
        Ok(())
    }
}

/// A line of `ldd`: where the library must be in the guest, and where it is here.
fn library(line: &str) -> Option<(String, PathBuf)> {
    let line = line.trim();
    let (name, rest) = line.split_once(" => ").unwrap_or(("", line));
    let path = rest.split_once(" (")?.0.trim();
    if !path.starts_with('/') {
        return None;
    }
    let inside = match name {
        // The loader itself, which programs name by its whole path.
        "" => path.trim_start_matches('/').to_owned(),
        name => format!("usr/lib/x86_64-linux-gnu/{}", file_name(Path::new(name))),
    };
    Some((inside, PathBuf::from(path)))
}

/// The program without what only a debugger reads, where there is a tool to take it out: it is all held in memory.
fn stripped(root: &Path, program: &Path, image: &Path) -> Result<PathBuf, Failure> {
    if tools::find("strip").is_none() {
        return Ok(program.to_path_buf());
    }
    let small = image.with_file_name(format!("{}.stripped", file_name(program)));
    Shell::new("strip", root)
        .args([
            "--strip-debug",
            "-o",
            &small.to_string_lossy(),
            &program.to_string_lossy(),
        ])
        .run()?;
    Ok(small)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_out_of_what_the_loader_says() {
        let in_guest =
            |line| library(line).map(|(inside, path)| (inside, path.to_string_lossy().into_owned()));
        assert_eq!(
            in_guest("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)"),
            Some((
                "usr/lib/x86_64-linux-gnu/libc.so.6".to_owned(),
                "/lib/x86_64-linux-gnu/libc.so.6".to_owned()
            ))
        );
        assert_eq!(
            in_guest("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"),
            Some((
                "lib64/ld-linux-x86-64.so.2".to_owned(),
                "/lib64/ld-linux-x86-64.so.2".to_owned()
            ))
        );
        assert_eq!(in_guest("\tlinux-vdso.so.1 (0x00007ffe)"), None);
        assert_eq!(in_guest("\tlibx.so.1 => not found"), None);
    }

    #[test]
    fn every_program_runs_and_one_that_fails_is_remembered() {
        let script = script(&["/t/a-1".into(), "/t/b-2".into()], &[("X", "1"), ("Y", "2")]);
        assert!(script.contains("export X=1\nexport Y=2\n"));
        assert!(
            script.contains("/programs/a-1 || failed=1\n") && script.contains("/programs/b-2 || failed=1\n")
        );
        assert!(script.ends_with("exit $failed\n"));
        assert_eq!(exit_code("valkyrie-guest: exit 106"), Some(106));
        assert_eq!(exit_code("exit 0"), None);
    }
}
