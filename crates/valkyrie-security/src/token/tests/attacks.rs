//! Tokens stripped, widened, mixed and mutated: none is taken for more than was granted.

use proptest::prelude::*;

use super::super::wire::{Fields, Value, Writer};
use super::*;

/// Fields of a message, to be put together otherwise.
fn fields(message: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let (mut read, mut fields) = (Fields::new(message), Vec::new());
    while let Some((number, value)) = read.next().unwrap() {
        match value {
            Value::Bytes(bytes) => fields.push((number, bytes.to_vec())),
            Value::Number(_) => panic!("a token's outer fields are messages"),
        }
    }
    fields
}

fn message(fields: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Writer::default();
    for (number, bytes) in fields {
        out.bytes(*number, bytes);
    }
    out.finish().to_vec()
}

fn narrowed() -> Token {
    mint(&[Right::service("a"), Right::service("b")])
        .attenuate(&Narrowing::new().services(["a"]).bound_to(peer()))
        .unwrap()
}

#[test]
fn a_token_without_the_block_that_narrowed_it_is_refused() {
    let token = narrowed();
    let mut parts = fields(token.as_bytes());
    assert_eq!(
        parts.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        [2, 3, 4]
    );
    parts.remove(1);
    assert_eq!(verify(&message(&parts)).map(|_| ()), Err(TokenError::Signature));
    // With the proof of another token, whose secret the thief has.
    let other = fields(mint(&[Right::service("a")]).as_bytes());
    parts[1] = other[1].clone();
    assert_eq!(verify(&message(&parts)).map(|_| ()), Err(TokenError::Signature));
}

#[test]
fn blocks_out_of_order_twice_or_of_another_token_are_refused() {
    let token = narrowed().attenuate(&Narrowing::new().methods(["x"])).unwrap();
    let parts = fields(token.as_bytes());
    let other = fields(narrowed().as_bytes());
    let mut swapped = parts.clone();
    swapped.swap(1, 2);
    let mut twice = parts.clone();
    twice.insert(2, parts[1].clone());
    let mut foreign = parts.clone();
    foreign[1] = other[1].clone();
    for wrong in [swapped, twice, foreign] {
        assert_eq!(verify(&message(&wrong)).map(|_| ()), Err(TokenError::Signature));
    }
}

#[test]
fn a_token_of_another_root_is_refused() {
    let eve = TokenKey::generate().unwrap();
    let token = Token::mint(&eve, &[Right::service("a")], NOW.saturating_add(HOUR)).unwrap();
    assert_eq!(verify(token.as_bytes()).map(|_| ()), Err(TokenError::Signature));
}

/// Appends a block that was written by hand.
fn with_block(token: &Token, block: &[u8]) -> Result<TokenRights, TokenError> {
    let container = container::Container::read(token.as_bytes()).unwrap();
    verify(&container.append(block)?.write())
}

fn fact(name: u64, terms: &[u64]) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(1, |predicate| {
        predicate.number(1, name);
        for text in terms {
            predicate.message(2, |term| {
                term.number(3, *text);
            });
        }
    });
    out.finish().to_vec()
}

#[test]
fn a_later_block_cannot_state_rights_facts_or_rules() {
    let token = mint(&[Right::service("a")]);
    let right = fact(4, &[0, 0, 0]);
    for (field, statement) in [(4, &right), (5, &right), (7, &right), (8, &right), (9, &right)] {
        let mut block = Writer::default();
        block.number(3, 3).bytes(field, statement);
        let refused = with_block(&token, &block.finish());
        assert!(
            matches!(refused, Err(TokenError::Unsupported(_))),
            "{field}: {refused:?}"
        );
    }
}

#[test]
fn a_symbol_cannot_be_given_another_meaning() {
    let token = mint(&[Right::service("a")]);
    for symbol in ["a", "*", "right"] {
        let mut block = Writer::default();
        block.bytes(1, symbol.as_bytes()).number(3, 3);
        assert!(
            matches!(with_block(&token, &block.finish()), Err(TokenError::Malformed(_))),
            "{symbol}"
        );
    }
    let mut block = Writer::default();
    block.number(3, 3).message(6, |check| {
        check.message(1, |query| {
            query.message(2, |predicate| {
                predicate.number(1, 5000);
            });
        });
    });
    assert!(matches!(
        with_block(&token, &block.finish()),
        Err(TokenError::Malformed(_))
    ));
}

/// A block with one check whose only expression has these steps.
fn expression(ops: impl Fn(&mut Writer)) -> Vec<u8> {
    let mut block = Writer::default();
    block.number(3, 6).message(6, |check| {
        check.message(1, |query| {
            query.message(3, |expression| ops(expression));
        });
    });
    block.finish().to_vec()
}

