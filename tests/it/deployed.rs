//! What is deployed beside the gateway fits it: the alerts' rules and their tests, the runbooks, the
//! dashboard's queries against the real metrics, the definitions for Icinga.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate::metrics::Metrics;

use crate::support::gateway::Gateway;
use crate::support::prometheus::{deployed, shared};
use crate::support::{eventually, sse};

#[test]
fn the_rules_do_what_their_tests_say() {
    let rules = deployed("prometheus/tidegate.rules.test.yml");
    let output = Command::new("promtool").args(["test", "rules"]).arg(rules).output();
    let output = output.expect("promtool (Debian's package prometheus) is needed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Every alert by its name: severity and team of each of its rules.
fn alerts() -> BTreeMap<String, BTreeSet<(String, String)>> {
    let text = std::fs::read_to_string(deployed("prometheus/tidegate.rules.yml")).expect("rules");
    let mut all = BTreeMap::new();
    for rule in text.split("- alert: ").skip(1) {
        let value = |key: &str| {
            let (_, rest) = rule.split_once(key).unwrap_or_else(|| panic!("{key}{rule}"));
            rest.lines().next().unwrap_or_default().trim().to_owned()
        };
        let name = rule.lines().next().unwrap_or_default().to_owned();
        assert!(value("runbook_url:").ends_with(&format!("/{name}.md'")), "{name}");
        let of: &mut BTreeSet<_> = all.entry(name).or_default();
        of.insert((value("severity:"), value("team:")));
    }
    all
}

#[test]
fn every_alert_has_its_page_every_page_its_alert_and_what_readers_feel_goes_to_both_teams() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("docs/runbooks")).expect("pages").flatten();
    let pages: BTreeSet<_> = pages
        .filter_map(|page| Some(page.file_name().to_str()?.strip_suffix(".md")?.to_owned()))
        .filter(|page| page != "README")
        .collect();
    let alerts = alerts();
    assert_eq!(pages, alerts.keys().cloned().collect());
    for (name, of) in &alerts {
        let teams: Vec<_> = of.iter().map(|(severity, team)| (&**severity, &**team)).collect();
        match &teams[..] {
            [("critical", "kafka"), ("critical", "service")] | [("warning", _)] => {}
            other => panic!("{name}: {other:?}"),
        }
        let page = root.join(format!("docs/runbooks/{name}.md"));
        let page = std::fs::read_to_string(page).expect("a page");
        for part in ["## What it means", "## Who feels it", "## Look at", "## Do"] {
            assert!(page.contains(part), "{name}: {part}");
        }
    }
}

/// Every query of the dashboard.
fn queries(of: &Value, found: &mut Vec<String>) {
    match of {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_finds_its_metrics() {
    let text = std::fs::read_to_string(deployed("grafana/tidegate.json")).expect("a dashboard");
    let (mut all, mut names) = (Vec::new(), BTreeSet::new());
    queries(&serde_json::from_str(&text).expect("JSON"), &mut all);
    assert!(all.len() > 15, "{all:?}");
    let more = "[canary]\nstreams = [\"s\"]\ninterval_s = 1\n";
    let gateway = Gateway::embedded(&[("s", &["t"])], more);
    shared().scrapes(gateway.admin());
    let page = sse::get(gateway.public(), "/v2/stream/nothing", &[]).expect("answered");
    assert_eq!(page.status, 400);
    eventually("a canary has passed", || gateway.metric("tidegate_canaries_total") > 0.0);
    let rules = std::fs::read_to_string(deployed("prometheus/tidegate.rules.yml")).expect("rules");
    let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let rules: Vec<_> = rules.map(str::to_owned).collect();
    for query in all.iter().chain(&rules) {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_metric =
            |word: &&str| word.starts_with("tidegate_") || word.starts_with("eventstreams_");
        names.extend(words.filter(is_metric).map(str::to_owned));
    }
    // What has no series yet is not in the exposition: what it will be is declared.
    let metrics = Metrics::new();
    let exposition = gateway.ask_admin("/metrics");
    let shown = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut declared: BTreeMap<_, _> = shown.collect();
    assert!(declared.len() > 30, "{exposition}");
    declared.extend(metrics.described().iter().map(|metric| (metric.name, metric.kind)));
    for name in &names {
        let of = |suffixes: &[&str], kind: &str| {
            let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
            base.is_some_and(|base| declared.get(base) == Some(&kind))
        };
        let is_there = declared.get(&**name) == Some(&"gauge")
            || of(&["_total"], "counter")
            || of(&["_bucket", "_sum", "_count"], "histogram");
        assert!(is_there, "{name} is no metric");
    }
    for query in &all {
        let query = query.replace("$instance", ".+").replace("$__rate_interval", "1m");
        let _ = shared().query(&query);
    }
}

#[test]
fn icinga_is_told_options_that_the_probe_has() {
    let text = std::fs::read_to_string(deployed("icinga/tidegate.conf")).expect("definitions");
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    let help = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["check", "--help"]).output();
    let help = String::from_utf8(help.expect("it runs").stdout).expect("UTF-8");
    let options: BTreeSet<_> = text.split('"').filter(|word| word.starts_with("--")).collect();
    assert!(options.len() > 8, "{options:?}");
    for option in options {
        assert!(help.contains(option), "{option} is no option");
    }
}
