//! Every bound of the program, in one place. What an operator may change is in the config; its
//! default is here.

use std::time::Duration;

/// Partitions that one request may read (a request reads all partitions of all its topics).
pub const PARTITIONS_PER_REQUEST_MAX: usize = 128;
/// Bytes of a request head. Ids of composed streams are long: 12 kB and more.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 * 1024;
/// A request head that is not there in this time is a 408 (`limits.head_s`).
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's path and query; more is a 414.
pub const REQUEST_URI_BYTES_MAX: usize = 16 * 1024;
/// Bytes that a connection reads while it looks for the end of a head. More than a head may have,
/// so that a head somewhat too long can still be answered in words.
pub const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one text of the client's that an error answer repeats.
pub const ECHO_BYTES_MAX: usize = 2048;
/// A closed connection waits this long for the client to close its side, lest bytes on the way
/// are lost to a reset.
pub const LINGER: Duration = Duration::from_secs(2);
/// Bytes that a closed connection reads and drops meanwhile.
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// What an ended stream still has to say is written in this time, or the connection is reset.
pub const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Bytes that a client may send while it reads a stream; they are dropped.
pub const CLIENT_BYTES_MAX: usize = 4096;
/// A connection that takes no byte for this long while some wait is cut (`session.stall_s`).
pub const STALL_MAX: Duration = Duration::from_secs(60);
/// A peer that acknowledges nothing is given up half as late again, and at least so much later:
/// stalled readers are looked for once a second, and have to be found as such.
pub const VANISHED_LATER_MIN: Duration = Duration::from_secs(3);
/// Bytes of a connection that the kernel holds and has not sent yet. By default a stalled reader
/// pins 2.6 MB of it, and 500 of them slow everyone; with this 20 KB each, and nobody notices.
pub const UNSENT_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of a header of the PROXY protocol after its fixed part. Addresses take 36 of them, what
/// is known of extensions some hundreds; a chain of certificates some thousands.
pub const PROXY_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Requests that an HTTP/2 connection may have open at the same time.
pub const H2_STREAMS_MAX: u32 = 100;
/// Bytes of a request's fields over HTTP/2, each counted with 32 more (RFC 9113, 6.5.2). More than
/// a head may have, so that one somewhat too long can still be answered in words.
pub const H2_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// An HTTP/2 client is asked whether it is still there after this long.
pub const H2_PING_EVERY: Duration = Duration::from_secs(30);
/// A client that does not answer that in this time is gone.
pub const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests that were reset before we have looked at them; more end the connection.
pub const H2_RESETS_UNSEEN_MAX: usize = 20;
/// Requests of a connection that we had to reset for mistakes in them; more end the connection.
pub const H2_RESETS_MAX: usize = 100;
/// Bytes that a connection takes of a request's body before they are read, and of all together.
pub const H2_RECEIVE_BYTES_MAX: u32 = 1024 * 1024;
/// Bytes of a body that hyper is given at once over HTTP/2. A client has to take so many in
/// `STALL_MAX`.
pub const H2_PIECE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a response that wait for the client's window, before the last two pieces.
pub const H2_SEND_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a certificate's file, or a key's.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;
/// How often these files are looked at. A change counts when it is still the same at the next look.
pub const CERTIFICATE_LOOK_EVERY: Duration = Duration::from_secs(3);
/// Connections that carry no stream (in a head, between two requests), of all; never more than a
/// quarter of what the descriptors allow.
pub const CONNECTIONS_MAX: usize = 8192;
/// Unless it is said, they have a twelfth, and so many where that is no more than a quarter.
pub const CONNECTIONS_CROWD: u64 = 256;
/// One client may have this part of them.
pub const CONNECTIONS_CLIENT_PART: usize = 4;
/// When there are too many of all, none goes that has not had this time to say what it wants.
pub const CONNECTION_GRACE: Duration = Duration::from_secs(1);
/// Connections that were told to go and have not gone; no more are accepted meanwhile.
pub const CONNECTIONS_LEAVING_MAX: usize = 64;
/// How often it is looked whether the oldest of too many has had its time.
pub const CONNECTIONS_LOOK_EVERY: Duration = Duration::from_millis(20);
/// After an accept that failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel holds until they are accepted.
pub const ACCEPT_BACKLOG: u32 = 4096;
/// Bytes of the `x-stream-gap` header; the rest is counted in `more=`.
pub const GAP_HEADER_BYTES_MAX: usize = 1024;
/// All look-ups that fix a stream's start, together. Then it is a 503.
pub const START_DEADLINE: Duration = Duration::from_millis(900);
/// No keepalive is sent in the first part of a response before its first event.
pub const QUIET_START: Duration = Duration::from_secs(10);
/// A made-up time, and any time of a topic whose log sets the times, is used less this.
pub const TIME_SLACK_MS: i64 = 60_000;
/// How far a look-back over holes in the offsets goes, in offsets.
pub const LOOK_BACK_OFFSETS_MAX: i64 = 10_000;

