//! One thread of the pump: an epoll, lanes, and the passes over their readers.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;

use super::super::Got;
use super::super::carry::{Live, Session};
use super::super::closing::reset;
use super::super::drain::Drain;
use super::super::report::Glimpse;
use super::super::state::{Due, EndReason};
use super::Pump;
use super::batch::{Manner, Next};
use super::bell::{Ask, Bell, Waking};
use super::lane::Lane;
use super::reader::{Lag, Leave, Reached, Reader, Written, catch_up, write};
use crate::limits;

/// The bell, among the readers' tokens.
const BELL: u64 = u64::MAX;
/// Between two rounds of what is due without any event.
const TICK: Duration = Duration::from_secs(1);
/// The same while streams end one after another.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// Between two looks whether a feed may go on that waits for its readers.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes that go to every reader in one pass.
const PASS_BYTES_MAX: usize = 256 * 1024;
/// Readiness that is taken at once.
const EVENTS: usize = 1024;

const LISTENING: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);
const WAITING: EventFlags = LISTENING.union(EventFlags::OUT);

pub(super) struct Shard {
    epoll: OwnedFd,
    bell: Arc<Bell>,
    pump: Weak<Pump>,
    lanes: HashMap<u32, Lane>,
    lanes_made: u32,
    /// Lanes that a feed waits for.
    asked: Vec<u32>,
    stall_max: Duration,
    drain: Option<Drain>,
    told: WatchStream<u64>,
    told_waker: Waker,
}

fn token(lane: u32, slot: u32) -> u64 {
    u64::from(lane) << 32 | u64::from(slot)
}

