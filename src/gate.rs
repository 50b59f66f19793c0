//! Who may come in. The only place that refuses a request for the sake of the others.
//!
//! ```text
//!  identify (client) ─▶ knock: rate, the client's own limit ─▶ the request's text ─▶ enter: room?
//!      400, 403           429, after a short wait                                    503, or the
//!                                                                       greediest loses its newest
//! ```
//! A `Permit` is the right to one open stream: the session owns it, and its `Drop` gives the seat
//! back, whatever way the session ends. So what is held is what is open, at every moment. A client
//! that closes a stream and opens the next at once must not meet a 429: it waits a moment for its
//! own seat, in a room of bounded size.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use http::HeaderMap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::config::Addresses;
use crate::limits;
use crate::metrics::{ByReason, Metrics};

mod addresses;
mod agents;
mod blocked;
pub mod blocks;
mod books;
pub mod catchup;
mod census;
pub mod client;
mod connection_log;
pub mod crowd;
pub mod feeds;
mod lately;
mod leaving;
mod rate;
mod refusal;
mod seats;
mod terms;
pub mod tokens;
mod waiting;

pub use agents::cut;
use agents::{AgentNumber, Agents};
use blocks::Blocks;
use books::{Books, Entered, Knocked};
pub use books::{Holding, SeatNumber};
use catchup::{Budget, Turns};
pub use census::{Census, Seated};
use client::{Client, ClientKey, Identity};
pub use connection_log::ConnectionLog;
use feeds::Feeds;
use lately::Lately;
pub use lately::Tried;
pub use rate::Opens;
pub use refusal::Refusal;
use seats::Seats;
pub use terms::Limits;
use terms::Terms;
use waiting::Waiting;

/// Why an open stream was told to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Its seat went to a client that holds far less.
    Displaced,
    /// Its client has been blocked; what the operator gave as the reason, if anything.
    Blocked(Option<Arc<str>>),
    /// An operator ended it.
    Ended,
}

/// A stream that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// What it is counted by.
    pub key: ClientKey,
    /// Its client's own address.
    pub address: IpAddr,
    opened_tenths_s: u32,
    agent: AgentNumber,
}

/// What an operator may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How clients are told apart, and what they may hold.
    pub identity: Identity,
    /// Streams of this host.
    pub streams_max: usize,
    /// How fast a client may open streams; `None`: as fast as it likes.
    pub opens: Option<Opens>,
    /// How many may read history at the same time.
    pub catchups: Budget,
    /// What a client may start of feeds.
    pub feeds: feeds::Limits,
    /// Whether each stream's end has a line in the log, and what it says of addresses.
    pub access_lines: Option<Addresses>,
}

#[derive(Debug)]
struct State {
    books: Books,
    /// Whose each is, in the order in which they were taken.
    seats: Seats<Seat>,
    /// Those who were told to go, and why.
    told: HashMap<SeatNumber, Told>,
    agents: Agents,
    next: SeatNumber,
    /// Requests that wait for a seat of their own client.
    waiting: HashMap<ClientKey, usize>,
    waiting_all: usize,
}

impl State {
    /// A client's newest stream of those that were not told to go.
    fn newest_of(&self, key: ClientKey) -> Option<SeatNumber> {
        let mut newest = self.seats.iter().rev();
        let of_client =
            |(n, seat): &(SeatNumber, &Seat)| seat.key == key && !self.told.contains_key(n);
        newest.find(of_client).map(|(number, _)| number)
    }
}

/// The gate of this host.
#[derive(Debug)]
pub struct Gate {
    terms: RwLock<Arc<Terms>>,
    /// May be read under the lock of `state`; is never held for writing when that is taken.
    blocks: RwLock<Blocks>,
    state: Mutex<State>,
    lately: Mutex<Lately>,
    connection_log: ConnectionLog,
    began: Instant,
    draining: AtomicBool,
    /// Somebody has left.
    left: Notify,
    /// Moves when somebody is told to go.
    telling: watch::Sender<u64>,
    /// How many have been and are still there (`told`, to be seen without the lock).
    leaving: AtomicUsize,
    warned: AtomicBool,
    turns: Arc<Turns>,
    feeds: Feeds,
    metrics: Arc<Metrics>,
}

/// The right to ask for a stream: a place among the client's own.
#[derive(Debug)]
pub struct Knock {
    gate: Arc<Gate>,
    client: Client,
    entered: bool,
}

/// The right to one open stream.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    seat: SeatNumber,
}

