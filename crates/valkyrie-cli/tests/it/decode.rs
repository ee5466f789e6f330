//! `valkyrie decode`.

use serde_json::Value;

use crate::support::{assert_code, json_lines, run, run_with_input, stderr, stdout};

fn vectors(name: &str) -> Vec<Value> {
    let path = format!(
        "{}/../../docs/protocol/vectors/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).expect("the vectors are in the tree");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

/// The vectors with a payload, as one capture.
fn capture() -> (Vec<Value>, Vec<u8>) {
    let whole: Vec<Value> = vectors("valid.json")
        .into_iter()
        .filter(|vector| vector["header_only"] != true)
        .collect();
    let bytes = whole
        .iter()
        .flat_map(|vector| bytes_of(vector["hex"].as_str().expect("hex")))
        .collect();
    (whole, bytes)
}

#[test]
fn every_valid_vector_is_shown_as_it_is() {
    let (vectors, bytes) = capture();
    let output = run_with_input(&["decode", "--json", "--payload", "full"], &bytes);
    assert_code(&output, 0);
    let frames = json_lines(&output);
    assert_eq!(frames.len(), vectors.len());
    let mut offset = 0;
    for (frame, vector) in frames.iter().zip(&vectors) {
        let name = &vector["name"];
        assert_eq!(frame["offset"], offset, "{name}");
        for field in [
            "type",
            "flags",
            "priority",
            "trace",
            "ext",
            "stream_id",
            "length",
            "correlation",
        ] {
            assert_eq!(frame[field], vector["header"][field], "{field} of {name}");
        }
        assert_eq!(frame["payload_hex"], vector["payload_hex"], "{name}");
        let (shown, wanted) = (frame["extensions"].as_array(), vector["extensions"].as_array());
        let (shown, wanted) = (shown.expect("an array"), wanted.expect("an array"));
        assert_eq!(shown.len(), wanted.len(), "{name}");
        for (shown, wanted) in shown.iter().zip(wanted) {
            for (field, value) in shown.as_object().expect("an object") {
                if field != "type" {
                    assert_eq!(value, &wanted[field], "{field} of {name}");
                }
            }
        }
        offset += vector["hex"].as_str().expect("hex").len() / 2;
    }
}

#[test]
fn every_invalid_vector_is_a_protocol_error_with_its_place() {
    for vector in vectors("invalid.json") {
        let hex = vector["hex"].as_str().expect("hex");
        // A whole frame in front shows that the offset counts.
        let output = run(["decode", "5243020200ff0000000000000000000000000007", hex]);
        assert_code(&output, 4);
        assert!(
            stderr(&output).contains("offset 20"),
            "{}: {}",
            vector["name"],
            stderr(&output)
        );
        assert!(stdout(&output).contains("PING"), "the frame in front is shown");
    }
}

#[test]
fn a_file_is_read_as_bytes_or_as_hex() {
    let directory = tempfile::tempdir().expect("a directory");
    let (vectors, bytes) = capture();
    let binary = directory.path().join("capture.bin");
    std::fs::write(&binary, &bytes).expect("a file");
    let text = directory.path().join("capture.hex");
    let lines: Vec<&str> = vectors
        .iter()
        .map(|vector| vector["hex"].as_str().expect("hex"))
        .collect();
    std::fs::write(&text, lines.join("\n")).expect("a file");
    let outputs = [&binary, &text].map(|path| run(["decode".as_ref(), "--file".as_ref(), path.as_os_str()]));
    assert_code(&outputs[0], 0);
    assert_eq!(stdout(&outputs[0]), stdout(&outputs[1]));
    let last = format!("{} frames, {} bytes", vectors.len(), bytes.len());
    assert!(stdout(&outputs[0]).ends_with(&format!("{last}\n")));
}

#[test]
fn bad_hex_is_a_usage_error_that_names_the_place() {
    let output = run(["decode", "5243zz"]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("'z' at line 1, column 5"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_capture_that_is_cut_off_shows_what_is_whole() {
    let (vectors, bytes) = capture();
    let output = run_with_input(&["decode"], &bytes[..bytes.len() - 1]);
    assert_code(&output, 4);
    assert!(stdout(&output).contains(&format!("{} frames", vectors.len() - 1)));
    assert!(
        stderr(&output).contains("the bytes end within the frame"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_limit_stops_in_time() {
    let (_, bytes) = capture();
    let output = run_with_input(&["decode", "--json", "-n", "3"], &bytes);
    assert_code(&output, 0);
    assert_eq!(json_lines(&output).len(), 3);
}

#[test]
fn a_missing_file_is_a_local_error() {
    let output = run(["decode", "--file", "/does/not/exist"]);
    assert_code(&output, 6);
    assert!(
        stderr(&output).starts_with("error: /does/not/exist cannot be opened"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn control_characters_of_a_capture_never_reach_the_terminal() {
    // A DATA frame whose payload would clear the screen, and one with a route that would.
    let escape = "52430231004a0000000003e900000004000000001b5b324a";
    let route = "52430238004a0002000003e90000000000000000870301731b000000";
    let output = run(["decode", escape, route]);
    assert_code(&output, 0);
    assert!(!output.stdout.contains(&0x1b), "{}", stdout(&output));
}
