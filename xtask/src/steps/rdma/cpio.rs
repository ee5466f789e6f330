//! An archive in the format that the kernel unpacks into memory when it starts: cpio, `newc`
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;

/// An archive being put together.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds a file, and the folders above it. A file that is there already is left as it is.
    pub(super) fn file(&mut self, name: &str, content: &[u8], mode: u32) {
        if self.begin(name) {
            self.entry(name, REGULAR | mode, content, (0, 0));
        }
    }

    /// Adds the node of a character device.
    pub(super) fn device(&mut self, name: &str, number: (u32, u32)) {
        if self.begin(name) {
            self.entry(name, CHARACTER | 0o600, &[], number);
        }
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    /// Makes the folders above `name`; whether it is new.
    fn begin(&mut self, name: &str) -> bool {
        let folders: Vec<String> = name
            .match_indices('/')
            .map(|(end, _)| name[..end].to_owned())
            .filter(|folder| !folder.is_empty())
            .collect();
        for folder in folders {
            if self.names.insert(folder.clone()) {
                self.entry(&folder, DIRECTORY | 0o755, &[], (0, 0));
            }
        }
        self.names.insert(name.to_owned())
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them_and_nothing_comes_twice() {
        let mut archive = Archive::default();
        archive.file("usr/bin/tool", b"abcde", 0o755);
        archive.file("usr/bin/tool", b"another", 0o755);
        archive.file("usr/lib/x", b"", 0o644);
        archive.device("dev/null", (1, 3));
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "usr",
                "usr/bin",
                "usr/bin/tool",
                "usr/lib",
                "usr/lib/x",
                "dev",
                "dev/null",
                "TRAILER!!!"
            ]
        );
        assert!(text.contains("abcde") && !text.contains("another"));
    }
}
