//! Reading models and answers, and telling them apart.

use super::{answers, differences, different_protocols, parse};

const MODEL: &str = "\
// Sessions: 2, in ci 1
attacker[active]
principal Ada[
\tgenerates e
\tpe = PUBKEY[weak from phase 1](e)
]
phase[1]
queries[
\t// Fails: anybody may ask
\tconfidentiality? a
\tconfidentiality? b
\tauthentication? Ada -> Bob: c
]
";

const SAID: &str = "     FAIL x confidentiality? a
            Attack trace:
            | 1. Attacker observes a on the wire. Is it PASS + or FAIL x?
     PASS + confidentiality? b  [search exhausted at 2 sessions]
     PASS + authentication? Ada -> Bob: c  [search exhausted at 2 sessions]
     FAIL x 1 of 3 queries failed.
";

fn wrong(said: &str) -> Vec<String> {
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    differences(&parse(MODEL).unwrap(), &answers(&lines))
}

#[test]
fn a_model_says_its_sessions_and_why_queries_fail() {
    let model = parse(MODEL).unwrap();
    assert_eq!((model.sessions, model.sessions_in_ci), (2, 1));
    let reasons: Vec<_> = model
        .queries
        .iter()
        .map(|(_, reason)| reason.as_deref())
        .collect();
    assert_eq!(reasons, [Some("anybody may ask"), None, None]);
    assert_eq!(model.queries[2].0, "authentication? Ada -> Bob: c");
}

#[test]
fn a_model_without_sessions_or_with_a_stray_reason_is_refused() {
    parse(&MODEL.replace("// Sessions: 2, in ci 1\n", "")).unwrap_err();
    parse(&MODEL.replace("2, in", "0, in")).unwrap_err();
    parse(&MODEL.replace("\tconfidentiality? a\n", "\n")).unwrap_err();
}

#[test]
fn expected_answers_pass() {
    assert_eq!(wrong(SAID), Vec::<String>::new());
}

#[test]
fn a_query_that_fails_unexpectedly_is_a_fault() {
    let said = SAID.replace(
        "PASS + confidentiality? b  [search exhausted at 2 sessions]",
        "FAIL x confidentiality? b",
    );
    assert_eq!(wrong(&said), ["`confidentiality? b` fails"]);
}

#[test]
fn a_query_that_holds_unexpectedly_is_a_fault() {
    let said = SAID.replace("FAIL x confidentiality? a", "PASS + confidentiality? a");
    assert_eq!(wrong(&said).len(), 1);
}

#[test]
fn a_query_without_an_answer_is_a_fault() {
    assert_eq!(wrong("").len(), 3);
}

#[test]
fn an_answer_that_nobody_asked_for_is_a_fault() {
    let said = format!("{SAID}     PASS + freshness? d  [search exhausted at 2 sessions]\n");
    assert_eq!(wrong(&said).len(), 1);
}

#[test]
fn one_protocol_is_the_same_under_every_attacker() {
    let other = MODEL.replace("[weak from phase 1]", "").replace("phase[1]\n", "");
    let models = |text: &str| {
        [("xx.active.vp", text), ("xx.later.vp", MODEL)]
            .map(|(name, text)| (name.to_owned(), parse(text).unwrap()))
            .into()
    };
    assert_eq!(different_protocols(&models(&other)), Vec::<String>::new());
    let changed = other.replace("generates e", "generates e, f");
    assert_eq!(different_protocols(&models(&changed)).len(), 1);
}
