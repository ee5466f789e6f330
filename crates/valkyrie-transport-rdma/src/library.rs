//! Whether the system's libraries are there, asked of the dynamic loader.
//!
//! The binding opens them by itself when the program starts, and then answers every call with "not supported" if it could
//! not. Asking again costs nothing and tells which one is missing.

use crate::error::RdmaError;

/// Fails with the first library that cannot be opened.
pub(crate) fn check() -> Result<(), RdmaError> {
    for library in &LIBRARIES {
        // SAFETY: the name is a string that ends in a zero. The library's initialisers run at most once in a process, and
        // these two libraries' have no requirement on when; the handle is never closed, so nothing of it goes away.
        let handle = unsafe { libc::dlopen(library.file.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(RdmaError::MissingLibrary {
                library: library.name,
                packages: library.packages,
            });
        }
    }
    Ok(())
}

struct Library {
    file: &'static std::ffi::CStr,
    name: &'static str,
    packages: &'static str,
}

const LIBRARIES: [Library; 2] = [
    Library {
        file: c"libibverbs.so.1",
        name: "libibverbs.so.1",
        packages: "libibverbs1 and ibverbs-providers",
    },
    Library {
        file: c"librdmacm.so.1",
        name: "librdmacm.so.1",
        packages: "librdmacm1",
    },
];
