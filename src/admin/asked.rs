//! What a request to `/admin/` asks for: its query and its body, with every mistake named.

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::Uri;
use ipnet::IpNet;
use toml::Table;

use super::problem::Problem;
use crate::config;

/// The query, of which every key has to be asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pairs: Vec<(String, String)>,
}

impl Asked {
    /// Reads a query in which nothing else may be than these keys, each once.
    pub(super) fn of(uri: &Uri, keys: &[&str]) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = pairs.unwrap_or_default();
        for (n, (key, _)) in pairs.iter().enumerate() {
            if !keys.contains(&key.as_str()) {
                let accepted = keys.join(", ");
                return Err(Problem::bad(format!("?{key}: accepted are {accepted}.")));
            }
            if pairs[..n].iter().any(|(other, _)| other == key) {
                return Err(Problem::bad(format!("?{key}: it is there twice.")));
            }
        }
        Ok(Self { pairs })
    }

    /// A text; empty is absent.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// How many are to be shown.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        const SHOWN: usize = 100;
        const SHOWN_MAX: usize = 1_000_000;
        let Some(text) = self.text("limit") else { return Ok(SHOWN) };
        let number = text.parse().ok().filter(|n| *n <= SHOWN_MAX);
        number.ok_or_else(|| wrong("limit", text, &format!("0 to {SHOWN_MAX}")))
    }

    /// One of several words; the first is the default.
    pub(super) fn choice<T: Copy>(&self, key: &str, of: &[(&str, T)]) -> Result<T, Problem> {
        let Some(text) = self.text(key) else { return Ok(of[0].1) };
        let found = of.iter().find(|(word, _)| *word == text);
        let words = || of.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.map(|(_, value)| *value).ok_or_else(|| wrong(key, text, &words()))
    }

    /// An address or a prefix.
    pub(super) fn prefix(&self, key: &str) -> Result<Option<IpNet>, Problem> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wrong = || wrong(key, text, "an address or a prefix such as 192.0.2.0/24");
        config::prefix(text).map(Some).ok_or_else(wrong)
    }
}

fn wrong(key: &str, found: &str, accepted: &str) -> Problem {
    Problem::bad(format!("?{key}: found \"{found}\"; {accepted} is accepted."))
}

/// A body that is a JSON object, read as the configuration is.
pub(super) fn object(body: &Bytes) -> Result<Table, Problem> {
    let no_object = |e| Problem::bad(format!("The body is no JSON object that can be read: {e}."));
    serde_json::from_slice(body).map_err(no_object)
}
