//! How long a large embedded log takes to open, what it holds in memory, and how fast it is read,
//! against plain reads of the same files in the same run.
//!
//! ```text
//! cargo run --release --example log_open -- build DIR [MB] [APPENDS AT ONCE]
//! cargo run --release --example log_open -- measure DIR
//! ```
//! Two processes, so that what building took in memory is not measured. Between measurements the
//! files are dropped from the page cache where it says "cold".

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use tidegate::event::{Offset, TimestampMs, TopicName, TopicPartition};
use tidegate::log::{Log, Settings};
use tidegate::source::NewRecord;
use tokio::task::JoinSet;

const TOPICS: [&str; 2] = ["eqiad.mediawiki.recentchange", "codfw.mediawiki.recentchange"];
const PARTITIONS: usize = 3;
/// What a value comes to, on average: that of MediaWiki's recentchange.
const VALUE_BYTES: usize = 1200;
const MB: u64 = 1 << 20;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match args[..] {
        ["build", dir] => runtime.block_on(build(dir.as_ref(), 10 * 1024, 256)),
        ["build", dir, mb] => runtime.block_on(build(dir.as_ref(), mb.parse()?, 256)),
        ["build", dir, mb, n] => runtime.block_on(build(dir.as_ref(), mb.parse()?, n.parse()?)),
        ["measure", dir] => runtime.block_on(measure(dir.as_ref())),
        _ => anyhow::bail!("log_open build DIR [MB] [APPENDS AT ONCE] | log_open measure DIR"),
    }
}

/// Writes until the folder has so many MB.
async fn build(dir: &Path, mb: u64, at_once: usize) -> anyhow::Result<()> {
    let log = Log::open(Settings::new(dir))?;
    for topic in TOPICS {
        log.create_topic(&TopicName::new(topic)?, PARTITIONS).await?;
    }
    let (mut written, begun) = (0u64, Instant::now());
    let mut appends = JoinSet::new();
    let text: Bytes = rand::rng().random_iter::<u8>().take(1 << 20).collect::<Vec<_>>().into();
    let mut n = 0u64;
    while written < mb * MB {
        let size = rand::rng().random_range(VALUE_BYTES / 2..VALUE_BYTES * 3 / 2);
        let from = rand::rng().random_range(0..text.len() - size);
        let record = NewRecord {
            topic: TopicName::new(TOPICS[usize::from(n.is_multiple_of(5))])?,
            key: Some(Bytes::from(format!("page {}", n % 10_007))),
            value: text.slice(from..from + size),
            time: TimestampMs::now(),
        };
        (written, n) = (written + size as u64, n + 1);
        let log = Arc::clone(&log);
        appends.spawn(async move { log.append(record).await });
        if appends.len() >= at_once
            && let Some(appended) = appends.join_next().await
        {
            appended??;
        }
    }
    while let Some(appended) = appends.join_next().await {
        appended??;
    }
    log.close().await;
    let took = begun.elapsed();
    println!("written: {n} records, {} in {took:.1?}", speed(written, took));
    Ok(())
}

async fn measure(dir: &Path) -> anyhow::Result<()> {
    let segments = segments(dir)?;
    let bytes = segments.iter().map(|s| Ok(s.metadata()?.len())).sum::<anyhow::Result<u64>>()?;
    println!("segments: {}, {:.2} GB", segments.len(), bytes as f64 / 1e9);
    let last = segments.last().map_or(Ok(0), |s| s.metadata().map(|m| m.len()))?;
    println!("scanned at open (the last segment): {:.1} MB", last as f64 / 1e6);
    for state in ["cold", "warm"] {
        if state == "cold" {
            forget(dir)?;
        }
        let (before, begun) = (resident()?, Instant::now());
        let log = Log::open(Settings::new(dir))?;
        let (took, now) = (begun.elapsed(), resident()?);
        println!("open, {state}: {took:.1?}; resident {before} kB before, {now} kB after");
        log.close().await;
    }
    let log = Log::open(Settings::new(dir))?;
    look_up(&log)?;
    for state in ["cold", "warm"] {
        forget_if(state == "cold", dir)?;
        let plain = plain(dir)?;
        forget_if(state == "cold", dir)?;
        let (records, size, took) = read_all(&log)?;
        println!("plain reads, {state}: {}", speed(bytes, plain));
        let ratio = (size as f64 / took.as_secs_f64()) / (bytes as f64 / plain.as_secs_f64());
        println!("read, {state}: {records} records, {}; {ratio:.2} of plain", speed(size, took));
    }
    println!("resident after all reads: {} kB", resident()?);
    Ok(())
}

