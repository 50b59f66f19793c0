//! What a run tells: as JSON all of it, as Markdown what a reader wants to know first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::gateways::Look;
use crate::lanes::Happened;
use crate::oracle::Verdict;
use crate::schedule::{Kind, Load, Setup};

/// Looks at the memory that the table shows.
const LOOKS_SHOWN: usize = 20;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the schedule was drawn for; with it the same one is drawn again.
    pub setup: Setup,
    /// Tells whether two schedules are the same.
    pub schedule: String,
    /// How a build is named that nobody has optimised.
    pub build: &'static str,
    /// Events a second at the usual load.
    pub rate: f64,
    /// Readers that pause and fall behind, besides the others.
    pub slow_readers: usize,
    /// From the first event to the last reader's end.
    pub seconds: f64,
    /// What the oracle says.
    pub verdict: Verdict,
    /// What happened that never may.
    pub odd: Vec<String>,
    /// Connections that were opened, and tries that came to nothing.
    pub connections: u64,
    /// See `connections`.
    pub refused: u64,
    /// Faults that were planned.
    pub planned: usize,
    /// Faults as they happened.
    pub faults: Vec<Happened>,
    /// How much was written when.
    pub loads: Vec<Load>,
    /// Most that a gateway's memory may be, in kB.
    pub resident_kb_max: u64,
    /// The gateways' memory.
    pub memory: Vec<Look>,
}

impl Report {
    /// What is wrong, a line each.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut all = self.odd.clone();
        if !self.verdict.is_clean() {
            all.push(format!("{:?}", self.verdict));
        }
        let never = self.faults.iter().filter(|fault| fault.recovery_ms.is_none());
        all.extend(never.map(|fault| format!("not recovered from within a minute: {fault:?}")));
        let most = self.memory.iter().flat_map(|look| &look.resident_kb).max().copied();
        if most.is_some_and(|most| most > self.resident_kb_max) {
            all.push(format!("a gateway had {most:?} kB; {} may be", self.resident_kb_max));
        }
        all
    }

    /// For people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Verdict { acknowledged, deliveries, lost, repeated, .. } = self.verdict;
        let mut text = format!(
            "## {:?}, seed {}\n\n\
             {} gateway(s), {} broker(s), {} readers and {} slow ones, {} events/s at the usual \
             load, {:.0} s, {} build; schedule {}.\n\n\
             | events written | deliveries | faults (planned) | lost | repeated | connections | refused |\n\
             | --: | --: | --: | --: | --: | --: | --: |\n\
             | {acknowledged} | {deliveries} | {} ({}) | {lost} | {repeated} | {} | {} |\n\n",
            self.setup.source,
            self.setup.seed,
            self.setup.source.gateways(),
            self.setup.source.brokers(),
            self.setup.readers,
            self.slow_readers,
            self.rate,
            self.seconds,
            self.build,
            self.schedule,
            self.faults.len(),
            self.planned,
            self.connections,
            self.refused,
        );
        let Verdict { disordered, wrong_ids, made_up, changed, .. } = self.verdict;
        let Verdict { gaps, gap_events, untrue_gaps, unacknowledged, .. } = self.verdict;
        let say = writeln!(
            text,
            "Out of order {disordered}, wrong ids {wrong_ids}, made up {made_up}, another event \
             under an offset {changed}. Gaps told {gaps} (events that retention had taken: \
             {gap_events}), untrue ones {untrue_gaps}. Events of unknown fate that were there: \
             {unacknowledged}.\n"
        );
        say.expect("a string takes everything");
        for complaint in self.complaints() {
            writeln!(text, "* **wrong**: {complaint}").expect("a string takes everything");
        }
        text + &self.recoveries() + "\n" + &self.memory()
    }

    fn recoveries(&self) -> String {
        let mut by_kind: BTreeMap<Kind, Vec<&Happened>> = BTreeMap::new();
        for fault in &self.faults {
            by_kind.entry(fault.fault.kind).or_default().push(fault);
        }
        let mut text = "Felt: from the fault's beginning until every reader had, of every \
                        partition, an event that was sent after it; recovered: the same from its \
                        end on. Other faults may be under way.\n\n\
                        | fault | times | lasts p50 ms | felt p50 ms | max | recovered p50 ms | \
                        max |\n| --- | --: | --: | --: | --: | --: | --: |\n"
            .to_owned();
        for (kind, faults) in by_kind {
            let of = |ms: fn(&Happened) -> Option<u64>| {
                let mut all: Vec<u64> = faults.iter().filter_map(|fault| ms(fault)).collect();
                all.sort_unstable();
                let middle = all.get(all.len() / 2).copied().unwrap_or(0);
                (middle, all.last().copied().unwrap_or(0))
            };
            let lasts = of(|fault| Some(fault.ended_ms - fault.begun_ms)).0;
            let (felt, felt_max) = of(|fault| fault.felt_ms);
            let (recovery, recovery_max) = of(|fault| fault.recovery_ms);
            let times = faults.len();
            writeln!(
                text,
                "| {kind:?} | {times} | {lasts} | {felt} | {felt_max} | {recovery} | {recovery_max} |"
            )
            .expect("a string takes everything");
        }
        text
    }

    fn memory(&self) -> String {
        let gateways = self.setup.source.gateways();
        let mut text =
            "Resident memory of the gateways, MB (0: it does not run).\n\n| s |".to_owned();
        (1..=gateways).for_each(|n| text += &format!(" gateway {n} |"));
        text += &format!("\n| --: |{}\n", " --: |".repeat(gateways));
        let step = self.memory.len().div_ceil(LOOKS_SHOWN).max(1);
        for look in self.memory.iter().step_by(step) {
            text += &format!("| {} |", look.at_ms / 1000);
            look.resident_kb.iter().for_each(|kb| text += &format!(" {} |", kb / 1024));
            text.push('\n');
        }
        let most = self.memory.iter().flat_map(|look| &look.resident_kb).max().unwrap_or(&0);
        text + &format!("\nMost: {} MB; may be: {} MB.\n", most / 1024, self.resident_kb_max / 1024)
    }
}
