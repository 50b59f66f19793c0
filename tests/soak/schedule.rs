//! What happens when, drawn from a seed: faults and loads. No clock and no I/O here, so the same
//! seed gives the same schedule on every machine.
//!
//! Three lanes run beside each other, and within a lane nothing overlaps: at most one gateway, one
//! broker and one reader are in trouble at the same time. Of three brokers two always live, so no
//! fault makes a loss legitimate.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// Before the first fault everyone comes to their places.
const WARM_UP_MS: u64 = 3_000;
/// After the last fault of a lane.
const COOL_DOWN_MS: u64 = 1_000;

/// Where records come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The embedded log of one gateway.
    Embedded,
    /// Three brokers and two gateways.
    Kafka,
}

impl Source {
    /// How many gateways there are.
    #[must_use]
    pub fn gateways(self) -> usize {
        match self {
            Self::Embedded => 1,
            Self::Kafka => 2,
        }
    }

    /// How many brokers there are.
    #[must_use]
    pub fn brokers(self) -> usize {
        match self {
            Self::Embedded => 0,
            Self::Kafka => 3,
        }
    }
}

/// Who is in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A gateway, or the way to it.
    Gateway,
    /// A broker, or the way to it.
    Kafka,
    /// One reader.
    Reader,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// kill −9, and a new start after the fault's time.
    GatewayKill,
    /// The same, and half a batch stands at the end of its log.
    GatewayTorn,
    /// SIGTERM, and a new start after the fault's time.
    GatewayTerm,
    /// SIGSTOP, then SIGCONT.
    GatewayFreeze,
    /// All its readers' connections break.
    GatewayCut,
    /// Nothing passes between it and its readers, and nobody is told.
    GatewayHeld,
    /// kill −9, and a new start after the fault's time.
    BrokerKill,
    /// SIGTERM, and a new start after the fault's time.
    BrokerTerm,
    /// SIGSTOP, then SIGCONT.
    BrokerFreeze,
    /// All its clients' connections break.
    BrokerCut,
    /// Nothing passes between it and its clients, and nobody is told.
    BrokerHeld,
    /// Every partition that it leads gets another leader.
    LeaderMove,
    /// A reader is away while old records are removed.
    Retention,
    /// A reader stops reading.
    ReaderStall,
    /// A reader's connection breaks; it is back after the fault's time.
    ReaderCut,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// When it begins, from the run's beginning on. A lane that still waits for a recovery is late.
    pub at_ms: u64,
    /// How long it lasts; 0: a moment.
    pub for_ms: u64,
    /// Who is in trouble.
    pub lane: Lane,
    /// What happens.
    pub kind: Kind,
    /// To which gateway, broker or reader.
    pub target: usize,
    /// `Retention` over Kafka: so many records of each partition stay.
    pub keep: u32,
}

/// From a moment on, so much more than the usual is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// When, from the run's beginning on.
    pub at_ms: u64,
    /// Times the usual rate.
    pub factor: f64,
}

/// What a schedule is drawn for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Setup {
    /// Of everything that is drawn.
    pub seed: u64,
    /// Where records come from.
    pub source: Source,
    /// How long faults begin.
    pub seconds: u64,
    /// How many readers there are.
    pub readers: usize,
}

/// All that will happen, each lane in the order of its times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Schedule {
    /// Faults, by time.
    pub faults: Vec<Fault>,
    /// Loads, by time.
    pub loads: Vec<Load>,
}