fn partitions() -> impl Iterator<Item = TopicPartition> {
    let topics = TOPICS.into_iter().map(|name| TopicName::new(name).expect("a legal name"));
    let all = 0..i32::try_from(PARTITIONS).expect("few");
    topics.flat_map(move |topic| all.clone().map(move |p| TopicPartition::new(topic.clone(), p)))
}

/// Reads every partition in ranges of 1 MB; records, bytes of their values, time.
fn read_all(log: &Log) -> anyhow::Result<(u64, u64, Duration)> {
    let (mut records, mut bytes, begun) = (0, 0, Instant::now());
    for tp in partitions() {
        let marks = log.watermarks(&tp)?;
        let mut from = marks.start;
        while from < marks.end {
            let read = log.read(&tp, from, marks.end, 1 << 20)?;
            records += read.records.len() as u64;
            let sizes = read.records.iter().map(|r| r.value.as_ref().map_or(0, Bytes::len));
            bytes += sizes.sum::<usize>() as u64;
            from = read.next;
        }
    }
    Ok((records, bytes, begun.elapsed()))
}

/// Look-ups by time and reads of one record, at random places.
fn look_up(log: &Log) -> anyhow::Result<()> {
    let (mut times, mut reads) = (Vec::new(), Vec::new());
    let all: Vec<_> = partitions().collect();
    for n in 0..1000 {
        let tp = &all[n % all.len()];
        let marks = log.watermarks(tp)?;
        let from = Offset(rand::rng().random_range(marks.start.0..marks.end.0));
        let begun = Instant::now();
        let read = log.read(tp, from, from.next(), 1)?;
        reads.push(begun.elapsed());
        let begun = Instant::now();
        anyhow::ensure!(log.offset_at(tp, read.records[0].time)?.is_some(), "it is there");
        times.push(begun.elapsed());
    }
    for (what, mut took) in [("read of one record", reads), ("look-up by time", times)] {
        took.sort_unstable();
        println!("{what}: median {:.1?}, 99 % in {:.1?}", took[500], took[990]);
    }
    Ok(())
}

/// Reads all segments from end to end in pieces of 1 MB.
fn plain(dir: &Path) -> anyhow::Result<Duration> {
    let (mut buffer, begun) = (vec![0; 1 << 20], Instant::now());
    for segment in segments(dir)? {
        let (file, mut at) = (File::open(segment)?, 0);
        loop {
            match file.read_at(&mut buffer, at)? {
                0 => break,
                n => at += n as u64,
            }
        }
    }
    Ok(begun.elapsed())
}

fn segments(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let all = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let mut all = all.collect::<anyhow::Result<Vec<_>>>()?;
    all.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    all.sort_unstable();
    Ok(all)
}

fn forget_if(wanted: bool, dir: &Path) -> anyhow::Result<()> {
    if wanted { forget(dir) } else { Ok(()) }
}

/// Drops the files from the page cache.
fn forget(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Memory that this process has, in kB.
fn resident() -> anyhow::Result<u64> {
    let mut status = String::new();
    File::open("/proc/self/status")?.read_to_string(&mut status)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.ok_or_else(|| anyhow::anyhow!("no VmRSS"))?.trim().parse()?)
}

fn speed(bytes: u64, took: Duration) -> String {
    format!("{:.0} MB/s", bytes as f64 / 1e6 / took.as_secs_f64())
}
