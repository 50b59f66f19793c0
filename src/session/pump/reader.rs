//! One reader in its lane, and how it is written to when it has a place of its own.
//!
//! ```text
//!  at its lane's place ── socket full, something of its own to say ──▶ Lag ──▶ caught up: back
//!                                                                       └──▶ off the ring: leaves
//! ```

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::time::Instant;

use super::super::state::{EndReason, State};
use super::super::{Got, Presence};
use super::batch::{Batch, Measure, Next, Stand};
use super::lane::Lane;
use crate::feed::encode;
use crate::feed::vector::Cursor;
use crate::limits::PACE_GRACE;

/// Bytes and frames that a reader with a place of its own gets in one write.
const CATCH_UP: Measure = Measure { bytes: 128 * 1024, frames: 256 };
/// One frame, where what follows it depends on it.
const ONE: Measure = Measure { bytes: 1, frames: 1 };
/// A reader in its lane.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) socket: std::net::TcpStream,
    /// Bytes of the client that were dropped.
    pub(super) dropped: u16,
    pub(super) state: State,
    /// What it has got is counted from what its lane has, while it is where its lane is.
    pub(super) presence: Presence,
    /// Where it is, if not where its lane is.
    pub(super) lag: Option<Box<Lag>>,
    /// Where it is in the text of its encoding, if it has one.
    pub(super) packed: Option<Box<encode::Reader>>,
}

const _: () = assert!(size_of::<Option<Reader>>() <= crate::limits::SLOT_BYTES_MAX);

/// A place of a reader's own.
#[derive(Debug)]
pub(super) struct Lag {
    pub(super) cursor: Cursor,
    /// What is left of the frame that it is inside.
    pub(super) rest: Bytes,
    /// When its socket last took something.
    pub(super) since: Instant,
    /// When it fell behind.
    began: Instant,
    /// Bytes that its socket has taken since.
    taken: u64,
}

impl Lag {
    pub(super) fn new(cursor: Cursor, rest: Bytes, now: Instant) -> Self {
        Self { cursor, rest, since: now, began: now, taken: 0 }
    }

    fn took(&mut self, n: usize, now: Instant) {
        self.since = now;
        self.taken += n as u64;
    }

    /// Whether a tail in a hurry has to wait for it: it takes bytes as fast as that one goes.
    pub(super) fn keeps_pace(&self, now: Instant, least_bytes_s: u64) -> bool {
        let since = now.saturating_duration_since(self.began);
        let rest = since.saturating_sub(PACE_GRACE);
        self.taken as f64 >= rest.as_secs_f64() * least_bytes_s as f64
    }
}

impl Reader {
    /// What it has got, in a lane that has got `lane`.
    pub(super) fn got(&self, lane: Got) -> Got {
        let own = self.presence.got;
        if self.lag.is_some() { own } else { lane.and(own) }
    }

    /// It has a place of its own from now on.
    pub(super) fn falls_behind(&mut self, lag: Lag, lane: Got) {
        self.presence.got = self.got(lane);
        self.lag = Some(Box::new(lag));
    }

    /// It is where its lane is, which has got `lane`.
    pub(super) fn is_back(&mut self, lane: Got) {
        if self.lag.take().is_some() {
            self.presence.got = self.presence.got.without(lane);
        }
    }
}

/// How a reader leaves.
pub(super) enum Leave {
    /// Nobody is there any more, or the connection is reset.
    Gone(EndReason),
    /// The stream ends as it should, after what is still to be written.
    End(EndReason, Bytes),
    /// It has fallen off the ring.
    FellOff(Cursor, Bytes),
}

/// What became of a batch at a reader that was up to date.
pub(super) enum Written {
    /// It took all of it.
    All,
    /// It took a part, and has a place of its own now.
    Part {
        /// Events that it has got or is inside.
        events: u64,
        /// Their bytes.
        bytes: u64,
        /// Its place.
        cursor: Cursor,
    },
    /// Its bytes are not those of the others this time.
    OwnWay,
    /// Nobody is there any more.
    Gone(EndReason),
}

/// Writes a batch to a reader that stands where it begins, as its lane does, which has got `lane`
/// before. If not all of it was taken, the reader has a place of its own afterwards.
pub(super) fn write(
    reader: &mut Reader,
    batch: &Batch,
    (start, lane): (&Cursor, Got),
    now: Instant,
) -> Written {
    let stays = || Lag::new(start.clone(), Bytes::new(), now);
    let all = batch.parts.len();
    if all == 0 {
        return Written::All;
    }
    let packed = reader.packed.as_ref().map(|packed| batch.taken_by(packed, all));
    if batch.events > 0 && reader.state.owes_retry() || matches!(packed, Some(None)) {
        reader.falls_behind(stays(), lane);
        return Written::OwnWay;
    }
    let n = match send(&reader.socket, &batch.bytes) {
        Ok(n) => n,
        Err(reason) => {
            reader.falls_behind(stays(), lane);
            return Written::Gone(reason);
        }
    };
    if n > 0 && batch.events > 0 {
        reader.state.on_events(now);
    }
    if n == batch.bytes.len() {
        if let (Some(packed), Some(Some(after))) = (&mut reader.packed, packed) {
            **packed = after;
        }
        return Written::All;
    }
    let Stand { cursor, rest, begun, events } = batch.after(n, start);
    if let Some(packed) = &mut reader.packed {
        **packed = batch.taken_by(packed, begun).expect("it could take all of them");
    }
    let bytes = (n + rest.len()) as u64;
    reader.falls_behind(Lag::new(cursor.clone(), rest, now), lane);
    reader.presence.got = reader.presence.got.and(Got { events, bytes });
    Written::Part { events, bytes, cursor }
}

