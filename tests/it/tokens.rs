//! Files of tokens as an operator has them: told what is wrong with one, and never shown a token.

use std::path::Path;
use std::process::Command;

use crate::support::gateway::Gateway;
use crate::support::peer::{hear, heard, says_from};

const TOKEN: &str = "dGhlLWZpcnN0LW9mLXR3by10b2tlbnM";

/// What `config check` says of a config with these budgets.
fn check(dir: &Path, budgets: &str) -> (bool, String) {
    let file = dir.join("tidegate.toml");
    let config = format!("[embedded]\ndata_dir = \"d\"\n[streams.s]\ntopics = [\"t\"]\n{budgets}");
    std::fs::write(&file, config).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(["config", "check", "--config"]).arg(&file).output().expect("run");
    let all = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(all).expect("text"))
}

#[test]
fn config_check_names_the_budget_the_file_and_the_line_and_no_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("tokens");
    let budget = |name: &str| format!("[budgets.{name}]\ntokens_file = {file:?}\n");
    let named = format!("budgets.a.tokens_file: {}", file.display());
    let (fine, said) = check(dir.path(), &budget("a"));
    assert!(!fine && said.contains(&named) && said.contains("cannot be read"), "{said}");
    for (text, says) in [
        (String::new(), "no token is in it"),
        (format!("# ours\n{TOKEN}\nsecret\n"), "line 3 is no token; 16 to 1024 of"),
        (format!("{TOKEN}\n{TOKEN}\n"), "line 2 is the token of line 1 again"),
    ] {
        std::fs::write(&file, text).expect("written");
        let (fine, said) = check(dir.path(), &budget("a"));
        assert!(!fine && said.contains(&named) && said.contains(says), "{said}");
        assert!(!said.contains(TOKEN) && !said.contains("secret"), "{said}");
    }
    std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
    assert!(check(dir.path(), &budget("a")).0);
    let (fine, said) = check(dir.path(), &(budget("a") + &budget("b")));
    assert!(!fine && said.contains("budgets.b.tokens_file: another budget has a token"), "{said}");
}

#[test]
fn a_token_opens_what_its_budget_allows_and_is_neither_logged_nor_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("tokens");
    std::fs::write(&file, format!("# of one partner\n{TOKEN}\n")).expect("written");
    let budgets = format!("[budgets.partner]\ntokens_file = {file:?}\nstreams = 2\n");
    let gateway = Gateway::embedded(&[("s", &["t"])], &budgets);
    let ask = |token: &str, host| {
        let request = format!(
            "GET /v2/stream/s HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n\
             connection: close\r\n\r\n"
        );
        says_from([127, 0, 0, host], gateway.public(), request.as_bytes()).expect("sent")
    };
    let held = [ask(TOKEN, 51), ask(TOKEN, 52)];
    held.iter().for_each(|stream| drop(hear(stream, ":ok\n\n")));
    assert!(heard(&ask(TOKEN, 53)).starts_with("HTTP/1.1 429 "));
    assert!(heard(&ask("nobody-has-this-token", 53)).starts_with("HTTP/1.1 401 "));
    let (metrics, log) = (gateway.ask_admin("/metrics"), gateway.log());
    for secret in [TOKEN, "nobody-has"] {
        assert!(!metrics.contains(secret) && !log.contains(secret), "{metrics}\n{log}");
    }
}
