//! How the source, the topics, the streams and the service are, put together from checks.
//!
//! ```text
//!  source: reach ─┬─▶ topic: presence ─▶ stream: its topics, flow or canary ─┐
//!                 └──────────────────────────────────────────────────────────┴▶ service: room …
//! ```
//! A thing is at the level of the worst that concerns it, and of several that are as bad the one
//! nearest to the source is the cause. Pure: no I/O, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::check::{Check, Finding, Level, State, Terms, Word};
use crate::catalog::{Catalog, Stream};
use crate::limits::HEARD_WITHIN;

/// What has a health of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// This gateway, as its readers have it.
    Service,
    /// Where records come from.
    Source(Arc<str>),
    /// A topic.
    Topic(Arc<str>),
    /// A stream.
    Stream(Arc<str>),
}

impl Subject {
    /// `service`, `source`, `topic`, `stream`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Source(_) => "source",
            Self::Topic(_) => "topic",
            Self::Stream(_) => "stream",
        }
    }

    /// Its name; of the service `tidegate`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Service => "tidegate",
            Self::Source(name) | Self::Topic(name) | Self::Stream(name) => name,
        }
    }
}

/// What is checked of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Of a source: it answers.
    Reach,
    /// Of a topic: it exists.
    Presence,
    /// Of a stream without canaries: it has not fallen silent.
    Flow,
    /// Of a stream: canaries come through.
    Canary,
    /// Of the service: nobody is refused who holds less than the share of all.
    Room,
    /// Of the service: what operators decide is kept.
    Keeping,
    /// Of the service: it knows which streams there are.
    Knowing,
}

/// What there is to be checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The source's name.
    pub source: Arc<str>,
    /// Every stream with its topics.
    pub streams: Streams,
    /// Those whose canaries are watched, and by what terms; the flow of the others is.
    pub canaries: Option<(Vec<Arc<str>>, Terms)>,
    /// Of the source's reach.
    pub reach: Terms,
    /// Of all else.
    pub terms: Terms,
}

/// Streams by name, each with its topics.
pub type Streams = Vec<(Arc<str>, Vec<Arc<str>>)>;

/// The streams of a catalogue.
#[must_use]
pub fn streams_of(catalog: &Catalog) -> Streams {
    let topics = |stream: &Stream| stream.topics.iter().map(|t| t.as_str().into()).collect();
    catalog.streams().map(|stream| (Arc::clone(&stream.name), topics(stream))).collect()
}

impl Plan {
    /// The streams of a catalogue, without canaries, by the default terms.
    #[must_use]
    pub fn of(source: &str, catalog: &Catalog) -> Self {
        let hold = Duration::from_secs(5);
        let terms = Terms { heard_within: HEARD_WITHIN, patience: Duration::ZERO, hold };
        let reach = Terms { patience: Duration::from_secs(10), ..terms };
        let streams = streams_of(catalog);
        Self { source: source.into(), streams, canaries: None, reach, terms }
    }
}

/// A subject that is at another level now, or for another reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub subject: Subject,
    /// How it was.
    pub before: Finding,
    /// How it is.
    pub now: Finding,
}

/// The model.
#[derive(Debug)]
pub struct Model {
    source: Subject,
    streams: Vec<(Subject, Vec<Subject>)>,
    canaries: Option<(Vec<Arc<str>>, Terms)>,
    terms: Terms,
    checks: BTreeMap<(Subject, Aspect), Check>,
    states: BTreeMap<Subject, State>,
}

impl Model {
    /// A model that begins now.
    #[must_use]
    pub fn new(plan: Plan, now: Instant) -> Self {
        let Plan { source, streams, canaries, reach, terms } = plan;
        let source = Subject::Source(source);
        let own = [
            ((source.clone(), Aspect::Reach), Check::new(reach, now)),
            ((Subject::Service, Aspect::Room), Check::new(terms, now)),
            ((Subject::Service, Aspect::Keeping), Check::new(terms, now)),
            ((Subject::Service, Aspect::Knowing), Check::new(terms, now)),
        ];
        let (checks, states) = (BTreeMap::from(own), BTreeMap::new());
        let mut model = Self { source, streams: Vec::new(), canaries, terms, checks, states };
        model.follow(streams, now);
        model
    }

