//! What others build on must not change by accident: names and help texts of all metrics.

use tidegate::metrics::{Described, Metrics};

/// The documentation of all metrics, made from their declarations.
fn document() -> String {
    let mut rows = String::new();
    for Described { name, kind, help } in Metrics::new().described() {
        let suffix = if *kind == "counter" { "_total" } else { "" };
        rows += &format!("| `{name}{suffix}` | {kind} | {help}. |\n");
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
