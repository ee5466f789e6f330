//! What it costs to ask whether a peer may make a call: `cargo bench -p valkyrie-security --bench grant`.
//!
//! The policy has forty rules, as a service of some size has. A call is asked for as the endpoint asks: with two names that
//! lie in a frame, a class and the time.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use valkyrie_frame::Class;
use valkyrie_security::UnixTime;
use valkyrie_security::policy::{Grant, Policy, Standing, Subject};
use valkyrie_security::provider::PublicKey;
use valkyrie_security::token::{Narrowing, Right, Token, TokenKey};

const TIME: UnixTime = UnixTime::from_secs(1_800_000_000);

fn rules() -> String {
    let mut text = String::from("version = 1\n");
    for number in 0..30 {
        text += &format!(
            "[[allow]]\npeers = ['role:runner']\nservices = ['service-{number}']\nmethods = ['get', 'put', 'watch']\n"
        );
    }
    text += "[[allow]]\npeers = ['any']\nservices = ['rustci.*']\n";
    text += "[[allow]]\npeers = ['any']\ncalls = ['echo/echo']\nrate = '1000000000/s'\nburst = 1000000000\n";
    text += "[[deny]]\npeers = ['role:runner']\ncalls = ['echo/fail']\n";
    for number in 0..7 {
        text += &format!("[[allow]]\npeers = ['name:admin-{number}']\nservices = ['*']\n");
    }
    text
}

fn runner() -> Subject<'static> {
    let mut subject = Subject::new(Standing::Identity);
    subject.name = Some("runner-7");
    subject.roles = vec!["runner"];
    subject
}

fn ask(c: &mut Criterion, grant: &Grant, name: &str, service: &str, method: &str, class: Class) {
    let now = Instant::now();
    c.bench_function(&format!("check/{name}"), |b| {
        b.iter(|| black_box(grant).check(black_box(service), black_box(method), black_box(class), now));
    });
}

fn checks(c: &mut Criterion) {
    let policy = Policy::parse(&rules()).unwrap();
    let grant = policy.grant(runner(), Instant::now(), TIME);
    ask(c, &grant, "written out", "service-17", "get", Class::Job);
    ask(c, &grant, "by a star, again", "rustci.jobs", "submit", Class::Job);
    ask(c, &grant, "with a rate", "echo", "echo", Class::Job);
    ask(c, &grant, "denied by a rule", "echo", "fail", Class::Job);
    ask(
        c,
        &grant,
        "denied for its class",
        "service-17",
        "get",
        Class::Critical,
    );
    ask(c, &grant, "no rule, again", "nobody", "knows", Class::Job);
    for number in 0..1000 {
        let _ = grant.check("junk", &number.to_string(), Class::Job, Instant::now());
    }
    ask(
        c,
        &grant,
        "by a star, with no room left",
        "rustci.logs",
        "follow",
        Class::Job,
    );
    ask(
        c,
        &grant,
        "no rule, with no room left",
        "junk",
        "99999",
        Class::Job,
    );
}

fn set_up(c: &mut Criterion) {
    let text = rules();
    c.bench_function("set up/parse 40 rules", |b| {
        b.iter(|| Policy::parse(black_box(&text)))
    });
    let policy = Policy::parse(&text).unwrap();
    let now = Instant::now();
    c.bench_function("set up/grant", |b| b.iter(|| policy.grant(runner(), now, TIME)));
}

fn tokens(c: &mut Criterion) {
    let key = TokenKey::generate().unwrap();
    let text = format!("version = 1\n[tokens]\nroots = ['{}']\n", key.root());
    let policy = Policy::parse(&text).unwrap();
    let peer = PublicKey::from_bytes([9; 32]);
    let expires = UnixTime::from_secs(TIME.secs() + 3600);
    let token = Token::mint(&key, &[Right::service("rustci")], expires).unwrap();
    let token = token
        .attenuate(&Narrowing::new().methods(["submit", "watch"]).bound_to(peer))
        .unwrap();
    c.bench_function("token/verify two blocks", |b| {
        b.iter(|| policy.verify_token(black_box(token.as_bytes()), &peer, TIME));
    });
    let rights = policy.verify_token(token.as_bytes(), &peer, TIME).unwrap();
    let mut holder = Subject::new(Standing::Anonymous);
    holder.token = Some(&rights);
    let grant = policy.grant(&holder, Instant::now(), TIME);
    ask(c, &grant, "by a token, again", "rustci", "submit", Class::Job);
}

criterion_group!(benches, checks, set_up, tokens);
criterion_main!(benches);
