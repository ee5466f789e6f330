//! Any bytes as a token, and any bytes as the block of one that is signed rightly: refused, or asked about calls in bounded
//! time, without a panic. Narrowing never gives what was not there.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use valkyrie_frame::Class;
use valkyrie_security::UnixTime;
use valkyrie_security::policy::{Policy, Standing, Subject};
use valkyrie_security::provider::PublicKey;
use valkyrie_security::token::{Narrowing, Right, Token, TokenKey, fuzzing};

static KEY: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::from_seed(&[7; 32]).expect("a key"));

fuzz_target!(|data: &[u8]| {
    let (peer, now) = (PublicKey::from_bytes([9; 32]), UnixTime::from_secs(1_800_000_000));
    let policy = Policy::parse(&format!(
        "version = 1\n[tokens]\nroots = ['{}']\nclasses = ['critical', 'system', 'job', 'data', 'bulk']\n",
        KEY.root()
    ))
    .expect("a policy");
    // A token that was not signed is nobody's, whatever it says.
    if Token::from_bytes(data).is_ok() {
        assert!(policy.verify_token(data, &peer, now).is_err());
    }
    // One that is signed says something: all of it, or one right and then a block of a stranger's.
    let Ok((alone, (before, narrowed))) = fuzzing::signed(&KEY, &Right::service("echo"), data) else {
        return;
    };
    for token in [&alone, &narrowed] {
        let Ok(rights) = policy.verify_token(token.as_bytes(), &peer, now) else {
            continue;
        };
        let narrower = token.attenuate(&Narrowing::new().services(["echo"]));
        let narrower = narrower.and_then(|token| policy.verify_token(token.as_bytes(), &peer, now));
        let before = policy
            .verify_token(before.as_bytes(), &peer, now)
            .expect("it was good");
        let instant = std::time::Instant::now();
        let may = |rights, service: &str, class| {
            let mut subject = Subject::new(Standing::Anonymous);
            subject.token = Some(rights);
            policy
                .grant(&subject, instant, now)
                .permits(service, "m", class, instant)
                .is_ok()
        };
        for (service, class) in [
            ("echo", Class::Job),
            ("other", Class::Job),
            ("echo", Class::Critical),
        ] {
            if let Ok(narrower) = &narrower {
                assert!(!may(narrower, service, class) || may(&rights, service, class) && service == "echo");
            }
            if std::ptr::eq(token, &narrowed) {
                assert!(!may(&rights, service, class) || may(&before, service, class));
            }
        }
    }
});