impl Permit {
    /// Why the stream has to go, if it has.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        // Nearly always nobody has.
        let somebody = self.gate.leaving.load(Ordering::Acquire) > 0;
        if somebody { self.gate.lock().told.get(&self.seat).cloned() } else { None }
    }

    /// Moves when somebody has been told to go.
    #[must_use]
    pub fn telling(&self) -> watch::Receiver<u64> {
        self.gate.telling()
    }

    /// Names the stream.
    #[must_use]
    pub fn number(&self) -> SeatNumber {
        self.seat
    }

    /// Whose it is, if connections are logged now.
    #[must_use]
    pub fn to_be_logged(&self) -> Option<Seated> {
        let gate = &self.gate;
        gate.connection_log
            .takes_a_line()
            .then(|| gate.seated(&gate.lock(), self.seat, Instant::now()))?
    }

    fn client(&self) -> ClientKey {
        let client = self.gate.lock().seats.get(self.seat).map(|seat| seat.key);
        client.expect("it has a seat until its drop")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        let told = state.told.remove(&self.seat).is_some();
        if let Some(seat) = state.seats.remove(self.seat) {
            state.books.leave(seat.key, told);
            state.agents.give_back(seat.agent);
        }
        self.gate.measure(&state);
        drop(state);
        self.gate.left.notify_waiters();
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        if !self.entered {
            self.gate.lock().books.turn_away(self.client.key);
            self.gate.left.notify_waiters();
        }
    }
}

impl Knock {
    /// Takes a seat, for which the greediest client may lose one. `agent`: what the client calls
    /// itself.
    ///
    /// # Errors
    /// The one reason why not; it has been counted.
    pub fn enter(mut self, agent: Option<&[u8]>) -> Result<Permit, Refusal> {
        let gate = Arc::clone(&self.gate);
        let Client { key, address, .. } = self.client;
        if gate.is_draining() {
            return Err(gate.refused_to(key, Refusal::Draining));
        }
        let mut state = gate.lock();
        // Again, and under this lock: it may have been blocked while it waited, and the streams
        // that a block ends are looked through under the same.
        if let Some(blocked) = gate.blocked(address) {
            drop(state);
            return Err(gate.refused_to(key, blocked));
        }
        let displaced = match state.books.enter(&self.client) {
            Entered::Full => {
                if state.books.is_under_share(key) {
                    gate.metrics.gate.refused_under_share.inc();
                }
                drop(state);
                return Err(gate.refused_to(key, Refusal::Full));
            }
            Entered::Seated => None,
            Entered::InsteadOf(key) => state.newest_of(key),
        };
        if let Some(number) = displaced {
            state.told.insert(number, Told::Displaced);
        }
        self.entered = true;
        let seat = state.next;
        state.next += 1;
        let (agent, opened_tenths_s) = (state.agents.take(agent), gate.tenths_now());
        state.seats.push(seat, Seat { key, address, opened_tenths_s, agent });
        gate.measure(&state);
        gate.warn_of_a_proxy(&state, &self.client);
        drop(state);
        if displaced.is_some() {
            gate.telling.send_modify(|n| *n += 1);
        }
        gate.lately().opened(key, Instant::now());
        Ok(Permit { gate, seat })
    }
}

impl Settings {
    /// Room for so many streams, and no limit for anybody.
    #[must_use]
    pub fn room_for(streams_max: usize) -> Self {
        let identity = Identity {
            trusted: Vec::new(),
            header: client::ClientHeader::XForwardedFor,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            streams: 0,
            budgets: Vec::new(),
        };
        let (catchups, feeds) = (Budget::UNLIMITED, feeds::Limits::UNLIMITED);
        Self { identity, streams_max, opens: None, catchups, feeds, access_lines: None }
    }
}