/// Bytes of frames that a feed's ring keeps.
pub const RING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A whole vector stands in the ring of deltas after every so many.
pub const RING_VECTOR_EVERY: usize = 256;
/// Encoders at the same time, over all feeds; readers beyond get stored blocks.
pub const ENCODERS_MAX: usize = 256;
/// Bytes of one encoder, with the buffer for its pieces (`feed/encode`).
pub const ENCODER_BYTES_MAX: usize = 704 * 1024;
/// Bytes of records a second at which the tail never waits for readers (`limits.tail_least_kb_s`).
/// A stream has some ten kilobytes a second; only who makes up for an outage is faster than this.
pub const TAIL_LEAST_BYTES_S: u64 = 1024 * 1024;
/// A reader that has just fallen behind its lane is waited for (at that pace) for so long, and then
/// if it takes bytes as fast.
pub const PACE_GRACE: Duration = Duration::from_secs(1);
/// A feed that nobody reads goes after this.
pub const FEED_IDLE: Duration = Duration::from_secs(30);
/// Feeds at the same time.
pub const FEEDS_MAX: usize = 512;
/// Feeds that one client may have started and that still exist.
pub const FEEDS_OF_CLIENT_MAX: usize = 32;
/// A feed with fewer readers has a ring of a sixteenth.
pub const FEW_READERS: usize = 8;
/// Bytes that a ring has at least.
pub const RING_BYTES_MIN: usize = 256 * 1024;
/// Bytes of a record's value; larger ones are no events.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a live reader costs in the pump, in bytes.
pub const SLOT_BYTES_MAX: usize = 128;
/// Bytes of records that all tails together keep in memory, each with room for its data line.
pub const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a data line usually has beyond the record's value, in bytes: where it comes from, and what
/// stands around it in memory.
pub const LINE_MORE_BYTES: usize = 192;

/// Bytes of one range read in catch-up: a session's budget divided by its partitions, within these.
pub const CHUNK_BYTES_MIN: usize = 64 * 1024;
/// See `CHUNK_BYTES_MIN`.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// What one session's catch-up may hold, before the division.
pub const CATCHUP_BYTES: usize = 4 * 1024 * 1024;
/// What one session's catch-up holds at most: so many partitions may be read, each with a chunk.
pub const CATCHUP_HELD_BYTES_MAX: usize = {
    let least = PARTITIONS_PER_REQUEST_MAX * CHUNK_BYTES_MIN;
    if least > CATCHUP_BYTES { least } else { CATCHUP_BYTES }
};
/// Readers that read history at the same time; others wait for their turn.
pub const CATCHUPS_MAX: usize = 64;
/// Of one client.
pub const CATCHUPS_OF_CLIENT_MAX: usize = 16;
/// A reader of history whose socket takes nothing for so long gives its turn to one who waits.
pub const CATCHUP_REST_MAX: Duration = Duration::from_millis(250);
/// Bytes after which a reader of history lets another one have its turn: about a chunk, so that
/// little of what was read for it is read again.
pub const CATCHUP_STRETCH_BYTES: usize = 1024 * 1024;
/// Bytes of data lines that the history cache keeps.
pub const HISTORY_CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Range reads that may be under way at a source at the same time.
pub const HISTORY_READS_MAX: usize = 16;
/// A partition that does not answer for this long in a replay is passed over for now.
pub const HISTORY_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of frames that a session hands to its connection at once.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a body of `POST /v1/events`.
pub const INTAKE_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of all such bodies that are read or written at the same time; others wait.
pub const INTAKE_BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a body waits for its turn before it is refused.
pub const INTAKE_WAIT: Duration = Duration::from_secs(5);
/// A body that is not there in this time is a 408.
pub const INTAKE_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Events of one body.
pub const INTAKE_EVENTS_MAX: usize = 10_000;
/// Bytes of what one answer says of events that were refused.
pub const INTAKE_DETAILS_BYTES_MAX: usize = 256 * 1024;
/// A record's time may be this far ahead of the clock; beyond it the time of the append counts.
pub const TIME_AHEAD_MS_MAX: i64 = 60_000;