/// How far a reader got.
pub(super) enum Reached {
    /// It is where its lane is.
    Lane,
    /// Its socket is full.
    Nothing,
}

pub(super) fn catch_up(lane: &mut Lane, slot: u32) -> Result<Reached, Leave> {
    let now = Instant::now();
    loop {
        let Some(reader) = lane.readers.get_mut(slot) else { return Ok(Reached::Nothing) };
        let Some(lag) = reader.lag.as_mut() else { return Ok(Reached::Nothing) };
        if !lag.rest.is_empty() {
            let n = send(&reader.socket, &lag.rest).map_err(Leave::Gone)?;
            if n > 0 {
                lag.took(n, now);
                lag.rest.advance(n);
            }
            if !lag.rest.is_empty() {
                return Ok(Reached::Nothing);
            }
        }
        if lag.cursor.index >= lane.at.index {
            return Ok(Reached::Lane);
        }
        let cursor = lag.cursor.clone();
        // `retry:` stands right after the first event, and with an encoding a frame's bytes depend
        // on where the reader is: those frames go one by one.
        let alone = reader.state.owes_retry() || reader.packed.is_some();
        let batch = match lane.missed(&cursor, if alone { ONE } else { CATCH_UP }) {
            Next::Batch(batch) => batch,
            Next::Nothing => return Ok(Reached::Lane),
            Next::Behind => return Err(Leave::FellOff(cursor, Bytes::new())),
        };
        if alone {
            batch.gaps_before(&batch.end).for_each(|gap| lane.audience.passed_gap(gap, 1));
            let rest = alone_to(lane, slot, &batch, now);
            let reader = lane.readers.get_mut(slot).expect("it is here");
            reader.presence.delivered(batch.events, rest.len() as u64);
            let lag = reader.lag.as_mut().expect("it has a place");
            (lag.cursor, lag.rest) = (batch.end, rest);
            continue;
        }
        let reader = lane.readers.get_mut(slot).expect("it is here");
        let lag = reader.lag.as_mut().expect("it has a place");
        let mut n = 0;
        if !batch.bytes.is_empty() {
            n = send(&reader.socket, &batch.bytes).map_err(Leave::Gone)?;
        }
        if n > 0 {
            lag.took(n, now);
            reader.state.on_events(now);
        }
        let stand = batch.after(n, &cursor);
        reader.presence.delivered(stand.events, (n + stand.rest.len()) as u64);
        let whole = n == batch.bytes.len();
        lag.cursor = if whole { batch.end.clone() } else { stand.cursor };
        batch.gaps_before(&lag.cursor).for_each(|gap| lane.audience.passed_gap(gap, 1));
        if !whole {
            lag.rest = stand.rest;
            return Ok(Reached::Nothing);
        }
    }
}

/// A batch of one frame as the bytes that this reader gets for it, with what has to follow.
fn alone_to(lane: &mut Lane, slot: u32, batch: &Batch, now: Instant) -> Bytes {
    let manner = lane.manner;
    let reader = lane.readers.get_mut(slot).expect("it is here");
    let retry = if batch.events > 0 { reader.state.on_events(now) } else { None };
    let Some(packed) = &mut reader.packed else {
        let mut all = BytesMut::from(&batch.bytes[..]);
        all.extend(retry.map(|retry| manner.wrap(&retry)).unwrap_or_default());
        return all.freeze();
    };
    let mut out = Vec::new();
    for (plain, piece) in batch.parts.iter().filter_map(|part| part.packed.as_ref()) {
        let piece = piece.as_ref();
        if packed.is_inside() && !piece.is_some_and(|piece| packed.can_take(piece)) {
            packed.leave(&mut out);
        }
        match piece.and_then(|piece| Some((packed.take(piece)?, piece))) {
            Some((from, piece)) => out.extend_from_slice(&piece.bytes[from..]),
            None => packed.own(plain, &mut out),
        }
    }
    if let Some(retry) = retry {
        packed.own(&retry, &mut out);
    }
    lane.wants_join |= !packed.is_inside();
    if out.is_empty() { Bytes::new() } else { manner.wrap(&out) }
}

/// Writes as much as the socket takes; 0: it is full.
fn send(socket: &std::net::TcpStream, bytes: &[u8]) -> Result<usize, EndReason> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(EndReason::broken(error.kind())),
        Ok(n) => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::feed::ring::Ring;
    use crate::feed::vector::Vector;

    #[test]
    fn a_tail_in_a_hurry_waits_for_who_takes_bytes_as_fast_and_for_nobody_else() {
        const LEAST: u64 = 1_000_000;
        let second = Duration::from_secs(1);
        let began = Instant::now();
        let lag = || Lag::new(Ring::new(Vector::new([]), 1000).head(), Bytes::new(), began);
        let takes = |bytes: u64, after: Duration| {
            let mut lag = lag();
            let now = began + PACE_GRACE + after;
            lag.took(usize::try_from(bytes).expect("few"), now);
            lag.keeps_pace(now, LEAST)
        };
        assert!(lag().keeps_pace(began + PACE_GRACE, LEAST), "it has just fallen behind");
        assert!(!takes(0, second), "it takes nothing");
        assert!(!takes(1000, second), "it trickles");
        assert!(takes(LEAST, second));
        assert!(!takes(LEAST, 10 * second), "it did, and does no more");
        assert!(takes(10 * LEAST, 10 * second));
    }
}
