//! `docs/configuration.md`: every key with what is accepted and its default from the code that
//! reads them, and what it means from `config/example.toml`, which the tests hold to that code.

use std::collections::BTreeMap;

use super::*;

const EXAMPLE: &str = include_str!("../../config/example.toml");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

/// The example with what stands in it as a comment: the other source, budgets, redaction.
fn all_of_it() -> String {
    let is_shown =
        |key: &str| key.starts_with('[') || key.contains(" = ") || key.trim().starts_with('#');
    let line = |line: &str| match line.strip_prefix("#! ").or_else(|| line.strip_prefix("#   ")) {
        Some(key) if is_shown(key) => key.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A key as the example shows it.
struct Shown {
    section: String,
    key: String,
    value: String,
    meaning: String,
}

/// All keys of the example, in its order, and what stands above each section.
fn shown(text: &str) -> (Vec<Shown>, BTreeMap<String, String>) {
    let (mut all, mut abouts) = (Vec::<Shown>::new(), BTreeMap::new());
    let (mut section, mut above) = (String::new(), Vec::new());
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').filter(|_| !line.starts_with(' ')) {
            section = name.split(']').next().unwrap_or_default().to_owned();
            abouts.insert(section.clone(), above.join(" "));
            above.clear();
        } else if let Some(more) = trimmed.strip_prefix('#') {
            match all.last_mut().filter(|_| line.starts_with("     ")) {
                Some(last) => last.meaning += &format!(" {}", more.trim()),
                None => above.push(more.trim().to_owned()),
            }
        } else if let Some((key, rest)) = line.split_once(" = ") {
            let meant = rest.split_once("  # ").or_else(|| rest.split_once(" # "));
            let (value, meaning) = meant.unwrap_or((rest, ""));
            let [key, value, meaning] = [key, value, meaning].map(|text| text.trim().to_owned());
            all.push(Shown { section: section.clone(), key, value, meaning });
            above.clear();
        } else if trimmed.is_empty() {
            above.clear();
        }
    }
    (all, abouts)
}

/// A name that the operator chooses is NAME.
fn general(section: &str) -> String {
    match section.split_once('.') {
        Some((table @ ("kafka" | "streams" | "budgets" | "redact"), _)) => format!("{table}.NAME"),
        _ => section.to_owned(),
    }
}

fn document() -> String {
    let text = all_of_it();
    let mut found = Findings::default();
    // Both sources in one file are a mistake: each is read by itself.
    for source in ["[kafka.main]", "[embedded]"] {
        let (head, rest) = text.split_once(source).expect("a source");
        let end = rest.find("\n[").expect("a section after it");
        let _ = Config::read(&format!("{head}{}", &rest[end..]), &mut found);
    }
    let (keys, abouts) = shown(&text);
    let mut document = "# Configuration\n\nMade from the code (`src/config`) and from \
        [`config/example.toml`](../config/example.toml); `tidegate config check --config FILE` \
        tells all mistakes at once. A key that is left out has its default; only the source and \
        the streams have to be given.\n"
        .to_owned();
    let mut section = None;
    for Shown { section: of, key, value, meaning } in &keys {
        if section != Some(of) {
            section = Some(of);
            let about = abouts.get(of).map_or("", |about| about);
            let title = if of.is_empty() { "The file itself".into() } else { general(of) };
            let title = if of.is_empty() { title } else { format!("`[{title}]`") };
            document += &format!("\n## {title}\n");
            if !about.is_empty() {
                document += &format!("{about}\n\n");
            }
            document += "| key | accepted | default or example | meaning |\n|---|---|---|---|\n";
        }
        let full = if of.is_empty() { key.clone() } else { format!("{of}.{key}") };
        // What is not asked for by name is anything's: of a wiki, of a stream.
        let any = if value.starts_with('[') { "a list of texts" } else { "a whole number" };
        let accepted = found.accepted.get(&full).map_or(any, |accepted| accepted);
        let cell = |text: &str| text.replace('|', "\\|");
        let row = [format!("`{key}`"), cell(accepted), format!("`{value}`"), cell(meaning)];
        document += &format!("| {} |\n", row.join(" | "));
    }
    document
}

#[test]
fn golden_configuration_document_is_what_the_code_reads() {
    let document = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(FILE, &document).expect("write the golden file");
    }
    let golden = std::fs::read_to_string(FILE).unwrap_or_default();
    assert_eq!(golden, document, "if this is meant: UPDATE_GOLDEN=1 cargo test --lib golden");
}
