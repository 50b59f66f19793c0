//! `tidegate streams`: which streams a server has, by its OpenAPI document.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::way::{WayArgs, target};
use crate::visit::{Target, fetch};

const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Bytes of a document; one of a thousand streams with their schemas has some 20 MB.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
const ANY: &str = "/v2/stream/{streams}";

/// List the streams of an EventStreams-compatible server
#[derive(Debug, clap::Args)]
#[command(after_help = "tidegate streams https://stream.wikimedia.org")]
pub(super) struct StreamsArgs {
    /// The server
    #[arg(value_parser = target)]
    url: Target,
    /// As JSON: `[{name, alias_of, topics, description}]`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: WayArgs,
}

/// What a server says of a stream.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Listed {
    name: String,
    /// The stream that has this other name, where the server says it.
    alias_of: Option<String>,
    /// Where the server says them.
    topics: Vec<String>,
    description: String,
}

/// Runs it.
///
/// # Errors
/// The server cannot be asked, or its document lists no streams.
pub(super) fn run(args: &StreamsArgs) -> anyhow::Result<()> {
    let way = args.way.way(concat!("tidegate-streams/", env!("CARGO_PKG_VERSION")))?;
    let target = Target { path: "/?spec".to_owned(), ..args.url.clone() };
    let asked = async { timeout(ANSWER_MAX, fetch(&target, &way, DOCUMENT_BYTES_MAX)).await };
    let answer = super::one_thread()?.block_on(asked);
    let answer = answer.map_err(|_| anyhow!("no answer in {} s", ANSWER_MAX.as_secs()))??;
    let document: Value = serde_json::from_slice(&answer).context("the answer is no JSON")?;
    let all = listed(&document).context("the answer to /?spec lists no streams")?;
    let text = if args.json { serde_json::to_string_pretty(&all)? + "\n" } else { table(&all) };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// All streams of a document, in its order.
fn listed(document: &Value) -> Option<Vec<Listed>> {
    let paths = document["paths"].as_object()?;
    let names = &paths.get(ANY)?["get"]["parameters"][0]["schema"]["items"]["enum"];
    let path_of = |name: &str| {
        let named = |path: &&String| {
            let encoded = path.strip_prefix("/v2/stream/")?;
            Some(percent_decode_str(encoded).decode_utf8().ok()? == name)
        };
        paths.keys().find(|path| named(path) == Some(true)).and_then(|path| paths.get(path))
    };
    let one = |name: &str| {
        let nothing = Value::Null;
        let get = path_of(name).map_or(&nothing, |path| &path["get"]);
        let text = |key: &str| get[key].as_str().filter(|text| !text.is_empty());
        let topics = get["x-topics"].as_array().into_iter().flatten();
        Listed {
            name: name.to_owned(),
            alias_of: text("x-alias-of").map(str::to_owned),
            topics: topics.filter_map(|topic| topic.as_str().map(str::to_owned)).collect(),
            description: text("description").or(text("summary")).unwrap_or_default().to_owned(),
        }
    };
    names.as_array().map(|names| names.iter().filter_map(Value::as_str).map(one).collect())
}

fn table(all: &[Listed]) -> String {
    let width = all.iter().map(|one| one.name.chars().count()).max().unwrap_or_default();
    let line = |one: &Listed| {
        let alias = one.alias_of.as_ref().map(|name| format!("another name of {name}"));
        // A description's first line; what could drive a terminal is nobody's name.
        let said = alias.as_deref().or_else(|| one.description.lines().next()).unwrap_or_default();
        let line = format!("{:width$}  {said}", one.name);
        line.replace(char::is_control, " ").trim_end().to_owned() + "\n"
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_come_from_the_list_and_what_is_said_of_them_from_their_paths() {
        let names = json!(["a", "b b", "c"]);
        let any =
            json!({ "get": { "parameters": [{ "schema": { "items": { "enum": names } } }] } });
        let document = json!({ "paths": {
            ANY: any,
            "/v2/stream/a": { "get": { "description": "All of a.\nMore.", "x-topics": ["t"] } },
            "/v2/stream/b%20b": { "get": { "summary": "Of b", "x-alias-of": "a" } },
        } });
        let all = listed(&document).expect("streams");
        assert_eq!(all[0].topics, ["t"]);
        let expected = "a    All of a.\nb b  another name of a\nc\n";
        assert_eq!(table(&all), expected);
        assert!(listed(&json!({ "paths": {} })).is_none());
    }
}