impl Lane {
    /// What may happen here, as often as it stands here.
    fn kinds(self, source: Source) -> &'static [Kind] {
        use Kind::{
            BrokerCut, BrokerFreeze, BrokerHeld, BrokerKill, BrokerTerm, GatewayCut, GatewayFreeze,
            GatewayHeld, GatewayKill, GatewayTerm, GatewayTorn, LeaderMove, ReaderCut, ReaderStall,
            Retention,
        };
        match (self, source) {
            (Self::Gateway, Source::Embedded) => {
                &[GatewayKill, GatewayTorn, GatewayTerm, GatewayFreeze, GatewayCut, GatewayHeld]
            }
            (Self::Gateway, Source::Kafka) => {
                &[GatewayKill, GatewayTerm, GatewayFreeze, GatewayCut, GatewayHeld]
            }
            (Self::Kafka, Source::Embedded) => &[],
            (Self::Kafka, Source::Kafka) => &[
                BrokerKill,
                BrokerTerm,
                BrokerFreeze,
                BrokerCut,
                BrokerHeld,
                LeaderMove,
                Retention,
            ],
            (Self::Reader, Source::Embedded) => {
                &[ReaderStall, ReaderCut, ReaderStall, ReaderCut, ReaderCut, Retention]
            }
            (Self::Reader, Source::Kafka) => &[ReaderStall, ReaderCut, ReaderCut],
        }
    }

    /// The middle of the time between two faults, in ms.
    fn rest_ms(self) -> u64 {
        match self {
            Self::Gateway => 2_000,
            Self::Kafka => 3_000,
            Self::Reader => 1_000,
        }
    }
}

impl Kind {
    /// How long it may last, in ms.
    fn lasts_ms(self, source: Source) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::GatewayKill | Self::GatewayTorn | Self::GatewayTerm => 0..=1_500,
            Self::GatewayFreeze | Self::GatewayHeld => 300..=4_000,
            Self::GatewayCut | Self::BrokerCut | Self::LeaderMove => 0..=0,
            Self::BrokerKill | Self::BrokerTerm => 500..=6_000,
            // Shorter and longer than the session that makes Kafka elect.
            Self::BrokerFreeze | Self::BrokerHeld => 500..=10_000,
            Self::Retention if source == Source::Embedded => 8_000..=14_000,
            Self::Retention => 1_500..=4_000,
            // Shorter and longer than the time after which the gateway lets go.
            Self::ReaderStall => 500..=8_000,
            Self::ReaderCut => 0..=3_000,
        }
    }
}

impl Schedule {
    /// Draws it.
    #[must_use]
    pub fn draw(setup: &Setup) -> Self {
        let mut faults = Vec::new();
        for (n, lane) in [Lane::Gateway, Lane::Kafka, Lane::Reader].into_iter().enumerate() {
            // A lane's faults do not depend on how many another has.
            let rng = StdRng::seed_from_u64(setup.seed.wrapping_mul(31).wrapping_add(n as u64));
            faults.extend(draw_lane(setup, lane, rng));
        }
        faults.sort_by_key(|fault| (fault.at_ms, fault.lane));
        Self { faults, loads: draw_loads(setup) }
    }

    /// The faults of a lane.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> Vec<Fault> {
        self.faults.iter().filter(|fault| fault.lane == lane).cloned().collect()
    }

    /// How much is written at a moment, times the usual rate.
    #[must_use]
    pub fn load_at(&self, ms: u64) -> f64 {
        let begun = self.loads.iter().take_while(|load| load.at_ms <= ms);
        begun.last().map_or(1.0, |load| load.factor)
    }

    /// Eight digits that tell whether two schedules are the same.
    #[must_use]
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).expect("plain data");
        format!("{:08x}", crc32fast::hash(&json))
    }
}

fn draw_lane(setup: &Setup, lane: Lane, mut rng: StdRng) -> Vec<Fault> {
    let targets = match lane {
        Lane::Gateway => setup.source.gateways(),
        Lane::Kafka => setup.source.brokers(),
        Lane::Reader => setup.readers,
    };
    let (mut faults, mut at_ms) = (Vec::new(), WARM_UP_MS);
    while let Some(kind) = lane.kinds(setup.source).choose(&mut rng).copied() {
        at_ms += rng.random_range(lane.rest_ms() / 2..=lane.rest_ms() * 3 / 2);
        let for_ms = rng.random_range(kind.lasts_ms(setup.source));
        let target = match (kind, lane) {
            // Who is away is a reader, whoever removes the records.
            (Kind::Retention, _) => rng.random_range(0..setup.readers),
            _ => rng.random_range(0..targets),
        };
        let keep = if kind == Kind::Retention { rng.random_range(0..500) } else { 0 };
        if at_ms + for_ms + COOL_DOWN_MS > setup.seconds * 1000 {
            break;
        }
        faults.push(Fault { at_ms, for_ms, lane, kind, target, keep });
        at_ms += for_ms;
    }
    faults
}

