//! eventsource-client (crates.io): reconnects by itself and sends the last id back. It says each
//! end and each cut as an error, after which it is read on.

use std::io::Read;
use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let url = std::env::args().nth(1).expect("a URL");
    let reconnect = ReconnectOptions::reconnect(true)
        .retry_initial(true)
        .delay(Duration::from_millis(100))
        .delay_max(Duration::from_secs(1))
        .build();
    let client = ClientBuilder::for_url(&url).expect("a URL").reconnect(reconnect).build_http();
    let mut events = client.stream();
    while let Some(event) = events.next().await {
        let Ok(SSE::Event(event)) = event else { continue };
        let event: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
        let meta = &event["meta"];
        let topic = meta["topic"].as_str().expect("a topic");
        println!("{topic} {} {}", meta["partition"], meta["offset"]);
    }
}
