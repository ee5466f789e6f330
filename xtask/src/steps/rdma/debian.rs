//! The guest's kernel, libraries and tools: Debian packages, downloaded and unpacked below the target folder, never installed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::Shell;
use crate::tools;

/// The package that names the newest kernel.
const KERNEL: &str = "linux-image-amd64";

/// What the guest holds beside its kernel: a shell, the libraries that are opened, the device's driver for them, and `rdma`, which
/// makes the device and counts what is held of it.
const PACKAGES: [&str; 12] = [
    "busybox-static",
    "ibverbs-providers",
    "iproute2",
    "libbpf1",
    "libbsd0",
    "libcap2",
    "libibverbs1",
    "libmd0",
    "libmnl0",
    "libnl-3-200",
    "libnl-route-3-200",
    "librdmacm1",
];

/// Where libraries are in the packages, and are looked for in the guest.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Packages, unpacked.
#[derive(Debug)]
pub(super) struct Debian {
    /// Where.
    pub(super) tree: PathBuf,
    /// The kernel's version, as it names its files.
    version: String,
}

impl Debian {
    /// Unpacks the packages into `folder`, if they are not there. The error says what this machine lacks.
    pub(super) fn fetch(root: &Path, folder: &Path) -> Result<Self, String> {
        if std::env::consts::ARCH != "x86_64" {
            return Err("the virtual machine is for x86_64 alone".to_owned());
        }
        if tools::find("apt-get").is_none() || tools::find("dpkg-deb").is_none() {
            return Err("there is no apt to fetch Debian's kernel with".to_owned());
        }
        let kernel = kernel(root)
            .or_else(|| {
                // A fresh machine knows no packages before its first update, which only root can make.
                Shell::new("apt-get", root)
                    .args(["update", "--quiet"])
                    .run()
                    .ok()?;
                kernel(root)
            })
            .ok_or_else(|| format!("apt knows no package {KERNEL}; `apt-get update` as root tells it"))?;
        let debian = Self {
            tree: folder.join("guest"),
            version: kernel.trim_start_matches("linux-image-").to_owned(),
        };
        let wanted = [&[kernel.as_str()], &PACKAGES[..]].concat();
        let stamp = folder.join("guest.packages");
        if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted.join("\n")) {
            return Ok(debian);
        }
        debian.unpack(root, folder, &wanted)?;
        fs::write(&stamp, wanted.join("\n")).map_err(|error| format!("{}: {error}", stamp.display()))?;
        Ok(debian)
    }

    fn unpack(&self, root: &Path, folder: &Path, wanted: &[&str]) -> Result<(), String> {
        let downloads = folder.join("downloads");
        for folder in [&downloads, &self.tree] {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Shell::new("apt-get", &downloads)
            // Root would download as a user that may not write here.
            .args(["-o", "APT::Sandbox::User=root", "--quiet", "download"])
            .args(wanted)
            .run()
            .map_err(|failure| format!("Debian's packages cannot be downloaded ({failure})"))?;
        let tree = self.tree.to_string_lossy().into_owned();
        for package in fs::read_dir(&downloads).into_iter().flatten().flatten() {
            Shell::new("dpkg-deb", root)
                .args(["-x", &package.path().to_string_lossy(), &tree])
                .run()
                .map_err(|failure| failure.to_string())?;
        }
        let _ = fs::remove_dir_all(&downloads);
        Ok(())
    }

    /// The kernel's image.
    pub(super) fn kernel(&self) -> PathBuf {
        self.tree.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    /// The folder of its modules.
    pub(super) fn modules(&self) -> PathBuf {
        let modules = Path::new("lib/modules").join(&self.version);
        self.first(&[&self.tree.join(&modules), &self.tree.join("usr").join(&modules)])
    }

    /// A program of the packages.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        let places = ["usr/bin", "bin", "usr/sbin", "sbin"].map(|folder| self.tree.join(folder).join(name));
        self.first(&places.each_ref().map(PathBuf::as_path))
    }

    /// A library of the packages.
    pub(super) fn library(&self, name: &str) -> PathBuf {
        let places = LIBRARIES.map(|folder| self.tree.join(folder).join(name));
        self.first(&places.each_ref().map(PathBuf::as_path))
    }

    /// Where the loader is to look for libraries when it is asked about the packages' programs.
    pub(super) fn library_path(&self) -> String {
        LIBRARIES
            .map(|folder| self.tree.join(folder).to_string_lossy().into_owned())
            .join(":")
    }

    /// The first of these places that is a file, not counting links to what is elsewhere; or the first of all, to be named in
    /// an error.
    fn first(&self, places: &[&Path]) -> PathBuf {
        let found = places.iter().find(|place| fs::metadata(place).is_ok());
        found
            .or(places.first())
            .map_or_else(|| self.tree.clone(), |place| place.to_path_buf())
    }
}

/// The package of the newest kernel: what the one that names it depends on.
fn kernel(root: &Path) -> Option<String> {
    let said = Shell::new("apt-cache", root).args(["depends", KERNEL]).read()?;
    said.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(str::to_owned)
}