    /// From now on these streams are what is checked. How those were that are gone is returned.
    pub fn follow(&mut self, streams: Streams, now: Instant) -> Vec<(Subject, State)> {
        self.streams.clear();
        let mut wanted = BTreeMap::new();
        for (name, topics) in streams {
            let topics: Vec<_> = topics.into_iter().map(Subject::Topic).collect();
            let of_topics =
                topics.iter().map(|topic| ((topic.clone(), Aspect::Presence), self.terms));
            wanted.extend(of_topics);
            let canary = self.canaries.as_ref().filter(|(streams, _)| streams.contains(&name));
            let stream = Subject::Stream(name);
            match canary {
                Some((_, terms)) => wanted.insert((stream.clone(), Aspect::Canary), *terms),
                None => wanted.insert((stream.clone(), Aspect::Flow), self.terms),
            };
            self.streams.push((stream, topics));
        }
        let changes = |of: &Subject| matches!(of, Subject::Topic(_) | Subject::Stream(_));
        self.checks.retain(|check, _| !changes(&check.0) || wanted.contains_key(check));
        for (check, terms) in wanted {
            self.checks.entry(check).or_insert_with(|| Check::new(terms, now));
        }
        let stays = |of: &Subject| self.checks.range((of.clone(), Aspect::Reach)..).next();
        let gone: Vec<Subject> = self
            .states
            .keys()
            .filter(|of| changes(of) && stays(of).is_none_or(|((found, _), _)| found != *of))
            .cloned()
            .collect();
        let gone = gone.into_iter().filter_map(|of| self.states.remove_entry(&of)).collect();
        self.look(now);
        gone
    }

    /// Takes what was found. Of a subject that is not checked for this nothing is taken.
    pub fn found(&mut self, subject: Subject, aspect: Aspect, now: Instant, finding: Finding) {
        if let Some(check) = self.checks.get_mut(&(subject, aspect)) {
            check.found(now, finding);
        }
    }

    /// How everything is.
    #[must_use]
    pub fn states(&self) -> &BTreeMap<Subject, State> {
        &self.states
    }

    /// Brings everything up to now; what has changed is returned.
    pub fn look(&mut self, now: Instant) -> Vec<Change> {
        let mut found = BTreeMap::new();
        let source = self.worst_of(&self.source.clone(), now, None);
        found.insert(self.source.clone(), source.clone());
        let streams = std::mem::take(&mut self.streams);
        let mut of_service = vec![source.clone()];
        for (stream, topics) in &streams {
            let own: Vec<_> = topics.iter().map(|topic| self.worst_of(topic, now, None)).collect();
            let shared = Some(worse(source.clone(), of_topics(&own)));
            for (topic, own) in topics.iter().zip(own) {
                found.insert(topic.clone(), worse(source.clone(), own));
            }
            let finding = self.worst_of(stream, now, shared);
            of_service.push(Finding {
                says: format!("stream {}: {}", stream.name(), finding.says),
                ..finding.clone()
            });
            found.insert(stream.clone(), finding);
        }
        self.streams = streams;
        let shared = of_service.into_iter().reduce(worse);
        found.insert(Subject::Service, self.worst_of(&Subject::Service, now, shared));
        found
            .into_iter()
            .filter_map(|(subject, finding)| self.settle(subject, finding, now))
            .collect()
    }

    /// The worst of a subject's own checks and of what it shares with others.
    fn worst_of(&mut self, subject: &Subject, now: Instant, shared: Option<Finding>) -> Finding {
        let from = (subject.clone(), Aspect::Reach);
        let own = self.checks.range_mut(from..).take_while(|((of, _), _)| of == subject);
        let own = own.map(|(_, check)| check.at(now).finding.clone());
        shared.into_iter().chain(own).reduce(worse).unwrap_or_else(Finding::ok)
    }