/// Bytes of a catalogue that is read from elsewhere.
pub const CATALOGUE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Streams of a catalogue that is read from elsewhere.
pub const CATALOGUE_STREAMS_MAX: usize = 10_000;
/// How often a server may lead on to another place.
pub const REDIRECTIONS_MAX: usize = 4;
/// Schemas that are fetched at the same time.
pub const SCHEMA_FETCHES_MAX: usize = 8;
/// Schemas of events that are kept, and the files that are looked at for them.
pub const SCHEMAS_MAX: usize = 5000;
/// See `SCHEMAS_MAX`.
pub const SCHEMA_FILES_MAX: usize = 100_000;
/// Bytes of one schema.
pub const SCHEMA_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of all schemas, as they are written.
pub const SCHEMAS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Things that are said of one event that does not fit.
pub const SCHEMA_FINDINGS_MAX: usize = 5;
/// Bytes of an event of which more than the first is looked for.
pub const SCHEMA_ALL_FINDINGS_BYTES_MAX: usize = 64 * 1024;

/// Characters of a bearer token. With fewer somebody might find one by trying.
pub const TOKEN_BYTES_MIN: usize = 16;
/// See `TOKEN_BYTES_MIN`.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Bytes of a file of tokens.
pub const TOKENS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// New streams of a client at once, where their rate is limited (`limits.opens_burst`).
pub const OPENS_BURST: u32 = 200;
/// Requests that wait for a seat of their own client, at the same time.
pub const WAITING_MAX: usize = 1024;
/// Of one client.
pub const WAITING_OF_CLIENT_MAX: usize = 16;
/// How long: a client that closes a stream and opens the next must not be refused for the first.
pub const WAITING_TIME_MAX: Duration = Duration::from_millis(500);

/// Bytes that are kept of what a client calls itself (`User-Agent`).
pub const AGENT_BYTES_MAX: usize = 200;
/// Different ones that are kept; of open streams beyond none is.
pub const AGENTS_MAX: usize = 4096;
/// How long a shard of the pump may take to say what its readers are doing.
pub const REPORT_MAX: Duration = Duration::from_secs(3);
/// Clients of which is kept what they have tried in the last half a minute, and in the one before.
pub const LATELY_CLIENTS_MAX: usize = 8192;
/// Lines about connections that are logged in a second, while they are.
pub const CONNECTION_LINES_PER_S_MAX: u32 = 1000;
/// For how long connections may be logged.
pub const CONNECTION_LOG_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often the configuration's file is looked at. A change counts when it is still the same at
/// the next look.
pub const CONFIG_LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long a source may take to say where topics stand that a new configuration adds.
pub const SURVEY_MAX: Duration = Duration::from_secs(10);
/// Times that topics can be added until a restart: each addition has a tail of its own.
pub const TAILS_MAX: usize = 16;
/// How often it is looked how everything is.
pub const HEALTH_LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is not heard of for longer is critical.
pub const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// A process whose watch has not run for longer is stuck (`/healthz`).
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Answers of the admin port that are under way when it ends have this long.
pub const ADMIN_END_MAX: Duration = Duration::from_millis(500);

/// From the last moment at which a stream is to end (`drain.spread_s`) to the end of the process.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(9);
/// From the second signal to the end of the process.
pub const HURRY_MAX: Duration = Duration::from_secs(1);
/// How often the service manager is told how many streams are left.
pub const DRAIN_SAID_EVERY: Duration = Duration::from_secs(1);

/// Prefixes that operators may have something decided of, those of the last weeks included.
pub const BLOCKS_MAX: usize = 20_000;
/// How long it is known of a block that it is over, in ms: a gateway that was away for longer may
/// bring it back.
pub const BLOCK_KNOWN_AFTER_MS: i64 = 30 * 24 * 3600 * 1000;
/// Seconds that a block may last, unless it is for ever.
pub const BLOCK_SECONDS_MAX: i64 = 10 * 366 * 24 * 3600;
/// Bits that the prefix of a block has at least, of IPv4 and IPv6, unless it is forced.
pub const BLOCK_BITS_MIN: (u8, u8) = (8, 16);
/// Characters of what an operator says about a block: the reason, and the name.
pub const BLOCK_TEXT_MAX: (usize, usize) = (500, 100);
/// Bytes of a record of the control topic; larger ones are none of ours.
pub const CONTROL_RECORD_BYTES_MAX: usize = 16 * 1024;
/// How often the control topic is looked at.
pub const CONTROL_LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked which blocks are over (they end by themselves, to the millisecond).
pub const BLOCKS_SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Bytes of the audit trail's file before it is put aside, and how many of these are kept.
pub const AUDIT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// See `AUDIT_BYTES_MAX`.
pub const AUDIT_FILES_MAX: u32 = 16;
