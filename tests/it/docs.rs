//! What the documents say is tried: every link leads somewhere, and the snippets of
//! `docs/consuming.md` read as they stand there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::client::{self, Client};
use crate::support::served::{CONFIG, Served};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents.
fn documents() -> Vec<PathBuf> {
    let mut folders = vec![root().to_owned()];
    folders.extend(["docs", "deploy", "bench", "tests"].map(|folder| root().join(folder)));
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && folder != root() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

/// What stands outside of code: in fences and between backticks there are no links.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The names under which the headings of a document can be reached, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| -> String {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        title.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// Where the links of a document lead: `](…)` that is no other host's.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let parts = prose.split("](").skip(1).filter_map(|part| part.split_once(')'));
    let own = parts.map(|(link, _)| link.to_owned()).filter(|link| !link.contains("://"));
    own.filter(|link| !link.starts_with("mailto:")).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        for link in links(&text) {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = match file {
                "" => document.clone(),
                file => document.parent().expect("a folder").join(file),
            };
            let is_there = to.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&to).is_ok_and(|t| anchors(&t).contains(anchor)));
            if !is_there {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
    assert!(count > 50, "only {count} links were found");
}

#[test]
fn every_command_of_the_documents_exists() {
    let mut asked = BTreeSet::new();
    for document in documents().into_iter().filter(|path| !path.ends_with("CHANGELOG.md")) {
        let text = fs::read_to_string(&document).expect("a document");
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("tidegate "));
        for line in lines {
            let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let words = line.split_whitespace().take_while(is_name);
            let flags = line.split(['#', '|']).next().unwrap_or_default().split_whitespace();
            let flags = flags.filter_map(|flag| flag.split('=').next()?.strip_prefix("--"));
            let owned = |words: &mut dyn Iterator<Item = &str>| words.map(str::to_owned).collect();
            let (words, flags): (Vec<String>, Vec<String>) =
                (owned(&mut words.filter(|word| !word.starts_with('-'))), owned(&mut { flags }));
            if !words.is_empty() {
                asked.insert((words, flags));
            }
        }
    }
    assert!(asked.len() > 5, "{asked:?}");
    for (words, flags) in asked {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tidegate")).args(&words).arg("--help").output();
        let output = output.expect("it runs");
        let (text, command) = (String::from_utf8_lossy(&output.stdout), words.join(" "));
        assert!(output.status.success(), "tidegate {command}: there is no such command");
        for flag in flags {
            assert!(text.contains(&format!("--{flag}")), "tidegate {command} has no --{flag}");
        }
    }
}

/// The code blocks of a language in `docs/consuming.md`.
fn snippet(heading: &str) -> String {
    let text = fs::read_to_string(root().join("docs/consuming.md")).expect("the document");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("its section");
    let (_, code) = section.split_once("```").expect("a snippet");
    let (_, code) = code.split_once('\n').expect("its language");
    code.split_once("```").expect("its end").0.to_owned()
}

/// Runs a snippet, with the gateway's address, until it has said some titles of events.
#[track_caller]
fn reads(heading: &str, file: &str, command: impl FnOnce(&Path, &str) -> Command) {
    let mut served = Served::new(&CONFIG.replace("lifetime_s = 1\n", ""));
    let origin = format!("http://{}", served.gateway.public());
    let code = snippet(heading);
    assert!(code.contains("https://stream.example.org/v2/stream/recentchange") || file == "x.rs");
    let code = code.replace("https://stream.example.org", &origin);
    // Where Node finds what it imports.
    let dir = client::folder("snippets");
    let path = dir.path().join(file);
    fs::write(&path, code).expect("written");
    let mut client = Client::start(command(&path, &origin));
    served.go_on();
    client.wait_for_lines(5, |line| line.starts_with("Page "));
}

/// Runs the snippet's file by a program.
fn by(program: impl AsRef<OsStr>) -> impl FnOnce(&Path, &str) -> Command {
    move |path, _| {
        let mut command = Command::new(program);
        command.arg(path);
        command
    }
}

#[test]
fn the_snippet_for_curl_reads() {
    // In a group of its own, so that the loop ends with its shell.
    reads("curl", "x.sh", by("bash"));
}

#[test]
fn the_snippet_for_lines_of_json_reads() {
    reads("Lines of JSON", "x.sh", by("bash"));
}

#[test]
fn the_snippet_for_browsers_reads() {
    reads("Browser", "x.js", |path, origin| {
        let mut command = client::script("snippet_browser.cjs");
        command.arg(origin).arg(path);
        command
    });
}

#[test]
fn the_snippet_for_python_reads() {
    reads("Python", "x.py", by(client::python()));
}

#[test]
fn the_snippet_for_node_reads() {
    reads("Node", "x.mjs", by("node"));
}

/// It is built with the other crates.io clients; that it is the one of the document is seen here.
#[test]
fn the_snippet_for_rust_reads() {
    let built =
        fs::read_to_string(root().join("tests/clients/eventsource_client_rs/src/snippet.rs"));
    assert_eq!(snippet("Rust"), built.expect("the program"));
    reads("Rust", "x.rs", |_, origin| {
        let mut command = client::script("snippet.rs");
        command.arg(format!("{origin}/v2/stream/recentchange"));
        command
    });
}

#[test]
fn the_snippet_for_go_reads() {
    if Command::new("go").arg("version").output().is_err() {
        println!("not tried: go is not installed (scripts/test.sh installs it)");
        return;
    }
    reads("Go", "x.go", |path, _| {
        // Built first: what runs is then the one process that the test ends.
        let program = path.with_extension("out");
        let built = Command::new("go").arg("build").arg("-o").arg(&program).arg(path).status();
        assert!(built.expect("go").success(), "it cannot be built");
        Command::new(program)
    });
}
