//! Published vectors as tests read them.

use serde_json::Value;

/// A file below `tests/vectors`.
pub(crate) fn read(file: &str) -> Value {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The tests of a file that has a list of them.
pub(crate) fn tests(file: &str) -> Vec<Value> {
    match read(file)["tests"].take() {
        Value::Array(tests) => tests,
        other => panic!("{file}: no list of tests but {other}"),
    }
}

/// A field in hexadecimal.
pub(crate) fn field(test: &Value, name: &str) -> Vec<u8> {
    hex(test[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {test}")))
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
    let pairs = text.as_bytes().chunks_exact(2);
    assert!(pairs.remainder().is_empty(), "half a byte in {text}");
    pairs.map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}