    fn settle(&mut self, subject: Subject, finding: Finding, now: Instant) -> Option<Change> {
        let Some(state) = self.states.get_mut(&subject) else {
            self.states.insert(subject, State { finding, since: now });
            return None;
        };
        if state.finding.level != finding.level {
            state.since = now;
        }
        let before = std::mem::replace(&mut state.finding, finding.clone());
        let is_news = (before.level, before.word) != (finding.level, finding.word);
        is_news.then_some(Change { subject, before, now: finding })
    }
}

/// Of two that are as bad the first.
fn worse(one: Finding, other: Finding) -> Finding {
    if other.level > one.level { other } else { one }
}

/// What a stream has of its topics: with some it serves those, with none it is broken.
fn of_topics(topics: &[Finding]) -> Finding {
    let is_missing = |finding: &&Finding| finding.word == Word::NoTopic;
    let missing = topics.iter().filter(is_missing).count();
    if missing > 0 && missing == topics.len() {
        return Finding::critical(Word::NoTopic, "none of its topics exists");
    }
    topics.iter().cloned().reduce(worse).unwrap_or_else(Finding::ok)
}

/// How bad it is, as a number.
#[must_use]
pub fn number(level: Level) -> i64 {
    match level {
        Level::Ok => 0,
        Level::Degraded => 1,
        Level::Critical => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TERMS: Terms =
        Terms { heard_within: Duration::from_secs(30), patience: Duration::ZERO, hold: SECOND };

    fn model(now: Instant) -> Model {
        let streams = vec![
            ("a".into(), vec!["eqiad.a".into(), "codfw.a".into()]),
            ("b".into(), vec!["eqiad.b".into()]),
        ];
        let canaries = Some((vec!["b".into()], TERMS));
        let plan =
            Plan { source: "kafka.main".into(), streams, canaries, reach: TERMS, terms: TERMS };
        Model::new(plan, now)
    }

    fn source() -> Subject {
        Subject::Source("kafka.main".into())
    }
    fn topic(name: &str) -> Subject {
        Subject::Topic(name.into())
    }
    fn stream(name: &str) -> Subject {
        Subject::Stream(name.into())
    }

    fn all() -> Vec<(Subject, Aspect)> {
        vec![
            (source(), Aspect::Reach),
            (topic("eqiad.a"), Aspect::Presence),
            (topic("codfw.a"), Aspect::Presence),
            (topic("eqiad.b"), Aspect::Presence),
            (stream("a"), Aspect::Flow),
            (stream("b"), Aspect::Canary),
            (Subject::Service, Aspect::Room),
            (Subject::Service, Aspect::Keeping),
            (Subject::Service, Aspect::Knowing),
        ]
    }

    fn all_is_well(model: &mut Model, now: Instant) {
        for (subject, aspect) in all() {
            model.found(subject, aspect, now, Finding::ok());
        }
        model.look(now);
    }

    fn of<'a>(model: &'a Model, subject: &Subject) -> &'a Finding {
        &model.states()[subject].finding
    }

    #[test]
    fn streams_that_come_are_checked_and_of_those_that_go_nothing_is_left() {
        let start = Instant::now();
        let mut model = model(start);
        let streams = vec![
            ("b".into(), vec!["eqiad.b".into()]),
            ("c".into(), vec!["eqiad.a".into(), "eqiad.c".into()]),
        ];
        let gone = model.follow(streams, start);
        let gone: Vec<_> =
            gone.iter().map(|(subject, _)| (subject.kind(), subject.name())).collect();
        assert_eq!(gone, [("topic", "codfw.a"), ("stream", "a")]);
        let later = start + 31 * SECOND;
        model.look(later);
        let level = |of: Subject| model.states().get(&of).map(|state| state.finding.level);
        assert_eq!(level(Subject::Stream("a".into())), None);
        assert_eq!(level(Subject::Stream("c".into())), Some(Level::Critical), "not heard of");
        assert_eq!(level(Subject::Topic("eqiad.c".into())), Some(Level::Critical));
    }

    #[test]
    fn what_is_shared_is_everybodys_cause_and_is_said_once_for_each() {
        let start = Instant::now();
        let mut model = model(start);
        all_is_well(&mut model, start);
        assert!(model.states().values().all(|state| state.finding.level == Level::Ok));
        let at = start + SECOND;
        let gone = || Finding::critical(Word::Unreachable, "connection refused");
        model.found(source(), Aspect::Reach, at, gone());
        model.found(stream("b"), Aspect::Canary, at, Finding::critical(Word::CanaryLost, "lost"));
        let changes = model.look(at);
        assert_eq!(changes.len(), 7, "the source, three topics, two streams, the service");
        assert!(changes.iter().all(|change| change.now.word == Word::Unreachable), "{changes:?}");
        assert_eq!(model.look(at), []);
        assert_eq!(model.states()[&stream("b")].since, at);
    }

    #[test]
    fn a_stream_serves_the_topics_that_are_there_and_is_broken_with_none() {
        let start = Instant::now();
        let mut model = model(start);
        all_is_well(&mut model, start);
        let missing = |name: &str| Finding::degraded(Word::NoTopic, format!("no topic {name}"));
        model.found(topic("codfw.a"), Aspect::Presence, start, missing("codfw.a"));
        model.look(start);
        let a = of(&model, &stream("a"));
        assert_eq!((a.level, &*a.says), (Level::Degraded, "no topic codfw.a"));
        model.found(topic("eqiad.a"), Aspect::Presence, start, missing("eqiad.a"));
        model.look(start);
        let service = of(&model, &Subject::Service);
        assert_eq!(service.level, Level::Critical);
        assert_eq!(service.says, "stream a: none of its topics exists");
        assert_eq!(of(&model, &stream("b")).level, Level::Ok);
    }

    proptest! {
        #[test]
        fn no_sequence_of_observations_leaves_an_undetermined_state(
            steps in prop::collection::vec((0_usize..9, 0_u32..3, 0_u64..20), 0..80),
        ) {
            let start = Instant::now();
            let (mut model, mut now) = (model(start), start);
            let all = all();
            let mut heard: Vec<Option<Instant>> = vec![None; all.len()];
            for (which, level, seconds) in steps {
                now += Duration::from_secs(seconds);
                let (subject, aspect) = all[which].clone();
                let finding = match level {
                    0 => Finding::ok(),
                    1 => Finding::degraded(Word::NoTopic, "x"),
                    _ => Finding::critical(Word::Unreachable, "x"),
                };
                model.found(subject, aspect, now, finding);
                heard[which] = Some(now);
                model.look(now);
                for ((subject, _), heard) in all.iter().zip(&heard) {
                    let finding = of(&model, subject);
                    prop_assert_eq!(finding.level == Level::Ok, finding.word == Word::None);
                    if now - heard.unwrap_or(start) > TERMS.heard_within {
                        prop_assert_eq!(finding.level, Level::Critical);
                        prop_assert_eq!(of(&model, &Subject::Service).level, Level::Critical);
                    }
                }
                let worst = model.states().values().map(|state| state.finding.level).max();
                let service = of(&model, &Subject::Service).level;
                // A topic that is missing is not worse for the service than for its stream.
                prop_assert!(Some(service) <= worst);
            }
            all_is_well(&mut model, now + SECOND);
            all_is_well(&mut model, now + 3 * SECOND);
            prop_assert!(model.states().values().all(|s| s.finding.level == Level::Ok));
        }

        #[test]
        fn an_hour_of_quiet_raises_nothing(start_s in 0_u64..1000) {
            let start = Instant::now() + Duration::from_secs(start_s);
            let mut model = model(start);
            all_is_well(&mut model, start);
            for second in 1..3600 {
                let now = start + SECOND * second;
                for (subject, aspect) in all() {
                    model.found(subject, aspect, now, Finding::ok());
                }
                prop_assert_eq!(model.look(now), vec![]);
            }
        }
    }
}
