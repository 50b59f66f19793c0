//! Where clients begin: the list that an operator gave, or a file of it that may change at run
//! time, and the brokers that the cluster itself has named last. Where none of these answers, those
//! too that it has named before: one that was away when the last one went may be back.
//!
//! Knows no client. Names are not resolved here: each client looks them up when it is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::client::KafkaConfigError;
use crate::config::is_broker;

/// How many of the brokers that a cluster names are remembered.
const SEEN_MAX: usize = 100;
/// For how long one is remembered that is not named any more: an address may be another cluster's
/// one day.
const FORMER_KEPT: Duration = Duration::from_secs(24 * 3600);
/// For how long it counts that nobody has answered.
const LOST_COUNTS: Duration = Duration::from_secs(60);

/// The list.
#[derive(Debug)]
pub(super) struct Brokers {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    given: Vec<String>,
    /// What the cluster has named, and when last; forgotten when another list is given, which may
    /// be of another cluster.
    seen: BTreeMap<String, Instant>,
    /// When it has named any.
    last: Option<Instant>,
    /// When nobody on the list has answered.
    lost: Option<Instant>,
    /// What the file said when it was looked at last, also where that is no list.
    text: Option<Result<String, String>>,
}

impl Brokers {
    /// The brokers of a list; or of a file, where there is one.
    ///
    /// # Errors
    /// A file that is no list.
    pub(super) fn new(given: Vec<String>, file: Option<PathBuf>) -> Result<Self, KafkaConfigError> {
        let Some(file) = file else {
            let state = State { given, ..State::default() };
            return Ok(Self { file: None, state: Mutex::new(state) });
        };
        let text = read(&file);
        let given = text.clone().and_then(|text| parse(&text));
        let given =
            given.map_err(|says| KafkaConfigError::BrokersFile { file: file.clone(), says })?;
        let state = State { given, text: Some(text), ..State::default() };
        Ok(Self { file: Some(file), state: Mutex::new(state) })
    }

    /// All of them, as a client takes them: the given ones first.
    pub(super) fn list(&self) -> String {
        let state = self.lock();
        let is_lost = state.lost.is_some_and(|at| at.elapsed() < LOST_COUNTS);
        let counts =
            |at: &Instant| Some(*at) == state.last || is_lost && at.elapsed() < FORMER_KEPT;
        let more = state.seen.iter().filter(|(_, at)| counts(at)).map(|(broker, _)| broker);
        let more = more.filter(|broker| !state.given.contains(broker));
        state.given.iter().chain(more).map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// Nobody on the list answers.
    pub(super) fn are_lost(&self) {
        self.lock().lost = Some(Instant::now());
    }

    /// Another list. False: it is the one that there is.
    pub(super) fn give(&self, given: Vec<String>) -> bool {
        let mut state = self.lock();
        let is_other = !given.is_empty() && state.given != given;
        if is_other {
            tracing::info!(brokers = given.join(","), "another list of brokers");
            *state = State { given, text: state.text.take(), ..State::default() };
        }
        is_other
    }

    /// Looks at the file. True: it says another list now. One that cannot be used changes nothing.
    pub(super) fn look(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let text = read(file);
        if self.lock().text.as_ref() == Some(&text) {
            return false;
        }
        self.lock().text = Some(text.clone());
        match text.and_then(|text| parse(&text)) {
            Ok(given) => self.give(given),
            Err(says) => {
                tracing::error!(file = %file.display(), says, "the old list of brokers is kept");
                false
            }
        }
    }

    /// The cluster names these.
    pub(super) fn saw(&self, brokers: impl IntoIterator<Item = String>) {
        let brokers = brokers.into_iter().filter(|broker| is_broker(broker));
        let now = Instant::now();
        let seen: BTreeMap<_, _> =
            brokers.map(bracketed).take(SEEN_MAX).map(|broker| (broker, now)).collect();
        if seen.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.seen.extend(seen);
        state.last = Some(now);
        while state.seen.len() > SEEN_MAX {
            let oldest = state.seen.iter().min_by_key(|(_, at)| **at);
            let oldest = oldest.map(|(broker, _)| broker.clone()).expect("there are some");
            state.seen.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// An IPv6 address as it can be told from its port; the cluster names it without brackets.
fn bracketed(broker: String) -> String {
    match broker.rsplit_once(':') {
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
            format!("[{host}]:{port}")
        }
        _ => broker,
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))
}

/// `host:port`, one a line or several with commas between; `#` begins a comment.
fn parse(text: &str) -> Result<Vec<String>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let all = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|b| !b.is_empty());
    let all: Vec<String> = all.map(str::to_owned).collect();
    match all.iter().find(|broker| !is_broker(broker)) {
        Some(wrong) => Err(format!("found \"{wrong}\"; host:port is accepted, one a line")),
        None if all.is_empty() => Err("names no broker; host:port is accepted, one a line".into()),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &Path) -> Result<Brokers, KafkaConfigError> {
        Brokers::new(Vec::new(), Some(file.to_owned()))
    }

