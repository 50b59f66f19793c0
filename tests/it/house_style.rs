//! The rules of the house, held by a test and not by a reviewer's memory.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under a folder, with their text.
fn files(under: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("a folder of ours").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all.push(path);
            }
        }
    }
    let mut all = Vec::new();
    walk(&root().join(under), &mut all);
    all.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("under the root").display().to_string();
        (name, std::fs::read_to_string(&path).expect("a file of ours"))
    };
    all.into_iter().map(read).collect()
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/") || name.contains("tests") || name.ends_with("memory.rs")
}

/// The part of a file that is not its test module.
fn code(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ").map_or(text, |(code, _)| code)
}

fn fail_on(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_first_what_is_in_it() {
    let all = files("src").into_iter().chain(files("tests"));
    let wrong = all.filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name);
    fail_on(&wrong.collect::<Vec<_>>());
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut wrong = Vec::new();
    for (name, text) in files("src") {
        let lines = code(&text).lines().count();
        if lines > 500 && !is_test(&name) {
            wrong.push(format!("{name}: {lines} lines; 500 are the most"));
        }
        let mut begun: Option<(usize, usize)> = None;
        for (n, line) in text.lines().enumerate() {
            // What stands on the wire is not broken for the reader's sake.
            if line.chars().count() > 100 && !line.contains("r#\"") {
                wrong.push(format!("{name}:{}: the line has more than 100 columns", n + 1));
            }
            let indent = line.len() - line.trim_start().len();
            let is_fn = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(super) fn "]
                .iter()
                .any(|head| line.trim_start().starts_with(head));
            if is_fn && line.trim_end().ends_with(['{', '(']) {
                begun = Some((n, indent));
            } else if let Some((start, at)) = begun
                && indent == at
                && line.trim() == "}"
            {
                if n - start > 70 {
                    wrong.push(format!(
                        "{name}:{}: {} lines in one function",
                        start + 1,
                        n - start
                    ));
                }
                begun = None;
            }
        }
    }
    fail_on(&wrong);
}

#[test]
fn no_file_is_a_drawer() {
    let drawers = ["util", "utils", "common", "helpers", "types", "misc"];
    let is_drawer = |name: &String| {
        let stem = Path::new(name).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        drawers.contains(&stem)
    };
    let all = files("src").into_iter().chain(files("tests")).map(|(name, _)| name);
    fail_on(&all.filter(is_drawer).collect::<Vec<_>>());
}

#[test]
fn a_module_imports_only_from_those_before_it() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    let order: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let place = |module: &str| order.iter().position(|m| *m == module);
    let mut wrong = Vec::new();
    for (name, text) in files("src").into_iter().filter(|(name, _)| !is_test(name)) {
        let inner = name.trim_start_matches("src/").trim_end_matches(".rs");
        let own = inner.split('/').next().expect("a first part");
        let Some(own_place) = place(own) else { continue };
        for (n, line) in code(&text).lines().enumerate().filter(|(_, l)| !l.contains("//")) {
            for (_, rest) in line.match_indices("crate::").map(|(i, m)| line.split_at(i + m.len()))
            {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let module = &rest[..end.unwrap_or(rest.len())];
                if place(module).is_some_and(|p| p > own_place) {
                    wrong.push(format!("{name}:{}: {own} may not know {module}", n + 1));
                }
            }
        }
    }
    fail_on(&wrong);
}

#[test]
fn only_the_kafka_source_names_the_kafka_client_and_only_its_ffi_is_unsafe() {
    let mut wrong = Vec::new();
    for (name, text) in files("src") {
        let kafka = name.starts_with("src/source/kafka");
        for (n, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !kafka && code.contains("rdkafka") {
                wrong.push(format!("{name}:{}: names the Kafka client", n + 1));
            }
            let is_unsafe = code.contains("unsafe ") || code.contains("unsafe_code");
            if is_unsafe && name != "src/source/kafka/ffi.rs" {
                wrong.push(format!("{name}:{}: unsafe", n + 1));
            }
        }
    }
    fail_on(&wrong);
}
