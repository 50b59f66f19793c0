//! The soak: producers, gateways and readers under a random schedule of faults, and an oracle over
//! every event and every reader. The short runs are tests like all others; the long one is begun by
//! hand, with `bench/soak`.

mod clock;
mod cluster;
mod event;
mod gateways;
mod lanes;
mod oracle;
mod reader;
mod report;
mod run;
mod schedule;
mod writer;

/// The rig is the other tests'.
#[path = "../it"]
mod it {
    pub mod support;
}

use std::path::PathBuf;

use it::support;
use report::Report;
use run::{Order, run};
use schedule::{Setup, Source};

/// Of the short runs: most kinds of faults come up, retention too.
const SEED: u64 = 3;

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}: found {text:?}; a number is accepted"))
}

fn short(source: Source, seconds: u64, rate: f64) {
    let setup = Setup { seed: number("SOAK_SEED", SEED), source, seconds, readers: 12 };
    let report = run(&Order { setup, rate });
    println!("{}", report.markdown());
    let complaints = report.complaints();
    assert!(complaints.is_empty(), "seed {}:\n{}", setup.seed, complaints.join("\n"));
    assert!(report.verdict.deliveries > 10_000, "this has tried nothing");
    assert!(report.faults.len() >= 5, "this has tried nothing");
}

#[test]
fn over_the_embedded_log_nothing_is_lost_or_repeated_whatever_happens() {
    short(Source::Embedded, 25, 800.0);
}

#[test]
fn over_three_brokers_and_two_gateways_nothing_is_lost_or_repeated_whatever_happens() {
    short(Source::Kafka, 32, 400.0);
}

/// What `bench/soak` runs; its words come in the environment.
#[test]
#[ignore = "begun by hand: bench/soak"]
fn long() {
    let minutes: f64 = number("SOAK_MINUTES", 20.0);
    let source = std::env::var("SOAK_SOURCE").unwrap_or_default();
    let sources = match source.as_str() {
        "" | "both" => vec![Source::Embedded, Source::Kafka],
        "embedded" => vec![Source::Embedded],
        "kafka" => vec![Source::Kafka],
        other => panic!("SOAK_SOURCE: found {other:?}; embedded, kafka and both are accepted"),
    };
    let seconds = (minutes * 60.0) as u64 / sources.len() as u64;
    let mut reports: Vec<Report> = Vec::new();
    for source in sources {
        let setup = Setup {
            seed: number("SOAK_SEED", rand::random_range(1..1_000_000)),
            source,
            seconds,
            readers: number("SOAK_READERS", 40),
        };
        reports.push(run(&Order { setup, rate: number("SOAK_RATE", 500.0) }));
        println!("{}", reports[reports.len() - 1].markdown());
    }
    if let Ok(out) = std::env::var("SOAK_OUT") {
        keep(&PathBuf::from(out), &reports);
    }
    let wrong: Vec<_> = reports.iter().flat_map(Report::complaints).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Writes OUT.json and OUT.md.
fn keep(out: &std::path::Path, reports: &[Report]) {
    let json = serde_json::to_vec(reports).expect("plain data");
    std::fs::write(out.with_extension("json"), json).expect("the report can be written");
    let head = std::env::var("SOAK_HEAD").unwrap_or_default();
    let parts: Vec<_> = reports.iter().map(Report::markdown).collect();
    let text = format!("# soak\n\n{head}\n\n{}", parts.join("\n"));
    std::fs::write(out.with_extension("md"), text).expect("the report can be written");
}
