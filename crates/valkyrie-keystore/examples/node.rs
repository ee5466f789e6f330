//! A node's directory: an identity made on first use, a peer that is trusted, a key that is replaced.
//!
//!     cargo run -p valkyrie-keystore --example node

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use valkyrie_keystore::{Keystore, NewIdentity};
use valkyrie_security::trust::Pin;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let now = SystemTime::now().into();
    // Keys that are encrypted would be opened by what this returns; a program asks its person.
    let mut nobody = |_: &std::path::Path| Ok(None);
    let plan = NewIdentity::of_this_machine();
    let (ada, made) = Keystore::open_or_make(folder.path().join("ada"), &plan, now, &mut nobody)?;
    say(&format!(
        "{made:?}: {} ({})",
        ada.document().name(),
        ada.document().fingerprint()
    ))?;

    let (eve, _) = Keystore::open_or_make(folder.path().join("eve"), &plan, now, &mut nobody)?;
    let pin = Pin {
        name: Some("eve".to_owned()),
        roles: vec!["runner".to_owned()],
        ..Pin::new(eve.document().fingerprint())
    };
    ada.pin(pin)?;
    say(&std::fs::read_to_string(ada.home().path_of("trust/pins"))?)?;

    // Another process of the same node takes the new key when it looks at its files.
    let other = Keystore::open(ada.home().path(), now, &mut nobody)?;
    ada.change_keys(now, |keys| keys.rotate(now, Duration::from_secs(7 * 86_400)))?;
    let changes = other.refresh(now);
    say(&format!(
        "the other process sees that its identity has changed: {}",
        changes.identity
    ))?;
    say(&format!(
        "and knows {} keys now",
        other.identity().load().static_keys().len()
    ))?;
    Ok(())
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
