//! What the intake says of events that it has taken.

use serde::Deserialize;

/// Where an event is.
#[derive(Debug, Deserialize)]
pub struct Written {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Written>,
}

/// The places in a 201, in the order of the events.
#[must_use]
pub fn written(answer: &[u8]) -> Vec<Written> {
    let Answer { results } = serde_json::from_slice(answer).expect("results");
    results
}
