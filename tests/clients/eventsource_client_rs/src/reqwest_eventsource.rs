//! reqwest-eventsource (crates.io): reconnects by itself and sends the last id back, an empty one
//! before the first. It says each end and each cut as an error, after which it is read on; a refusal
//! ends it.

use std::io::Read;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest_eventsource::retry::ExponentialBackoff;
use reqwest_eventsource::{Event, EventSource};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let url = std::env::args().nth(1).expect("a URL");
    let mut events = EventSource::get(url);
    let (first, most) = (Duration::from_millis(100), Some(Duration::from_secs(1)));
    events.set_retry_policy(Box::new(ExponentialBackoff::new(first, 2.0, most, None)));
    while let Some(event) = events.next().await {
        let Ok(Event::Message(event)) = event else { continue };
        let event: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
        let meta = &event["meta"];
        let topic = meta["topic"].as_str().expect("a topic");
        println!("{topic} {} {}", meta["partition"], meta["offset"]);
    }
    println!("gave up");
}
