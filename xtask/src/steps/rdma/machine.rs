//! The virtual machine: QEMU, which emulates the processor, because few machines that run checks may use another's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// The program, and Debian's package of it.
const QEMU: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");

/// Everything from power-on. Its programs take some three minutes of processor time, several times as long on two cores with much other
/// work.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Which accelerator is used: none but the emulator, unless `VALKYRIE_VM_ACCEL` names another. KVM within a virtual machine
/// often looks as if it were there and then hangs.
const ACCELERATOR: &str = "VALKYRIE_VM_ACCEL";

/// Memory for the guest. Its programs, a few tens of megabytes each, and a hundred links are held in it.
const MEMORY: &str = "1536";

/// As many processors as the two ends of a link keep busy.
const PROCESSORS: &str = "2";

/// What the guest's kernel is told: to be quick, and to say what goes wrong on its own line.
const KERNEL_LINE: &str = "console=ttyS0 panic=-1 mitigations=off nokaslr random.trust_cpu=on cryptomgr.notests audit=0 \
     nowatchdog loglevel=4 no_timer_check";

/// A machine that can be started.
#[derive(Debug)]
pub(super) struct Machine {
    qemu: PathBuf,
    root: PathBuf,
}

impl Machine {
    /// QEMU, which is installed where this is root on a machine with apt. The error says that there is none.
    pub(super) fn find(root: &Path) -> Result<Self, String> {
        if tools::find(QEMU.0).is_none() {
            tools::apt_install(root, QEMU.1);
        }
        match tools::find(QEMU.0) {
            Some(qemu) => Ok(Self {
                qemu,
                root: root.to_path_buf(),
            }),
            None => Err(format!("there is no {}; apt-get install {}", QEMU.0, QEMU.1)),
        }
    }

    /// Starts the machine, passes on what its programs print, and gives that back when it is switched off. What its kernel
    /// says is in the file `console` in `folder`.
    pub(super) fn run(
        &self,
        folder: &Path,
        kernel: &Path,
        image: &Path,
    ) -> (Vec<String>, Result<(), Failure>) {
        let console = folder.join("console");
        println!("What the guest's kernel says goes to {}.", console.display());
        let (accelerator, processor) = match std::env::var(ACCELERATOR).as_deref() {
            Ok("kvm") => ("kvm", "host"),
            // Page tables of five levels only cost.
            _ => ("tcg,thread=multi", "max,la57=off"),
        };
        Shell::new(&self.qemu.to_string_lossy(), &self.root)
            .args([
                "-accel",
                accelerator,
                "-cpu",
                processor,
                "-smp",
                PROCESSORS,
                "-m",
                MEMORY,
            ])
            .args([
                "-machine",
                "q35,smbus=off,sata=off",
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-display", "none", "-no-reboot", "-device", "virtio-rng-pci"])
            .args([
                "-kernel",
                &kernel.to_string_lossy(),
                "-initrd",
                &image.to_string_lossy(),
            ])
            .args(["-append", KERNEL_LINE])
            .args(["-chardev", &format!("file,id=console,path={}", console.display())])
            .args(["-chardev", "stdio,id=output,signal=off"])
            .args(["-serial", "chardev:console", "-serial", "chardev:output"])
            .limit(LIMIT)
            .tee()
    }
}