    #[test]
    fn a_file_is_a_list_and_what_is_none_is_said_with_the_file_and_the_word() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("brokers");
        let missing = of(&file).expect_err("no file").to_string();
        assert!(missing.contains("brokers") && missing.contains("cannot be read"), "{missing}");
        std::fs::write(&file, "# ours\n a:1, b:2 # two\n\nc:3\n").expect("written");
        assert_eq!(of(&file).expect("a list").list(), "a:1,b:2,c:3");
        for (text, word) in
            [("a", "\"a\""), ("a:1,b:x", "\"b:x\""), ("# none\n", "names no broker")]
        {
            std::fs::write(&file, text).expect("written");
            let says = of(&file).expect_err("no list").to_string();
            assert!(says.contains(word), "{says}");
        }
    }

    #[test]
    fn a_file_that_changes_is_another_list_and_one_that_breaks_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("brokers");
        std::fs::write(&file, "a:1").expect("written");
        let brokers = of(&file).expect("a list");
        assert!(!brokers.look());
        for broken in ["", "nonsense", "b:2 c:3"] {
            std::fs::write(&file, broken).expect("written");
            assert!(!brokers.look());
        }
        std::fs::remove_file(&file).expect("removed");
        assert!(!brokers.look());
        assert_eq!(brokers.list(), "a:1");
        std::fs::write(&file, "a:1\n").expect("written");
        assert!(!brokers.look(), "the same list in other words");
        std::fs::write(&file, "b:2").expect("written");
        assert!(brokers.look());
        assert!(!brokers.look());
        assert_eq!(brokers.list(), "b:2");
    }

    #[test]
    fn what_the_cluster_names_is_added_and_forgotten_with_another_list() {
        let brokers = Brokers::new(vec!["a:1".into()], None).expect("a list");
        brokers.saw(["b:2".to_owned(), "a:1".to_owned(), "nonsense".to_owned()]);
        assert_eq!(brokers.list(), "a:1,b:2");
        brokers.saw([]);
        brokers.saw(["c:3".to_owned(), "fe80::1:9092".to_owned(), "[::1]:9092".to_owned()]);
        assert_eq!(brokers.list(), "a:1,[::1]:9092,[fe80::1]:9092,c:3");
        // One that is not named any more is asked again only where nobody else answers.
        brokers.are_lost();
        assert_eq!(brokers.list(), "a:1,[::1]:9092,[fe80::1]:9092,b:2,c:3");
        for n in 1..=SEEN_MAX {
            brokers.saw([format!("x:{n}")]);
        }
        assert!(
            !brokers.list().contains("b:2") && brokers.list().contains("x:1,"),
            "the oldest go"
        );
        assert!(!brokers.give(vec!["a:1".into()]));
        assert!(!brokers.give(Vec::new()));
        assert!(brokers.give(vec!["d:4".into()]));
        assert_eq!(brokers.list(), "d:4");
    }
}
