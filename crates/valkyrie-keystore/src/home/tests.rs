//! The directory, its permissions and its files.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::make(directory.path().join("node")).unwrap();
    (directory, home)
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_directory_is_made_for_its_owner_alone() {
    let (_kept, home) = home();
    assert_eq!(mode(home.path()), 0o700);
    home.write("identity.key", b"x", Privacy::Secret).unwrap();
    assert_eq!(mode(&home.path_of("identity.key")), 0o600);
}

#[test]
fn a_directory_that_others_may_look_into_is_refused_with_what_to_run() {
    let (_kept, home) = home();
    for loose in [0o755, 0o710, 0o707, 0o770] {
        chmod(home.path(), loose);
        let refused = Home::open(home.path()).unwrap_err();
        assert!(refused.to_string().contains("run: chmod 700 "), "{refused}");
        assert!(matches!(refused, KeystoreError::Loose { mode, .. } if mode == loose));
    }
    chmod(home.path(), 0o500);
    Home::open(home.path()).unwrap();
}

#[test]
fn a_secret_that_others_may_read_is_refused() {
    let (_kept, home) = home();
    home.write("identity.key", b"x", Privacy::Secret).unwrap();
    for loose in [0o644, 0o640, 0o604, 0o620] {
        chmod(&home.path_of("identity.key"), loose);
        let refused = home.read("identity.key", Privacy::Secret, 100).err().unwrap();
        assert!(refused.to_string().contains("run: chmod 600 "), "{refused}");
    }
    chmod(&home.path_of("identity.key"), 0o400);
    assert_eq!(
        &**home
            .read("identity.key", Privacy::Secret, 100)
            .unwrap()
            .unwrap()
            .bytes,
        b"x"
    );
}

#[test]
fn a_public_file_that_others_may_change_is_refused() {
    let (_kept, home) = home();
    home.write("policy.toml", b"x", Privacy::Public).unwrap();
    assert!(home.read("policy.toml", Privacy::Public, 100).unwrap().is_some());
    chmod(&home.path_of("policy.toml"), 0o664);
    assert!(matches!(
        home.read("policy.toml", Privacy::Public, 100),
        Err(KeystoreError::Loose { .. })
    ));
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give a file away.
        return;
    }
    let (_kept, home) = home();
    home.write("identity.key", b"x", Privacy::Secret).unwrap();
    std::os::unix::fs::chown(home.path_of("identity.key"), Some(12_345), None).unwrap();
    let refused = home.read("identity.key", Privacy::Secret, 100).err().unwrap();
    assert!(
        matches!(refused, KeystoreError::Foreign { owner: 12_345, .. }),
        "{refused}"
    );
    std::os::unix::fs::chown(home.path(), Some(12_345), None).unwrap();
    assert!(matches!(
        Home::open(home.path()),
        Err(KeystoreError::Foreign { .. })
    ));
}

#[test]
fn links_and_pipes_are_not_followed() {
    let (_kept, home) = home();
    std::fs::write(home.path_of("elsewhere"), "x").unwrap();
    symlink(home.path_of("elsewhere"), home.path_of("identity.key")).unwrap();
    let refused = home.read("identity.key", Privacy::Secret, 100).err().unwrap();
    assert!(matches!(refused, KeystoreError::NotPlain { .. }), "{refused}");
    fs::mknodat(
        fs::CWD,
        home.path_of("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let refused = home.read("pipe", Privacy::Secret, 100).err().unwrap();
    assert!(matches!(refused, KeystoreError::NotPlain { .. }), "{refused}");
    // Replacing the link leaves what it pointed to alone.
    home.write("identity.key", b"new", Privacy::Secret).unwrap();
    assert_eq!(std::fs::read(home.path_of("elsewhere")).unwrap(), b"x");
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let (_kept, home) = home();
    home.make_inside("trust").unwrap();
    let first = home.write("trust/pins", b"one", Privacy::Public).unwrap();
    let second = home.write("trust/pins", b"two", Privacy::Public).unwrap();
    assert_ne!(first, second);
    assert_eq!(home.stamp("trust/pins"), Some(second));
    let names: Vec<_> = std::fs::read_dir(home.path_of("trust")).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(home.list("trust", 10).unwrap(), ["pins"]);
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let (_kept, home) = home();
    home.write("big", &[0; 101], Privacy::Secret).unwrap();
    assert!(matches!(
        home.read("big", Privacy::Secret, 100),
        Err(KeystoreError::TooLarge { .. })
    ));
    assert_eq!(
        home.read("big", Privacy::Secret, 101)
            .unwrap()
            .unwrap()
            .bytes
            .len(),
        101
    );
}

#[test]
fn the_environment_says_where() {
    let with = |set: &[(&str, &str)]| {
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        default_path(move |name| Some(set.iter().find(|(set, _)| set == name)?.1.clone().into()))
    };
    let all = [("VALKYRIE_HOME", "/v"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(with(&all).unwrap(), Path::new("/v"));
    assert_eq!(with(&all[1..]).unwrap(), Path::new("/x/valkyrie"));
    assert_eq!(with(&all[2..]).unwrap(), Path::new("/h/.config/valkyrie"));
    assert_eq!(
        with(&[("XDG_CONFIG_HOME", "rel"), ("HOME", "/h")]).unwrap(),
        Path::new("/h/.config/valkyrie")
    );
    assert_eq!(
        with(&[("VALKYRIE_HOME", ""), ("HOME", "/h")]).unwrap(),
        Path::new("/h/.config/valkyrie")
    );
    assert!(matches!(with(&[]), Err(KeystoreError::NoHome)));
}

#[test]
fn the_lock_is_held_by_one_at_a_time() {
    let (_kept, home) = home();
    let held = home.lock().unwrap();
    let file = std::fs::File::open(home.path_of(LOCK_FILE)).unwrap();
    assert!(fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(held);
    fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
}
