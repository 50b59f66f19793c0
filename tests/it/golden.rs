//! What others build on must not change by accident: names and help texts of all metrics.

use tidegate::metrics::Metrics;

/// The documentation of all metrics, made from the exposition.
fn document() -> String {
    let mut rows = String::new();
    let mut help = "";
    let text = Metrics::new().render();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            let said = help.strip_prefix(name).expect("HELP stands before TYPE").trim();
            let suffix = if kind == "counter" { "_total" } else { "" };
            rows += &format!("| `{name}{suffix}` | {kind} | {said} |\n");
        }
    }
    format!(
        "# Metrics\n\nMade from the code (`src/metrics.rs`); served as OpenMetrics at `/metrics` of \
         the admin port.\nNo label ever carries a client's address.\n\n\
         | metric | type | what it says |\n|---|---|---|\n{rows}"
    )
}

#[test]
fn the_metrics_are_documented_and_keep_their_names() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let document = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &document).expect("write the golden file");
    }
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(golden, document, "if this is meant: UPDATE_GOLDEN=1 cargo test --test it golden");
}
