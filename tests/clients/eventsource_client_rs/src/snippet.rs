//! Says the title of each event, and goes on after every end and every cut.

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).expect("a URL");
    let reconnect = ReconnectOptions::reconnect(true).retry_initial(true).build();
    let client = ClientBuilder::for_url(&url)?.reconnect(reconnect).build_http();
    let mut events = client.stream();
    while let Some(event) = events.next().await {
        // An end and a cut are errors, after which it goes on.
        let Ok(SSE::Event(event)) = event else { continue };
        let event: serde_json::Value = serde_json::from_str(&event.data)?;
        println!("{}", event["title"].as_str().unwrap_or_default());
    }
    Ok(())
}
