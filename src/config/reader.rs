//! Reads a table key by key and keeps every mistake, so that all are told at once.
//!
//! Knows TOML and nothing of what the keys mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use toml::{Table, Value};

/// One thing that is wrong in a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: `limits.streams`, `streams.recentchange.topics[1]`.
    pub key: String,
    /// What was found and what is accepted.
    pub says: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.says)
    }
}

/// What reading has brought up.
#[derive(Debug, Default)]
pub struct Findings {
    /// Everything that is wrong, in the order in which it was met.
    pub mistakes: Vec<Mistake>,
    /// Keys that could have been given and were not.
    pub left_out: Vec<String>,
    /// What each key that was asked for accepts, in words.
    pub accepted: BTreeMap<String, String>,
}

impl Findings {
    /// Keeps a mistake.
    pub fn add(&mut self, key: impl Into<String>, says: impl Into<String>) {
        self.mistakes.push(Mistake { key: key.into(), says: says.into() });
    }
}

/// A prefix, or the one of a single address. Not yet without host bits.
#[must_use]
pub fn prefix(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}

/// One table of the config.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    table: Option<&'a Table>,
    known: BTreeSet<&'a str>,
}

/// A type that a value can be taken as.
trait Take<'a>: Sized {
    const IS: &'static str;
    fn take(value: &'a Value) -> Option<Self>;
}

impl<'a> Take<'a> for &'a str {
    const IS: &'static str = "a text";
    fn take(value: &'a Value) -> Option<Self> {
        value.as_str()
    }
}

impl Take<'_> for bool {
    const IS: &'static str = "true or false";
    fn take(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Take<'_> for i64 {
    const IS: &'static str = "a whole number";
    fn take(value: &Value) -> Option<Self> {
        value.as_integer()
    }
}

impl<'a> Take<'a> for &'a Table {
    const IS: &'static str = "a table";
    fn take(value: &'a Value) -> Option<Self> {
        value.as_table()
    }
}

impl<'a> Take<'a> for Vec<&'a str> {
    const IS: &'static str = "a list of texts";
    fn take(value: &'a Value) -> Option<Self> {
        value.as_array()?.iter().map(Value::as_str).collect()
    }
}

impl<'a> Section<'a> {
    /// The table at `path`; `None`: it is not there, every key has its default.
    #[must_use]
    pub fn new(path: &str, table: Option<&'a Table>) -> Self {
        Self { path: path.to_owned(), table, known: BTreeSet::new() }
    }

    /// The full name of a key.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn get<T: Take<'a>>(&mut self, key: &'a str, found: &mut Findings) -> Option<T> {
        self.known.insert(key);
        found.accepted.insert(self.key(key), T::IS.to_owned());
        let Some(value) = self.table.and_then(|t| t.get(key)) else {
            found.left_out.push(self.key(key));
            return None;
        };
        let taken = T::take(value);
        if taken.is_none() {
            let says = format!("found {}; {} is accepted", describe(value), T::IS);
            found.add(self.key(key), says);
        }
        taken
    }

    /// A text, if it is given.
    pub fn text(&mut self, key: &'a str, found: &mut Findings) -> Option<&'a str> {
        self.get(key, found)
    }

    /// A text, parsed by `parse`, whose error says what is accepted.
    pub fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &'a str,
        default: T,
        found: &mut Findings,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        let Some(text) = self.text(key, found) else { return default };
        parse(text).unwrap_or_else(|error| {
            found.add(self.key(key), format!("found \"{text}\"; {error}"));
            default
        })
    }

    /// A switch.
    pub fn flag(&mut self, key: &'a str, default: bool, found: &mut Findings) -> bool {
        self.get(key, found).unwrap_or(default)
    }

    /// A whole number within `range`.
    pub fn number(
        &mut self,
        key: &'a str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
        found: &mut Findings,
    ) -> u64 {
        let number = self.get::<i64>(key, found);
        let (low, high) = (range.start(), range.end());
        found.accepted.insert(self.key(key), format!("{low} to {high}"));
        let Some(number) = number else { return default };
        match u64::try_from(number) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let says = format!("found {number}; {low} to {high} is accepted");
                found.add(self.key(key), says);
                default
            }
        }
    }

    /// A list of texts.
    pub fn list(&mut self, key: &'a str, found: &mut Findings) -> Vec<&'a str> {
        self.get(key, found).unwrap_or_default()
    }

    /// A list of addresses and prefixes.
    pub fn prefixes(&mut self, key: &'a str, found: &mut Findings) -> Vec<IpNet> {
        let mut all = Vec::new();
        for text in self.list(key, found) {
            match prefix(text) {
                Some(prefix) => all.push(prefix),
                None => found.add(
                    self.key(key),
                    format!(
                        "found \"{text}\"; an address or a prefix such as 10.0.0.0/8 is accepted"
                    ),
                ),
            }
        }
        all
    }

    /// A table inside this one.
    pub fn table(&mut self, key: &'a str, found: &mut Findings) -> Option<&'a Table> {
        self.known.insert(key);
        found.accepted.insert(self.key(key), <&Table>::IS.to_owned());
        let value = self.table.and_then(|t| t.get(key))?;
        let taken = <&Table>::take(value);
        if taken.is_none() {
            found.add(self.key(key), format!("found {}; a table is accepted", describe(value)));
        }
        taken
    }

    /// Says every key that nobody asked for, with the nearest one that is known.
    pub fn finish(self, found: &mut Findings) {
        for key in self.table.into_iter().flat_map(Table::keys) {
            if self.known.contains(key.as_str()) {
                continue;
            }
            let known = self.known.iter().copied();
            let says = match known.clone().min_by_key(|k| distance(k, key)) {
                Some(near) if distance(near, key) <= 3 => {
                    format!("there is no such key; did you mean `{near}`?")
                }
                _ if self.known.is_empty() => "there is no such key, and no other".to_owned(),
                _ => format!(
                    "there is no such key; accepted are {}",
                    known.collect::<Vec<_>>().join(", ")
                ),
            };
            found.add(self.key(key), says);
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text \"{text}\""),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => format!("the time {time}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// How many letters differ (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (corner + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
