use super::*;
use crate::agent::{Service, Version};
use proptest::prelude::*;

fn word(text: &str) -> Word {
    text.parse().unwrap()
}

fn gold() -> Service {
    Service::new(word("orders"), Version::new(1, 4, 0))
        .label(word("tier"), "gold".parse().unwrap())
        .label(word("region"), "eu".parse().unwrap())
        .label(word("canary"), "".parse().unwrap())
}

fn holds(text: &str) -> bool {
    text.parse::<LabelExpr>().unwrap().matches(&gold())
}

#[test]
fn an_expression_means_what_it_says() {
    for yes in [
        "tier",
        "tier=gold",
        "tier == gold",
        "tier = \"gold\"",
        "tier != silver",
        "nothing != silver",
        "nothing not in (a, b)",
        "region in (us, eu)",
        "region not in (us)",
        "canary = \"\"",
        "not nothing",
        "!nothing",
        "tier=gold, region=eu",
        "tier=gold and (region=us or canary)",
        "tier=silver or tier=gold and region=eu",
        "TIER or tier",
        "not (tier=silver or region=us) && canary || nothing",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "nothing",
        "tier=silver",
        "tier != gold",
        "region not in (eu, us)",
        "not tier",
        "tier=gold and region=us",
        "(tier=silver or tier=gold) and region=us",
        "not tier or nothing",
        "Tier = gold",
    ] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn a_fault_says_where_it_is() {
    let fault = |text: &str| {
        let error = text.parse::<LabelExpr>().unwrap_err();
        (error.column, error.fault)
    };
    use LabelExprFault as F;
    assert_eq!(fault(""), (1, F::Expected("the name of a label, `not` or `(`")));
    assert_eq!(fault("tier ="), (7, F::Expected("a value")));
    assert_eq!(
        fault("tier = gold region"),
        (13, F::Expected("`and`, `or` or the end"))
    );
    assert_eq!(fault("(tier"), (6, F::Expected("`)`")));
    assert_eq!(fault("tier in gold"), (9, F::Expected("`(`")));
    assert_eq!(fault("tier in (gold"), (14, F::Expected("`,` or `)`")));
    assert_eq!(fault("tier not gold"), (10, F::Expected("`in`")));
    assert_eq!(fault("tier = ü"), (8, F::Character('ü')));
    assert_eq!(fault("ü"), (1, F::Character('ü')));
    assert_eq!(fault("a & b"), (3, F::Character('&')));
    assert_eq!(fault("tier = \"gold"), (8, F::OpenQuote));
    assert_eq!(fault("-tier"), (1, F::Name("-tier".to_owned())));
    assert_eq!(fault("a = \"b c\""), (5, F::Value("b c".to_owned())));
    assert_eq!(fault(&"(".repeat(40)), (33, F::TooDeep));
    assert_eq!(fault(&"a,".repeat(1000)), (1025, F::TooLong));
}

/// Found by fuzzing: parentheses around every `and` made the written text deeper than the one that was read.
#[test]
fn what_is_as_deep_or_as_long_as_allowed_can_be_written_and_read_again() {
    let deep = format!("{}a or b and c{}", "(x and ".repeat(31), ")".repeat(31));
    let long = format!("{}a", "!a,b!=c|d|".replace('|', "||").repeat(113));
    let nots = format!("{}a", "!".repeat(31));
    for text in [deep, long, nots] {
        let expression: LabelExpr = text.parse().unwrap();
        assert_eq!(expression.to_string().parse(), Ok(expression), "{text}");
    }
}

#[test]
fn an_expression_is_written_with_no_parentheses_it_does_not_need() {
    let written = |text: &str| text.parse::<LabelExpr>().unwrap().to_string();
    assert_eq!(
        written("((a=b and (c))) or not (d in (e))"),
        r#""a" = "b" and "c" or not "d" = "e""#
    );
    assert_eq!(
        written("(a or b) and not (c, d)"),
        r#"("a" or "b") and not ("c" and "d")"#
    );
    assert_eq!(
        written("a and (b and c) or (d or e)"),
        r#""a" and ("b" and "c") or ("d" or "e")"#
    );
    assert_eq!(written("a not in (b, c)"), r#""a" not in ("b", "c")"#);
}

#[test]
fn what_is_asked_of_services_holds_of_one_service() {
    let agent = Description::new(word("web"))
        .service(gold())
        .service(Service::new(word("orders"), Version::new(2, 0, 0)));
    let query = |labels: &str, version: &str| {
        Query::service(word("orders"))
            .with_labels(labels.parse().unwrap())
            .with_version(version.parse().unwrap())
    };
    assert_eq!(query("tier=gold", "^1.2").find(&agent), Some(Some(0)));
    assert_eq!(query("tier!=gold", "2").find(&agent), Some(Some(1)));
    // Gold is the one, version two the other.
    assert_eq!(query("tier=gold", "2").find(&agent), None);
    assert_eq!(Query::new().with_name(word("web")).find(&agent), Some(None));
    assert_eq!(Query::new().with_name(word("db")).find(&agent), None);
    assert_eq!(Query::new().with_zone(word("eu")).find(&agent), None);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-c=!&|,()\"in ortand]{0,40}") {
        if let Ok(expression) = text.parse::<LabelExpr>() {
            let again: LabelExpr = expression.to_string().parse().unwrap();
            prop_assert_eq!(again, expression);
        }
    }

    #[test]
    fn any_characters_at_all_do_no_harm(text in "\\PC{0,60}") {
        let _ = text.parse::<LabelExpr>();
    }
}
