//! Lines of a file or of the standard input, made ready to be sent.
//!
//! Read on a thread of its own, since a read of a terminal or a pipe cannot be broken off. Between
//! it and the sender lies one chunk: the reader adds to it and waits while it is full, the sender
//! takes all of it when it is free. So memory is bounded, a lone event goes out at once, and the
//! chunks grow by themselves when events come faster than they can be sent.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::intake::event::{BadEvent, with_stream};
use crate::limits;

/// Bytes that are read ahead.
const BUFFER_BYTES: usize = 256 * 1024;
/// A chunk that has so many bytes, or lines, is full.
const CHUNK_BYTES: usize = 1024 * 1024;
const CHUNK_LINES: usize = 1000;
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
    /// Whether so many bytes more fit in. A line that is larger than a chunk goes alone.
    fn has_room(&self, bytes: usize) -> bool {
        let few = self.lines.len() + self.bad.len() < CHUNK_LINES;
        few && (self.event_bytes == 0 || self.event_bytes + bytes <= CHUNK_BYTES)
    }
}

/// The sender's end. Dropped, it makes the reader stop at its next line.
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The chunk has been taken, or nobody will take it any more.
    room: Condvar,
    /// There is something to be taken, or the end.
    news: Notify,
}

#[derive(Default)]
struct State {
    chunk: Chunk,
    /// How the input ended, until it has been told.
    end: Option<std::io::Result<()>>,
    ended: bool,
    abandoned: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Adds to the chunk when there is room; false: nobody takes it any more.
    fn put(&self, number: u64, line: Result<Option<String>, BadLine>, read_bytes: u64) -> bool {
        let bytes = line.as_ref().map_or(0, |event| event.as_ref().map_or(0, String::len));
        let full = |state: &mut State| !state.abandoned && !state.chunk.has_room(bytes);
        let mut state = self.room.wait_while(self.state(), full).expect("no holder panics");
        state.chunk.read_bytes += read_bytes;
        match line {
            Ok(Some(event)) => {
                state.chunk.event_bytes += event.len();
                state.chunk.lines.push(Line { number, event });
            }
            Ok(None) => {}
            Err(bad) => state.chunk.bad.push((number, bad)),
        }
        self.news.notify_one();
        !state.abandoned
    }
}

/// Starts to read.
pub(super) fn read(input: impl Read + Send + 'static, stream: String) -> Lines {
    let shared = Arc::<Shared>::default();
    let lines = Lines(Arc::clone(&shared));
    // Not joined: it may hang in a read for ever, and ends with the process.
    std::thread::spawn(move || {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let end = forward(&mut input, &stream, &shared);
        let mut state = shared.state();
        (state.end, state.ended) = (Some(end), true);
        shared.news.notify_one();
    });
    lines
}

fn forward(input: &mut impl BufRead, stream: &str, shared: &Shared) -> std::io::Result<()> {
    for number in 1.. {
        let mut read_bytes = 0;
        let Some(line) = next_line(input, &mut read_bytes)? else { break };
        let line = line.and_then(|line| prepared(&line, stream));
        if !shared.put(number, line, read_bytes) {
            break;
        }
    }
    Ok(())
}

impl Lines {
    /// All lines that have come since the last time; waits for one. `None` at the end.
    ///
    /// # Errors
    /// When the input could not be read on; what was read before has been given.
    pub(super) async fn next(&mut self) -> Option<std::io::Result<Chunk>> {
        loop {
            {
                let mut state = self.0.state();
                if !state.chunk.lines.is_empty() || !state.chunk.bad.is_empty() {
                    self.0.room.notify_one();
                    return Some(Ok(std::mem::take(&mut state.chunk)));
                }
                if state.ended {
                    return state.end.take()?.err().map(Err);
                }
            }
            self.0.news.notified().await;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.state().abandoned = true;
        self.0.room.notify_one();
    }
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
        let mut lines = read(Cursor::new(input), "s".to_owned());
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(chunk) = lines.next().await {
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
        let large = format!("{{\"x\":\"{}\"}}\n", "y".repeat(LINE_BYTES_MAX - 20));
        let input = [short.repeat(2000), long, short.clone(), large].concat().into_bytes();
        let length = u64::try_from(input.len()).expect("small");
        let (chunks, bytes) = all(input).await;
        assert!(chunks.iter().all(|c| c.event_bytes <= CHUNK_BYTES || c.lines.len() == 1));
        assert!(chunks.iter().all(|c| c.event_bytes <= limits::INTAKE_BODY_BYTES_MAX));
        assert!(chunks.iter().all(|c| c.lines.len() <= CHUNK_LINES));
        assert_eq!(chunks.iter().map(|c| c.lines.len()).sum::<usize>(), 2002);
        let bad: Vec<_> = chunks.iter().flat_map(|c| c.bad.clone()).collect();
        assert_eq!(bad, [(2001, BadLine::TooLong)]);
        let last = chunks.iter().flat_map(|c| &c.lines).next_back().expect("the last");
        assert_eq!(last.number, 2003);
        assert_eq!(bytes, length);
    }

    #[tokio::test]
    async fn a_line_goes_out_while_the_writer_pauses() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let mut lines = read(reader, "s".to_owned());
        for _ in 0..3 {
            std::io::Write::write_all(&mut writer, b"{}\n{").expect("the reader is there");
            let chunk = lines.next().await.expect("open").expect("no failure");
            assert_eq!(chunk.lines.len(), 1);
            std::io::Write::write_all(&mut writer, b"}\n").expect("the reader is there");
            let chunk = lines.next().await.expect("open").expect("no failure");
            assert_eq!(chunk.lines.len(), 1);
        }
    }

    #[tokio::test]
    async fn an_input_that_fails_gives_what_it_had_and_then_its_error() {
        struct Torn(bool);
        impl Read for Torn {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(std::io::Error::other("torn"));
                }
                into[..6].copy_from_slice(b"{}\n{}\n");
                Ok(6)
            }
        }
        let mut lines = read(Torn(false), "s".to_owned());
        let mut taken = 0;
        let error = loop {
            match lines.next().await.expect("an error before the end") {
                Ok(chunk) => taken += chunk.lines.len(),
                Err(error) => break error,
            }
        };
        assert_eq!((taken, error.to_string().as_str()), (2, "torn"));
        assert!(lines.next().await.is_none());
    }

    #[tokio::test]
    async fn the_reader_waits_for_room_and_stops_when_nobody_takes_its_lines() {
        struct Endless(Arc<Mutex<usize>>);
        impl Read for Endless {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                into[..3].copy_from_slice(b"{}\n");
                *self.0.lock().expect("no holder panics") += 1;
                Ok(3)
            }
        }
        let read_lines = Arc::<Mutex<usize>>::default();
        let count = || *read_lines.lock().expect("no holder panics");
        let lines = read(Endless(Arc::clone(&read_lines)), "s".to_owned());
        while count() < CHUNK_LINES + 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(count(), CHUNK_LINES + 1, "one more is in its hand");
        drop(lines);
        while Arc::strong_count(&read_lines) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
