//! Lines of a file or of the standard input, made ready to be sent, in chunks of bounded size.
//!
//! Read on a thread of its own, since a read of a terminal or a pipe cannot be broken off. The
//! channel holds so few chunks that memory stays bounded however far the target is behind. A
//! chunk goes out as soon as nothing more is there to be read, so events of a slow pipe go out
//! one by one and those of a file by the hundred.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc;

use crate::intake::event::{BadEvent, with_stream};
use crate::limits;

/// Bytes that are read ahead.
const BUFFER_BYTES: usize = 256 * 1024;
/// A chunk that has so many bytes, or lines, goes out.
const CHUNK_BYTES: usize = 512 * 1024;
const CHUNK_LINES: usize = 1000;
/// Chunks that wait to be sent.
const CHUNKS_WAITING: usize = 2;
/// Bytes of one line; what the intake takes as a body, less the room for `meta.stream`.
const LINE_BYTES_MAX: usize = limits::INTAKE_BODY_BYTES_MAX - 4096;

/// One event, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// A JSON object with `meta.stream`, on one line.
    pub(super) event: String,
}

/// Why a line is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    #[error(transparent)]
    Event(#[from] BadEvent),
    #[error("this is no UTF-8 from byte {0}; one JSON object in UTF-8 is accepted")]
    NotUtf8(usize),
    #[error("the line is longer than {LINE_BYTES_MAX} bytes, which are accepted")]
    TooLong,
}

/// Some lines in their order.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) lines: Vec<Line>,
    /// Lines that are no event, by number.
    pub(super) bad: Vec<(u64, BadLine)>,
    /// Bytes of the input that this chunk stands for.
    pub(super) read_bytes: u64,
    event_bytes: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.event_bytes >= CHUNK_BYTES || self.lines.len() + self.bad.len() >= CHUNK_LINES
    }
}

/// Starts to read. The channel ends with the input; a failure of the input is its last word.
pub(super) fn read(
    input: impl Read + Send + 'static,
    stream: String,
) -> mpsc::Receiver<std::io::Result<Chunk>> {
    let (out, chunks) = mpsc::channel(CHUNKS_WAITING);
    // Not joined: it may hang in a read for ever, and ends with the process or with the channel.
    std::thread::spawn(move || {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        if let Err(error) = forward(&mut input, &stream, &out) {
            let _ = out.blocking_send(Err(error));
        }
    });
    chunks
}

fn forward(
    input: &mut BufReader<impl Read>,
    stream: &str,
    out: &mpsc::Sender<std::io::Result<Chunk>>,
) -> std::io::Result<()> {
    let mut chunk = Chunk::default();
    for number in 1.. {
        let Some(line) = next_line(input, &mut chunk.read_bytes)? else { break };
        match line.and_then(|line| prepared(&line, stream)) {
            Ok(Some(event)) => {
                chunk.event_bytes += event.len();
                chunk.lines.push(Line { number, event });
            }
            Ok(None) => {}
            Err(bad) => chunk.bad.push((number, bad)),
        }
        let more_is_here = input.buffer().contains(&b'\n');
        if chunk.is_full() || !more_is_here {
            let full = std::mem::take(&mut chunk);
            if out.blocking_send(Ok(full)).is_err() {
                return Ok(());
            }
        }
    }
    let _ = out.blocking_send(Ok(chunk));
    Ok(())
}

type MaybeLine = Result<Vec<u8>, BadLine>;

/// The next line without its end; `None` at the end of the input.
fn next_line(input: &mut impl BufRead, read_bytes: &mut u64) -> std::io::Result<Option<MaybeLine>> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX + 1).expect("some megabytes");
    let read = input.take(limit).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    let mut all = read;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > LINE_BYTES_MAX {
        all += pass_over(input)?;
        *read_bytes += u64::try_from(all).unwrap_or(u64::MAX);
        return Ok(Some(Err(BadLine::TooLong)));
    }
    *read_bytes += u64::try_from(all).unwrap_or(u64::MAX);
    Ok(Some(Ok(line)))
}

