//! Any text as a label expression: read or refused with a column, and what is read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use valkyrie_registry::agent::{Service, Version};
use valkyrie_registry::query::LabelExpr;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let service = Service::new("s".parse().expect("a word"), Version::new(1, 0, 0))
        .label("a".parse().expect("a word"), "b".parse().expect("a value"));
    match text.parse::<LabelExpr>() {
        Ok(expression) => {
            let again: LabelExpr = expression
                .to_string()
                .parse()
                .expect("what was written can be read");
            assert_eq!(again, expression);
            assert_eq!(again.matches(&service), expression.matches(&service));
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.column), "{error}"),
    }
});
