//! `tidegate log export`: every record that is kept as a line of JSON, for whatever comes next.
//!
//! ```text
//!  {"topic":"t","partition":0,"offset":7,"timestamp":1790000000000,"key":"k","value":{…}}
//! ```
//! A value that is JSON stands as it is, byte for byte; another one as `value_base64`, and so a key
//! that is no text. A tombstone is `null`.

use std::io::Write;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::{Record, TopicName, TopicPartition};
use crate::log::{Log, Settings};

/// Bytes of records that are read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Write all records as lines of JSON, topic by topic, in the order of their offsets
#[derive(Debug, clap::Args)]
#[command(after_help = "Opens the log as a gateway does: the torn end of a last write is cut. \
    Status 1 when a part is damaged; `tidegate log repair` sets it aside.")]
pub(crate) struct ExportArgs {
    /// Its folder
    dir: std::path::PathBuf,
    /// Only this topic; may be given several times
    #[arg(long = "topic", value_name = "NAME")]
    topics: Vec<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let dir = &args.dir;
    let log = Log::open_existing(Settings::new(dir));
    let log = log.with_context(|| format!("open the log in {}", dir.display()))?;
    let all = log.topics();
    for name in &args.topics {
        let is_there = all.iter().any(|(topic, _)| topic.as_str() == name);
        let names: Vec<_> = all.iter().map(|(topic, _)| topic.as_str()).collect();
        anyhow::ensure!(is_there, "--topic {name}: there is none; there are {}", names.join(", "));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let asked = |topic: &TopicName| {
        args.topics.is_empty() || args.topics.iter().any(|name| name == topic.as_str())
    };
    for (topic, partitions) in all.iter().filter(|(topic, _)| asked(topic)) {
        for partition in 0..*partitions {
            let tp = TopicPartition::new(topic.clone(), partition);
            export(&log, &tp, &mut out)?;
        }
    }
    out.flush().context("write")
}

fn export(log: &Log, tp: &TopicPartition, out: &mut impl Write) -> anyhow::Result<()> {
    let kept = log.watermarks(tp)?;
    let mut at = kept.start;
    while at < kept.end {
        let read = log.read(tp, at, kept.end, READ_BYTES);
        let read = read.with_context(|| format!("read {tp} from offset {at} on"))?;
        for record in &read.records {
            serde_json::to_writer(&mut *out, &line(tp, record)).context("write")?;
            out.write_all(b"\n").context("write")?;
        }
        anyhow::ensure!(read.next > at, "{tp}: nothing can be read from offset {at} on");
        at = read.next;
    }
    Ok(())
}

fn line<'a>(tp: &'a TopicPartition, record: &'a Record) -> Line<'a> {
    let value = record.value.as_deref();
    let json = value.and_then(|value| serde_json::from_slice::<&RawValue>(value).ok());
    // A line break between two tokens would end the line.
    let json = json.filter(|json| !json.get().contains(['\n', '\r']));
    let key = record.key.as_deref();
    let text = key.and_then(|key| std::str::from_utf8(key).ok());
    Line {
        topic: tp.topic.as_str(),
        partition: tp.partition.0,
        offset: record.offset.0,
        timestamp: record.time.0,
        key: text,
        key_base64: key.filter(|_| text.is_none()).map(|key| STANDARD.encode(key)),
        value: json,
        value_base64: value.filter(|_| json.is_none()).map(|value| STANDARD.encode(value)),
    }
}