/// Reads to the end of the line and keeps nothing.
fn pass_over(input: &mut impl BufRead) -> std::io::Result<usize> {
    let mut passed = 0;
    loop {
        let here = input.fill_buf()?;
        let end = here.iter().position(|&b| b == b'\n').map(|at| at + 1);
        let (count, is_last) = (end.unwrap_or(here.len()), end.is_some() || here.is_empty());
        input.consume(count);
        passed += count;
        if is_last {
            return Ok(passed);
        }
    }
}

fn prepared(line: &[u8], stream: &str) -> Result<Option<String>, BadLine> {
    let text = std::str::from_utf8(line).map_err(|error| BadLine::NotUtf8(error.valid_up_to()))?;
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(with_stream(text, stream)?.into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    async fn all(input: Vec<u8>) -> (Vec<Chunk>, u64) {
        let mut chunks = read(Cursor::new(input), "s".to_owned());
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.expect("in memory");
            bytes += chunk.read_bytes;
            all.push(chunk);
        }
        (all, bytes)
    }

    #[tokio::test]
    async fn lines_keep_their_numbers_across_empty_and_bad_ones() {
        let input = b"{}\r\n\n \n[1]\n\xff\n{\"meta\":{\"stream\":\"x\"}}".to_vec();
        let length = u64::try_from(input.len()).expect("small");
        let (chunks, bytes) = all(input).await;
        let lines: Vec<_> = chunks.iter().flat_map(|c| c.lines.clone()).collect();
        let line = |number, event: &str| Line { number, event: event.to_owned() };
        let first = line(1, r#"{"meta":{"stream":"s"}}"#);
        assert_eq!(lines, [first, line(6, r#"{"meta":{"stream":"x"}}"#)]);
        let bad: Vec<_> = chunks.iter().flat_map(|c| c.bad.clone()).collect();
        let array = BadLine::Event(BadEvent::NotObject("an array"));
        assert_eq!(bad, [(4, array), (5, BadLine::NotUtf8(0))]);
        assert_eq!(bytes, length);
    }

    #[tokio::test]
    async fn a_chunk_is_bounded_and_a_line_that_is_too_long_is_passed_over() {
        let long = format!("{{\"x\":\"{}\"}}\n", "y".repeat(LINE_BYTES_MAX));
        let short = format!("{{\"x\":\"{}\"}}\n", "y".repeat(1000));
        let input = [short.repeat(2000), long, short.clone()].concat().into_bytes();
        let length = u64::try_from(input.len()).expect("small");
        let (chunks, bytes) = all(input).await;
        assert!(chunks.iter().all(|c| c.event_bytes < CHUNK_BYTES + 2 * short.len()));
        assert!(chunks.iter().all(|c| c.lines.len() <= CHUNK_LINES));
        assert_eq!(chunks.iter().map(|c| c.lines.len()).sum::<usize>(), 2001);
        let bad: Vec<_> = chunks.iter().flat_map(|c| c.bad.clone()).collect();
        assert_eq!(bad, [(2001, BadLine::TooLong)]);
        let last = chunks.iter().flat_map(|c| &c.lines).next_back().expect("the last");
        assert_eq!(last.number, 2002);
        assert_eq!(bytes, length);
    }

    #[tokio::test]
    async fn a_line_goes_out_while_the_writer_pauses() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let mut chunks = read(reader, "s".to_owned());
        for _ in 0..3 {
            std::io::Write::write_all(&mut writer, b"{}\n{").expect("the reader is there");
            let chunk = chunks.recv().await.expect("open").expect("no failure");
            assert_eq!(chunk.lines.len(), 1);
            std::io::Write::write_all(&mut writer, b"}\n").expect("the reader is there");
            let chunk = chunks.recv().await.expect("open").expect("no failure");
            assert_eq!(chunk.lines.len(), 1);
        }
    }
}