impl Shard {
    pub(super) fn new(
        bell: Arc<Bell>,
        pump: Weak<Pump>,
        (stall_max, told): (Duration, watch::Receiver<u64>),
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, bell.as_fd(), EventData::new_u64(BELL), EventFlags::IN)?;
        let mut shard = Self {
            epoll,
            pump,
            lanes: HashMap::new(),
            lanes_made: 0,
            asked: Vec::new(),
            stall_max,
            drain: None,
            told: WatchStream::from_changes(told),
            told_waker: Waker::from(Arc::new(Waking { bell: Arc::clone(&bell), lane: None })),
            bell,
        };
        shard.listen();
        Ok(shard)
    }

    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut next_tick = Instant::now() + TICK;
        loop {
            let mut wait = next_tick.saturating_duration_since(Instant::now());
            if !self.asked.is_empty() {
                wait = wait.min(LOOK_EVERY);
            }
            let wait = wait.try_into().expect("less than a second");
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the pump cannot wait for its sockets");
                    return;
                }
            }
            let mut rung = false;
            for event in &events {
                match event.data.u64() {
                    BELL => rung = true,
                    token => self.on_socket(token, event.flags),
                }
            }
            if rung && self.answer() {
                return;
            }
            next_tick = next_tick.min(Instant::now() + self.tick_every());
            if !self.asked.is_empty() {
                self.answer_feeds();
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + self.tick_every();
            }
        }
    }

    fn tick_every(&self) -> Duration {
        if self.drain.is_some() { DRAIN_TICK } else { TICK }
    }

    /// Does what was asked. True: to end.
    fn answer(&mut self) -> bool {
        let mut stop = false;
        for ask in self.bell.answer() {
            match ask {
                Ask::Take(live) => self.take(*live),
                Ask::Moved(lane) => self.pass(lane),
                Ask::Told => self.on_told(),
                Ask::Report(tell) => self.report(tell),
                Ask::Drain(drain) => self.drain(drain),
                Ask::Alive(tell) => drop(tell.send(())),
                Ask::Settle(_) => {}
                Ask::Stop => stop = true,
            }
        }
        stop
    }

    /// What the readers are doing.
    fn report(&mut self, tell: oneshot::Sender<Vec<Glimpse>>) {
        let readers = self.lanes.values().map(|lane| lane.readers.len()).sum();
        let mut all = Vec::with_capacity(readers);
        self.lanes.values_mut().for_each(|lane| all.extend(lane.glimpses()));
        let _ = tell.send(all);
    }

    /// Tells the feeds that wait for their lanes that they may go on.
    fn answer_feeds(&mut self) {
        let (now, lanes) = (Instant::now(), &mut self.lanes);
        self.asked.retain(|number| lanes.get_mut(number).is_some_and(|lane| !lane.answers(now)));
    }

    /// Takes a session into its lane.
    fn take(&mut self, live: Live) {
        let Live { socket, mut session, rest, dropped } = live;
        let number = match self.lanes.iter().find(|(_, lane)| lane.fits(&session)) {
            Some((number, _)) => *number,
            None => {
                let number = self.lanes_made;
                self.lanes_made = self.lanes_made.wrapping_add(1);
                self.lanes.insert(number, Lane::new(&session, &self.bell, number));
                number
            }
        };
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        session.presence.of = Arc::clone(&lane.audience);
        let Session { cursor, state, presence, packed, .. } = session;
        let lag = Some(Box::new(Lag::new(cursor, rest, Instant::now())));
        let reader = Reader { socket, dropped, state, presence, lag, packed };
        let slot = lane.readers.insert(reader);
        // The lane may stand before the place where the session joined its feed. It has its reader
        // already: a lane whose last one leaves in this pass is no more.
        self.pass(number);
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        let reached = match catch_up(lane, slot) {
            Ok(reached) => reached,
            Err(leave) => return self.leave(number, slot, leave),
        };
        let got = lane.got;
        let reader = lane.readers.get_mut(slot).expect("just put there");
        // Most have nothing to wait for: the kernel is told once what there is to watch.
        let wanted = match reached {
            Reached::Lane => {
                reader.is_back(got);
                LISTENING
            }
            Reached::Nothing => WAITING,
        };
        let data = EventData::new_u64(token(number, slot));
        if let Err(error) = epoll::add(&self.epoll, &reader.socket, data, wanted) {
            tracing::error!(%error, "a socket cannot be watched");
            return self.leave(number, slot, Leave::Gone(EndReason::ClientClosed));
        }
        if let Some(drain) = &self.drain {
            reader.state.drains_at(drain.end_of(reader.presence.permit.number()));
        }
        if let Some(reason) = reader.presence.told() {
            self.end(number, slot, reason);
        }
    }

    /// Writes what a feed has got to all readers of a lane.
    fn pass(&mut self, number: u32) {
        loop {
            let Some(lane) = self.lanes.get_mut(&number) else { return };
            if lane.pace.asked().is_some() && !self.asked.contains(&number) {
                self.asked.push(number);
            }
            lane.listen();
            let batch = match lane.next(PASS_BYTES_MAX) {
                Next::Nothing => return,
                Next::Batch(batch) => batch,
                Next::Behind => return self.fell_off(number),
            };
            let now = Instant::now();
            let (mut own_way, mut gone) = (Vec::new(), Vec::new());
            // Readers that took all of it, and what the others took.
            let (mut whole, mut events, mut bytes) = (0, 0, 0);
            let up_to_date = lane.readers.iter_mut().filter(|(_, r)| r.lag.is_none());
            for (slot, reader) in up_to_date {
                match write(reader, &batch, (&lane.at, lane.got), now) {
                    Written::All => whole += 1,
                    Written::Part { events: some, bytes: n, cursor } => {
                        events += some;
                        bytes += n;
                        batch.gaps_before(&cursor).for_each(|g| lane.audience.passed_gap(g, 1));
                        let data = EventData::new_u64(token(number, slot));
                        let _ = epoll::modify(&self.epoll, &reader.socket, data, WAITING);
                    }
                    Written::OwnWay => own_way.push(slot),
                    Written::Gone(reason) => gone.push((slot, reason)),
                }
            }
            lane.at = batch.end.clone();
            let (size, shown) = (batch.bytes.len() as u64, batch.events);
            lane.got = lane.got.and(Got { events: shown, bytes: size });
            events += whole * shown;
            bytes += whole * size;
            lane.audience.delivered(events, bytes);
            batch.gaps_before(&batch.end).for_each(|gap| lane.audience.passed_gap(gap, whole));
            for (slot, reason) in gone {
                self.leave(number, slot, Leave::Gone(reason));
            }
            for slot in own_way {
                self.wait_for_room(number, slot);
                self.on_room(number, slot);
            }
        }
    }

    /// All who were up to date have missed something: they read it and come back.
    fn fell_off(&mut self, number: u32) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        let at = std::mem::replace(&mut lane.at, lane.feed.now());
        let readers = lane.readers.iter_mut().filter(|(_, r)| r.lag.is_none());
        let slots: Vec<u32> = readers.map(|(slot, _)| slot).collect();
        for slot in slots {
            self.leave(number, slot, Leave::FellOff(at.clone(), Bytes::new()));
        }
    }

    /// From now on a reader with a place of its own is written to when its socket has room.
    fn wait_for_room(&mut self, number: u32, slot: u32) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        let Some(reader) = lane.readers.get_mut(slot) else { return };
        let data = EventData::new_u64(token(number, slot));
        let _ = epoll::modify(&self.epoll, &reader.socket, data, WAITING);
    }

    fn on_socket(&mut self, token: u64, flags: EventFlags) {
        let number = u32::try_from(token >> 32).expect("half of it");
        let slot = u32::try_from(token & u64::from(u32::MAX)).expect("half of it");
        if flags.intersects(EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP) {
            let reason = self.broken(number, slot);
            return self.leave(number, slot, Leave::Gone(reason));
        }
        if flags.contains(EventFlags::IN)
            && let Some(reason) = self.talks(number, slot)
        {
            return self.leave(number, slot, Leave::Gone(reason));
        }
        if flags.contains(EventFlags::OUT) {
            self.on_room(number, slot);
        }
    }

    /// Drops what a client sends, and says when it has to go for it.
    fn talks(&mut self, number: u32, slot: u32) -> Option<EndReason> {
        let reader = self.lanes.get_mut(&number)?.readers.get_mut(slot)?;
        let mut bytes = [0; 4096];
        match rustix::net::recv(&reader.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Some(EndReason::ClientClosed),
            Ok((n, _)) => {
                reader.dropped =
                    reader.dropped.saturating_add(u16::try_from(n).unwrap_or(u16::MAX));
                let too_much = usize::from(reader.dropped) > limits::CLIENT_BYTES_MAX;
                too_much.then_some(EndReason::ClientTalks)
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(error) => Some(EndReason::broken(error.kind())),
        }
    }

    /// What a connection has ended for.
    fn broken(&mut self, number: u32, slot: u32) -> EndReason {
        let reader = self.lanes.get_mut(&number).and_then(|lane| lane.readers.get_mut(slot));
        let error = reader.map(|reader| rustix::net::sockopt::socket_error(&reader.socket));
        match error {
            Some(Ok(Err(error))) => EndReason::broken(error.kind()),
            _ => EndReason::ClientClosed,
        }
    }

    /// Writes to a reader with a place of its own until it is where its lane is, or its socket is
    /// full.
    fn on_room(&mut self, number: u32, slot: u32) {
        let leave = match self.lanes.get_mut(&number) {
            Some(lane) => catch_up(lane, slot),
            None => return,
        };
        match leave {
            Ok(Reached::Lane) => {
                let Some(lane) = self.lanes.get_mut(&number) else { return };
                let Some(reader) = lane.readers.get_mut(slot) else { return };
                reader.is_back(lane.got);
                let data = EventData::new_u64(token(number, slot));
                let _ = epoll::modify(&self.epoll, &reader.socket, data, LISTENING);
            }
            Ok(Reached::Nothing) => {}
            Err(leave) => self.leave(number, slot, leave),
        }
    }

    /// What is due without any event: keepalives, ends of lifetimes, stalled readers.
    fn tick(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (number, lane) in &mut self.lanes {
            for (slot, reader) in lane.readers.iter_mut() {
                let what = match &reader.lag {
                    None => reader.state.due(now),
                    Some(lag) if now >= lag.since + self.stall_max => Due::End(EndReason::Stalled),
                    Some(_) => match reader.state.is_over(now) {
                        Some(reason) => Due::End(reason),
                        None => continue,
                    },
                };
                if !matches!(what, Due::At(_)) {
                    due.push((*number, slot, what));
                }
            }
        }
        for (number, slot, what) in due {
            match what {
                Due::End(reason) => self.end(number, slot, reason),
                Due::Send(bytes) => self.say(number, slot, &bytes),
                Due::At(_) => {}
            }
        }
    }

    /// Writes something that is no event to a reader that is up to date.
    fn say(&mut self, number: u32, slot: u32, bytes: &[u8]) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        let (at, manner) = (lane.at.clone(), lane.manner);
        let Some(reader) = lane.readers.get_mut(slot) else { return };
        let wrapped = match &mut reader.packed {
            None => manner.wrap(bytes),
            Some(packed) => {
                let mut own = Vec::new();
                packed.own(bytes, &mut own);
                lane.wants_join = true;
                manner.wrap(&own)
            }
        };
        let lag = Lag::new(at, wrapped, Instant::now());
        reader.falls_behind(lag, lane.got);
        self.wait_for_room(number, slot);
        self.on_room(number, slot);
    }

    /// From now on the next one who is told to go rings the bell.
    fn listen(&mut self) {
        let mut cx = Context::from_waker(&self.told_waker);
        while let Poll::Ready(Some(_)) = std::pin::Pin::new(&mut self.told).poll_next(&mut cx) {}
    }

    fn on_told(&mut self) {
        self.listen();
        let mut told = Vec::new();
        for (number, lane) in &mut self.lanes {
            let readers = lane.readers.iter_mut();
            told.extend(readers.filter_map(|(slot, r)| Some((*number, slot, r.presence.told()?))));
        }
        for (number, slot, reason) in told {
            self.end(number, slot, reason);
        }
    }

    fn drain(&mut self, drain: Drain) {
        self.drain = Some(drain);
        let readers = self.lanes.values_mut().flat_map(|lane| lane.readers.iter_mut());
        for (_, reader) in readers {
            reader.state.drains_at(drain.end_of(reader.presence.permit.number()));
        }
    }

    /// Ends a stream after the frame that it is inside.
    fn end(&mut self, number: u32, slot: u32, reason: EndReason) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        let Some(reader) = lane.readers.get_mut(slot) else { return };
        let leave = match reason {
            EndReason::Stalled => Leave::Gone(reason),
            _ => {
                let rest = reader.lag.as_ref().map_or_else(Bytes::new, |lag| lag.rest.clone());
                Leave::End(reason, rest)
            }
        };
        self.leave(number, slot, leave);
    }

    fn leave(&mut self, number: u32, slot: u32, how: Leave) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        let Some(reader) = lane.readers.remove(slot) else { return };
        let got = reader.got(lane.got);
        let Reader { socket, dropped, mut state, mut presence, packed, .. } = reader;
        presence.got = got;
        let _ = epoll::delete(&self.epoll, &socket);
        let manner = lane.manner;
        let Manner { transfer, gap_events, .. } = manner;
        match how {
            Leave::Gone(reason) => {
                presence.ends(reason);
                if reason == EndReason::Stalled {
                    reset(&socket);
                }
            }
            Leave::End(reason, rest) => {
                presence.ends(reason);
                let farewell = presence.farewell(&mut state);
                // The slot is free before the client can see its stream end.
                drop(presence);
                let mut last = BytesMut::from(rest);
                if let (Some(farewell), None) = (&farewell, &packed) {
                    last.extend_from_slice(&manner.wrap(farewell));
                }
                if let Some(mut packed) = packed {
                    let mut end = Vec::new();
                    if let Some(farewell) = farewell {
                        packed.own(&farewell, &mut end);
                    }
                    packed.close(&mut end);
                    if !end.is_empty() {
                        last.extend_from_slice(&manner.wrap(&end));
                    }
                }
                last.extend_from_slice(transfer.end());
                if let Some(pump) = self.pump.upgrade() {
                    pump.close(socket, last);
                }
            }
            Leave::FellOff(cursor, rest) => {
                let session = Session {
                    feed: Arc::clone(&lane.feed),
                    cursor,
                    state,
                    presence,
                    transfer,
                    gap_events,
                    shared: Arc::clone(&lane.shared),
                    packed,
                };
                if let Some(pump) = self.pump.upgrade() {
                    pump.bring_back(Live { socket, session, rest, dropped });
                }
            }
        }
        if self.lanes.get(&number).is_some_and(|lane| lane.readers.len() == 0) {
            self.lanes.remove(&number);
        }
    }
}