fn op(out: &mut Writer, kind: u32, number: u64) {
    out.message(1, |op| {
        op.message(kind, |inner| {
            inner.number(if kind == 1 { 6 } else { 1 }, number);
        });
    });
}

#[test]
fn what_could_take_long_is_refused_before_it_is_tried() {
    let token = mint(&[Right::service("a")]);
    for binary in [8, 25, 26, 9, 28, 99] {
        let block = expression(|out| op(out, 3, binary));
        assert!(
            matches!(with_block(&token, &block), Err(TokenError::Unsupported(_))),
            "{binary}"
        );
    }
    let long = expression(|out| (0..65).for_each(|_| op(out, 1, 1)));
    assert!(matches!(
        with_block(&token, &long),
        Err(TokenError::TooMany { .. })
    ));
    fn nested(out: &mut Writer, field: u32, depth: usize) {
        out.message(field, |op| {
            op.message(4, |closure| {
                if depth > 0 {
                    nested(closure, 2, depth - 1);
                }
            });
        });
    }
    let deep = expression(|out| nested(out, 1, 200));
    assert!(matches!(
        with_block(&token, &deep),
        Err(TokenError::TooMany { .. })
    ));
}

#[test]
fn an_expression_without_a_value_lets_nothing_through() {
    let token = mint(&[Right::service("a")]);
    type Write = fn(&mut Writer);
    let wrong: [Write; 6] = [
        |_| {},
        |out| op(out, 2, 0),
        |out| op(out, 3, 13),
        |out| {
            op(out, 1, 1);
            op(out, 1, 1);
        },
        |out| {
            op(out, 1, 1);
            op(out, 1, 1);
            op(out, 3, 0);
        },
        |out| {
            op(out, 1, 1);
            op(out, 1, 1);
            op(out, 3, 23);
        },
    ];
    for (place, ops) in wrong.into_iter().enumerate() {
        assert!(with_block(&token, &expression(ops)).is_err(), "{place}");
    }
    assert!(
        with_block(&token, &expression(|out| op(out, 1, 1))).is_ok(),
        "true is true"
    );
    assert!(
        with_block(&token, &expression(|out| op(out, 1, 0))).is_err(),
        "false is false"
    );
}

#[test]
fn a_reject_check_turns_the_answer_and_not_a_mistake() {
    let token = mint(&[Right::service("a")]);
    let reject = |value: Option<u64>| {
        let mut block = Writer::default();
        block.number(3, 6).message(6, |check| {
            check
                .message(1, |query| {
                    query.message(3, |expression| {
                        value.into_iter().for_each(|value| op(expression, 1, value));
                    });
                })
                .number(2, 2);
        });
        with_block(&token, &block.finish()).is_ok()
    };
    assert_eq!(
        (reject(Some(0)), reject(Some(1)), reject(None)),
        (true, false, false)
    );
}

#[test]
fn a_token_cut_at_any_byte_is_refused() {
    let token = narrowed();
    for end in 0..token.as_bytes().len() {
        assert!(verify(&token.as_bytes()[..end]).is_err(), "{end}");
    }
    let mut longer = token.as_bytes().to_vec();
    longer.push(0);
    assert!(verify(&longer).is_err());
    assert_eq!(
        verify(&[0; Token::BYTES_MAX + 1]).map(|_| ()),
        Err(TokenError::TooLong)
    );
}

#[test]
fn a_token_with_any_bit_flipped_is_refused() {
    let token = narrowed();
    for bit in 0..token.as_bytes().len() * 8 {
        let mut flipped = token.as_bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&flipped).is_err(), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_thousand_mutations_are_all_refused(
        places in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
        cut in prop::option::of(any::<(prop::sample::Index, prop::sample::Index)>()),
    ) {
        let token = narrowed();
        let mut bytes = token.as_bytes().to_vec();
        for (at, change) in &places {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        if let Some((from, to)) = &cut {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let moved: Vec<u8> = bytes.drain(from.min(to)..from.max(to)).collect();
            bytes.extend(moved);
        }
        prop_assume!(bytes != token.as_bytes());
        prop_assert!(verify(&bytes).is_err());
        let _ = Token::from_bytes(&bytes).map(|token| token.attenuate(&Narrowing::new().services(["x"])));
    }

    #[test]
    fn no_block_makes_the_reader_panic(block in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = block::Program::read([block.as_slice()]);
        let _ = with_block(&mint(&[Right::service("a")]), &block);
    }
}