impl Gate {
    /// Lets one stream of this peer in, without waiting for anything.
    ///
    /// # Errors
    /// As `knock` and `Knock::enter`.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, Refusal> {
        let client = self.identify(peer, &HeaderMap::new())?;
        self.reserve(client).map_err(|why| self.refused_to(client.key, why))?.enter(None)
    }

    /// A gate with nobody in.
    #[must_use]
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        let state = State {
            books: Books::new(settings.streams_max),
            seats: Seats::new(),
            told: HashMap::new(),
            agents: Agents::default(),
            next: 0,
            waiting: HashMap::new(),
            waiting_all: 0,
        };
        metrics.gate.streams_max.set(i64::try_from(settings.streams_max).unwrap_or(i64::MAX));
        let began = Instant::now();
        Arc::new(Self {
            turns: Turns::new(settings.catchups, Arc::clone(&metrics)),
            feeds: Feeds::new(settings.feeds, Arc::clone(&metrics)),
            terms: RwLock::new(Terms::new(settings)),
            blocks: RwLock::default(),
            state: Mutex::new(state),
            lately: Mutex::new(Lately::new(began)),
            connection_log: ConnectionLog::new(),
            began,
            draining: AtomicBool::new(false),
            left: Notify::new(),
            telling: watch::Sender::new(0),
            leaving: AtomicUsize::new(0),
            warned: AtomicBool::new(false),
            metrics,
        })
    }

    /// Who a request comes from.
    ///
    /// # Errors
    /// A trusted proxy does not say, the token is none, or the client is blocked; it has been
    /// counted.
    pub fn identify(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Client, Refusal> {
        let client = self.terms().settings.identity.of(peer, headers);
        let client = client.map_err(|error| self.refused(Refusal::NoClient(error)))?;
        match self.blocked(client.address) {
            None => Ok(client),
            Some(why) => Err(self.refused_to(client.key, why)),
        }
    }

    /// Reserves a place among the client's own. Waits a moment for one that it has just left.
    ///
    /// # Errors
    /// The one reason why not; it has been counted.
    pub async fn knock(self: &Arc<Self>, client: Client) -> Result<Knock, Refusal> {
        if self.is_draining() {
            return Err(self.refused_to(client.key, Refusal::Draining));
        }
        if let Some(wait_s) = self.terms().rate.as_ref().and_then(|r| r.wait_s(client.key)) {
            return Err(self.refused_to(client.key, Refusal::Rate { wait_s }));
        }
        let limit = match self.reserve(client) {
            Ok(knock) => return Ok(knock),
            Err(limit) => limit,
        };
        let Some(_waiting) = Waiting::new(self, client.key) else {
            return Err(self.refused_to(client.key, limit));
        };
        let freed = async {
            loop {
                let left = self.left.notified();
                tokio::pin!(left);
                // Before the look, so that nobody leaves unseen.
                left.as_mut().enable();
                if let Ok(knock) = self.reserve(client) {
                    return knock;
                }
                left.await;
            }
        };
        match timeout(limits::WAITING_TIME_MAX, freed).await {
            Ok(knock) => Ok(knock),
            Err(_) => Err(self.refused_to(client.key, limit)),
        }
    }

    fn reserve(self: &Arc<Self>, client: Client) -> Result<Knock, Refusal> {
        match self.lock().books.knock(&client) {
            Knocked::Reserved => Ok(Knock { gate: Arc::clone(self), client, entered: false }),
            Knocked::AtLimit { held, limit } => Err(Refusal::ClientLimit { held, limit }),
        }
    }

    /// Counts a refusal that another part had to make, so that all are in one place.
    pub fn refused(&self, why: Refusal) -> Refusal {
        self.metrics.refusals.get_or_create(&ByReason { reason: why.as_str() }).inc();
        why
    }

    /// The same, of a client that is known.
    fn refused_to(&self, key: ClientKey, why: Refusal) -> Refusal {
        self.lately().refused(key, Instant::now(), why.as_str());
        self.refused(why)
    }

    /// Whether connections are logged, and for how long.
    #[must_use]
    pub fn connection_log(&self) -> &ConnectionLog {
        &self.connection_log
    }

    /// From now on nobody is let in.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether `drain` was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Streams open now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().books.open()
    }

    /// What has changed under the lock, for those who look without it.
    fn measure(&self, state: &State) {
        self.leaving.store(state.told.len(), Ordering::Release);
        let books = &state.books;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.streams_open.set(number(books.open()));
        self.metrics.clients.set(number(books.clients()));
        self.metrics.gate.fair_level.set(number(books.fair_level()));
        self.metrics.greediest_client_permille.set(books.greediest_share_permille().into());
    }

    /// One private peer that holds nearly all is a proxy that nobody has told us of, and all its
    /// users share one limit.
    fn warn_of_a_proxy(&self, state: &State, client: &Client) {
        let private = match client.address {
            IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
        };
        let enough = client.budget.min(64).saturating_mul(3) / 4;
        let all = state.books.open();
        let own = state.books.held_by(client.key);
        if private
            && self.terms().settings.identity.trusted.is_empty()
            && own >= enough.max(8)
            && own as usize * 10 >= all * 9
            && !self.warned.swap(true, Ordering::AcqRel)
        {
            tracing::warn!(
                peer = %client.address,
                own,
                all,
                "one private peer holds nearly all streams: if it is a proxy, name it in \
                 limits.trusted_proxies, or all its users share one limit"
            );
        }
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().expect("no holder panics")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