fn draw_loads(setup: &Setup) -> Vec<Load> {
    let mut rng = StdRng::seed_from_u64(setup.seed.wrapping_mul(31).wrapping_add(3));
    let (mut loads, mut at_ms) = (Vec::new(), 0);
    while at_ms < setup.seconds * 1000 {
        let factor = *[0.3, 1.0, 1.0, 1.0, 2.0].choose(&mut rng).expect("not empty");
        loads.push(Load { at_ms, factor });
        at_ms += rng.random_range(4_000..20_000);
    }
    loads
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn setups() -> impl Strategy<Value = Setup> {
        let source = prop_oneof![Just(Source::Embedded), Just(Source::Kafka)];
        (any::<u64>(), source, 10..1_000_u64, 1..200_usize)
            .prop_map(|(seed, source, seconds, readers)| Setup { seed, source, seconds, readers })
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_schedule_and_another_another(setup in setups()) {
            let schedule = Schedule::draw(&setup);
            prop_assert_eq!(&schedule, &Schedule::draw(&setup));
            prop_assert_eq!(schedule.digest(), Schedule::draw(&setup).digest());
            let other = Schedule::draw(&Setup { seed: setup.seed.wrapping_add(1), ..setup });
            prop_assert_ne!(schedule.digest(), other.digest());
        }

        #[test]
        fn within_a_lane_nothing_overlaps_and_all_ends_in_time(setup in setups()) {
            let schedule = Schedule::draw(&setup);
            for lane in [Lane::Gateway, Lane::Kafka, Lane::Reader] {
                let faults = schedule.lane(lane);
                for pair in faults.windows(2) {
                    prop_assert!(pair[0].at_ms + pair[0].for_ms < pair[1].at_ms);
                }
                for fault in faults {
                    prop_assert!(fault.at_ms + fault.for_ms < setup.seconds * 1000);
                    let most = match (fault.kind, lane) {
                        (Kind::Retention, _) | (_, Lane::Reader) => setup.readers,
                        (_, Lane::Gateway) => setup.source.gateways(),
                        (_, Lane::Kafka) => setup.source.brokers(),
                    };
                    prop_assert!(fault.target < most);
                    prop_assert!(lane.kinds(setup.source).contains(&fault.kind));
                }
            }
        }

        #[test]
        fn a_longer_schedule_begins_as_the_shorter(setup in setups()) {
            let longer = Schedule::draw(&Setup { seconds: setup.seconds * 2, ..setup });
            for lane in [Lane::Gateway, Lane::Kafka, Lane::Reader] {
                let (short, long) = (Schedule::draw(&setup).lane(lane), longer.lane(lane));
                prop_assert!(long.len() >= short.len());
                prop_assert_eq!(&long[..short.len()], &short[..]);
            }
        }
    }

    #[test]
    fn ten_minutes_have_every_kind_many_times() {
        for source in [Source::Embedded, Source::Kafka] {
            let setup = Setup { seed: 1, source, seconds: 600, readers: 40 };
            let schedule = Schedule::draw(&setup);
            assert!(schedule.faults.len() >= 200, "{}", schedule.faults.len());
            for lane in [Lane::Gateway, Lane::Kafka, Lane::Reader] {
                for kind in lane.kinds(source) {
                    let times = schedule.faults.iter().filter(|fault| fault.kind == *kind).count();
                    assert!(times >= 5, "{kind:?}: {times}");
                }
            }
        }
    }

    #[test]
    fn the_load_changes_when_the_schedule_says_so() {
        let load = |at_ms, factor| Load { at_ms, factor };
        let loads = vec![load(0, 1.0), load(5_000, 2.0)];
        let schedule = Schedule { faults: Vec::new(), loads };
        assert_eq!([0, 4_999, 5_000, 90_000].map(|ms| schedule.load_at(ms)), [1.0, 1.0, 2.0, 2.0]);
    }
}
