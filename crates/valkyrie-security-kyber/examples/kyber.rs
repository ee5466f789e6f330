//! Two peers in one process agree on keys with Kyber1024: `cargo run --example kyber`.

use std::error::Error;

use valkyrie_security::SuiteId;
use valkyrie_security::noise::{Accepted, Accepting, Dialling};
use valkyrie_security::provider::{Providers, StaticKey};
use valkyrie_security_kyber::Kyber;

fn main() -> Result<(), Box<dyn Error>> {
    let providers = Providers::default().with(Kyber);
    let suite = SuiteId::XX_KYBER1024.suite().ok_or("the suite is unknown")?;
    let (ada, bob) = (StaticKey::generate()?, StaticKey::generate()?);
    let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());

    let dialling = Dialling::start(suite, &providers, &ada, None, None, b"", b"", &mut first)?;
    let opened = Accepting::read(suite, &providers, &bob, None, b"", &first)?;
    let Accepted::Waiting(accepting) = opened.answer(&mut second)? else {
        return Err("XX has a third message".into());
    };
    let dialled = dialling.second(&second, &mut third)?;
    let accepted = accepting.third(&third)?;

    println!("{suite}", suite = suite.name);
    println!("{} + {} + {} bytes", first.len(), second.len(), third.len());
    println!("ada talks to {}", dialled.peer());
    println!("bob talks to {}", accepted.peer());
    assert_eq!(dialled.hash(), accepted.hash());
    Ok(())
}
