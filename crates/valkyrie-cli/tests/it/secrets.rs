//! What programs print, log and keep is searched for the secrets that they hold.

#[path = "../../../valkyrie-security/tests/leak/mod.rs"]
mod leak;

use std::path::Path;
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leak::leak;

use crate::keys::{keys, made};
use crate::support::{Server, assert_code, home, other_home, run, run_as, stderr, stdout, until};

/// The private keys in a file, as the bytes that they are.
fn private_keys(file: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file).expect("keys that are not encrypted");
    let keys: Vec<Vec<u8>> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|word| word.len() == 64)
        .map(|word| {
            let pairs = word.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16);
            pairs.map(|pair| byte(pair).expect("hexadecimal")).collect()
        })
        .collect();
    assert!(!keys.is_empty(), "{}", file.display());
    keys
}

/// A token's own secret: the key that its next holder narrows it with is its end.
fn end_of_token(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).expect("a token");
    let token = URL_SAFE_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .expect("base64");
    token[token.len() - 32..].to_vec()
}

#[test]
fn nothing_that_programs_print_or_log_shows_a_secret() {
    let (server_home, client_home) = (other_home("server"), home());
    let (_, fingerprint) = (made(&server_home, "server"), made(&client_home, "client"));
    let path = |name: &str| other_home(name).to_str().expect("text").to_owned();
    let (token, policy) = (path("a.token"), path("policy.toml"));
    let minted = run_as(
        &server_home,
        ["token", "mint", "echo", "--expires", "1h", "--output", &token],
    );
    assert_code(&minted, 0);
    let shown = run_as(&server_home, ["token", "show", &token, "--json"]);
    let root: serde_json::Value = serde_json::from_str(stdout(&shown).trim()).expect("JSON");
    let root = root["root"].as_str().expect("a root");
    std::fs::write(&policy, format!("version = 1\n[tokens]\nroots = [\"{root}\"]\n")).expect("a file");
    let server = Server::start_as(
        &server_home,
        &["--listen", "tcp://127.0.0.1:0", "--policy", &policy],
    );
    let place = server.locator().to_owned();
    let mut said: Vec<(String, String)> = Vec::new();
    let mut keep = |what: &str, output: &Output| {
        said.push((what.to_owned(), format!("{}{}", stdout(output), stderr(output))));
    };
    keep("mint", &minted);
    keep("token show", &shown);
    for (args, code) in [
        (&["ping", &place, "-n", "1", "-v"][..], 0),
        (&["ping", &place, "-n", "1", "--json"], 0),
        (&["call", &place, "echo", "echo", "--token", &token], 0),
        (&["call", &place, "vault", "open", "--token", &token], 1),
        (&["call", &place, "echo", "echo", "--plain"], 7),
        (&["keys", "show"], 0),
        (&["keys", "show", "--json"], 0),
    ] {
        let output = run(args);
        assert_code(&output, code);
        keep(&args.join(" "), &output);
    }
    let mut secrets = vec![end_of_token(Path::new(&token))];
    for file in [
        server_home.join("identity.key"),
        client_home.join("identity.key"),
        server_home.join("tokens/root.key"),
    ] {
        secrets.extend(private_keys(&file));
    }
    assert_eq!(
        secrets.len(),
        8,
        "of each a static key and two that sign, and what tokens have"
    );
    // A peer that is revoked, and keys that cannot be read.
    keys(&server_home, &["revoke", &fingerprint]);
    // A token needs no identity, so that what is revoked is who calls without.
    until(|| stderr(&run(["call", &place, "echo", "echo"])).contains("revoked"));
    keep("revoked", &run(["call", &place, "echo", "echo"]));
    let key_file = client_home.join("identity.key");
    let text = std::fs::read_to_string(&key_file).expect("keys");
    std::fs::write(&key_file, text.replacen("static ", "statics ", 1)).expect("a file");
    let broken = run(["call", &place, "echo", "echo"]);
    assert_ne!(broken.status.code(), Some(0));
    keep("broken keys", &broken);
    said.push(("the server".to_owned(), server.said()));

    // What is kept beside the keys: the log of the server, trust, documents.
    let mut kept = 0;
    for home in [&server_home, &client_home] {
        for file in std::fs::read_dir(home).expect("a directory").flatten() {
            let (name, path) = (file.file_name(), file.path());
            // Where secrets belong.
            if !path.is_file() || name == "identity.key" {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            said.push((
                path.display().to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
            kept += 1;
        }
    }
    assert!(
        kept >= 3 && said.iter().any(|(what, _)| what.ends_with("audit.log")),
        "{kept}"
    );
    for (what, text) in &said {
        for secret in &secrets {
            assert_eq!(leak(text, secret), None, "{what} shows a secret:\n{text}");
        }
    }
}
