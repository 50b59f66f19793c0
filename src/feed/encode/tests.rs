//! What readers get, decoded: by the libraries, piece by piece, and by the programs that are
//! everywhere.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::{Decompress, FlushDecompress, Status};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::*;

const ENCODINGS: [Encoding; 3] = [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd];

/// Decodes what came so far, as a client does that does not know when it will end.
enum Live {
    Raw { inflate: Decompress, head: usize },
    Zstd { context: DCtx<'static>, hint: usize },
}

impl Live {
    fn new(encoding: Encoding) -> Self {
        let raw = |head| Self::Raw { inflate: Decompress::new(false), head };
        match encoding {
            Encoding::Gzip => raw(10),
            Encoding::Deflate => raw(2),
            Encoding::Zstd => Self::Zstd { context: DCtx::create(), hint: 0 },
        }
    }

    fn decode(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) {
        match self {
            Self::Raw { inflate, head } => {
                let skipped = bytes.len().min(*head);
                *head -= skipped;
                bytes = &bytes[skipped..];
                loop {
                    let (eaten, made) = (inflate.total_in(), inflate.total_out());
                    text.reserve(4096);
                    let status =
                        inflate.decompress_vec(bytes, text, FlushDecompress::Sync).expect("valid");
                    bytes = &bytes[(inflate.total_in() - eaten) as usize..];
                    if status == Status::StreamEnd || inflate.total_out() == made {
                        return;
                    }
                }
            }
            Self::Zstd { context, hint } => {
                let mut input = InBuffer::around(bytes);
                loop {
                    let done = text.len();
                    text.reserve(4096);
                    let mut output = OutBuffer::around_pos(text, done);
                    if input.pos() == bytes.len() && *hint == 0 {
                        return;
                    }
                    *hint = context.decompress_stream(&mut output, &mut input).expect("valid");
                    if output.pos() == done && input.pos() == bytes.len() {
                        return;
                    }
                }
            }
        }
    }
}

/// Decodes a whole response; it has to end where its bytes end, with the right checksum.
fn decode(encoding: Encoding, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    match encoding {
        Encoding::Gzip => {
            let mut left = bytes;
            let mut gzip = flate2::bufread::GzDecoder::new(&mut left);
            gzip.read_to_end(&mut text).map_err(|e| e.to_string())?;
            if !left.is_empty() {
                return Err(format!("{} bytes after the end", left.len()));
            }
        }
        Encoding::Deflate => {
            let mut inflate = Decompress::new(true);
            loop {
                text.reserve(4096);
                let (eaten, made) = (inflate.total_in(), inflate.total_out());
                let left = &bytes[eaten as usize..];
                let status = inflate.decompress_vec(left, &mut text, FlushDecompress::None);
                match status.map_err(|e| e.to_string())? {
                    Status::StreamEnd if inflate.total_in() == bytes.len() as u64 => break,
                    Status::StreamEnd => return Err("bytes after the end".to_owned()),
                    _ if (inflate.total_in(), inflate.total_out()) == (eaten, made) => {
                        return Err("ends too early".to_owned());
                    }
                    _ => {}
                }
            }
        }
        Encoding::Zstd => {
            let mut context = DCtx::create();
            let mut input = InBuffer::around(bytes);
            let mut hint = 1;
            while input.pos() < bytes.len() || hint != 0 {
                let (done, eaten) = (text.len(), input.pos());
                text.reserve(4096);
                let mut output = OutBuffer::around_pos(&mut text, done);
                hint = context
                    .decompress_stream(&mut output, &mut input)
                    .map_err(|code| zstd_safe::get_error_name(code).to_owned())?;
                if hint != 0 && (text.len(), input.pos()) == (done, eaten) {
                    return Err("ends too early".to_owned());
                }
            }
        }
    }
    Ok(text)
}

/// A reader with all that it was sent, and what it should have made of it.
struct Client {
    reader: Reader,
    sent: Vec<u8>,
    plain: Vec<u8>,
    live: Live,
    decoded: Vec<u8>,
    /// Bytes that `live` has seen.
    seen: usize,
}

impl Client {
    fn open(encoding: Encoding) -> Self {
        let mut sent = Vec::new();
        let reader = Reader::open(encoding, &mut sent);
        let live = Live::new(encoding);
        Self { reader, sent, plain: Vec::new(), live, decoded: Vec::new(), seen: 0 }
    }

    fn own(&mut self, plain: &[u8]) {
        self.reader.own(plain, &mut self.sent);
        self.plain.extend_from_slice(plain);
        self.check();
    }

    /// Takes the piece if it may.
    fn take(&mut self, piece: &Piece, plain: &[u8]) -> bool {
        let can = self.reader.can_take(piece);
        let Some(from) = self.reader.take(piece) else {
            assert!(!can);
            return false;
        };
        assert!(can);
        self.sent.extend_from_slice(&piece.bytes[from..]);
        self.plain.extend_from_slice(plain);
        self.check();
        true
    }

    /// All that was meant so far can be read now.
    fn check(&mut self) {
        self.live.decode(&self.sent[self.seen..], &mut self.decoded);
        self.seen = self.sent.len();
        assert!(self.decoded == self.plain, "what was sent is not yet, or wrongly, decoded");
    }

    /// The whole response, which decodes.
    fn close(mut self) -> Vec<u8> {
        self.reader.close(&mut self.sent);
        let text = decode(self.reader.encoding(), &self.sent).expect("a whole stream");
        assert!(text == self.plain, "the whole response decodes to another text");
        self.sent
    }
}

/// Both runs of a feed.
struct Feed(Vec<Encoder>);

impl Feed {
    fn new() -> Self {
        Self(vec![Encoder::new(Coding::Deflate), Encoder::new(Coding::Zstd)])
    }

    fn push(&mut self, plain: &[u8], join: bool) -> Vec<Piece> {
        self.0.iter_mut().map(|encoder| encoder.push(plain, join)).collect()
    }
}

fn event(n: usize) -> Vec<u8> {
    let id = n * 7919;
    format!(
        "event: message\nid: [{{\"topic\":\"eqiad.mediawiki.recentchange\",\"offset\":{id}}}]\n\
         data: {{\"title\":\"Page {}\",\"user\":\"User {}\",\"bot\":false,\"id\":{id}}}\n\n",
        n % 37,
        n % 11,
    )
    .into_bytes()
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        plain: Vec<u8>,
        join: bool,
    },
    Open(Encoding),
    Own {
        who: usize,
        plain: Vec<u8>,
    },
    Leave {
        who: usize,
    },
    /// Sees nothing of the next pieces.
    Sleep {
        who: usize,
        pieces: usize,
    },
    Close {
        who: usize,
    },
    /// The encoders are dropped and made anew.
    Renew,
}

fn plain() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        8 => (0_usize..40).prop_map(event),
        2 => noise.clone(),
        1 => Just(Vec::new()),
        1 => (noise, 0_usize..900).prop_map(|(noise, times)| noise.repeat(times)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0_usize..100;
    let encoding = prop_oneof![Just(ENCODINGS[0]), Just(ENCODINGS[1]), Just(ENCODINGS[2])];
    prop_oneof![
        20 => (plain(), proptest::bool::weighted(0.3))
            .prop_map(|(plain, join)| Step::Push { plain, join }),
        4 => encoding.prop_map(Step::Open),
        4 => (who.clone(), plain()).prop_map(|(who, plain)| Step::Own { who, plain }),
        1 => who.clone().prop_map(|who| Step::Leave { who }),
        2 => (who.clone(), 1_usize..6).prop_map(|(who, pieces)| Step::Sleep { who, pieces }),
        2 => who.prop_map(|who| Step::Close { who }),
        1 => Just(Step::Renew),
    ]
}

/// Does the steps; returns how many pieces were taken.
fn walk(steps: Vec<Step>) -> usize {
    let mut feed = Feed::new();
    let mut clients: Vec<(Client, usize)> = Vec::new();
    let mut taken = 0;
    for step in steps {
        let len = clients.len();
        match step {
            Step::Push { plain, join } => {
                let pieces = feed.push(&plain, join);
                for (client, asleep) in &mut clients {
                    if *asleep > 0 {
                        *asleep -= 1;
                        continue;
                    }
                    for piece in &pieces {
                        let is_mine = piece.coding == client.reader.encoding().coding();
                        if is_mine && client.reader.is_inside() && !client.reader.can_take(piece) {
                            client.reader.leave(&mut client.sent);
                        }
                        let is_taken = client.take(piece, &plain);
                        assert!(is_mine || !is_taken, "of another coding");
                        taken += usize::from(is_taken);
                    }
                }
            }
            Step::Open(encoding) => clients.push((Client::open(encoding), 0)),
            Step::Renew => feed = Feed::new(),
            _ if len == 0 => {}
            Step::Own { who, plain } => clients[who % len].0.own(&plain),
            Step::Leave { who } => {
                let client = &mut clients[who % len].0;
                client.reader.leave(&mut client.sent);
            }
            Step::Sleep { who, pieces } => clients[who % len].1 = pieces,
            Step::Close { who } => {
                clients.swap_remove(who % len).0.close();
            }
        }
    }
    for (client, _) in clients {
        client.close();
    }
    taken
}

proptest! {
    #[test]
    fn whoever_comes_goes_and_returns_gets_its_text_at_once_and_a_whole_stream(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        walk(steps);
    }
}

#[test]
fn the_steps_of_the_property_do_lead_into_the_run() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut taken = 0;
    for _ in 0..20 {
        let steps = proptest::collection::vec(step(), 60..80);
        taken += walk(steps.new_tree(&mut runner).unwrap().current());
    }
    assert!(taken > 500, "{taken}");
}

#[test]
fn a_join_point_comes_by_itself_and_when_asked_for() {
    for coding in [Coding::Deflate, Coding::Zstd] {
        let mut encoder = Encoder::new(coding);
        let joins: Vec<u32> = (0..3 * JOIN_EVERY)
            .filter(|n| encoder.push(&event(*n as usize), *n == 60).join_at.is_some())
            .collect();
        assert_eq!(joins, [0, JOIN_EVERY, 60, 60 + JOIN_EVERY]);
    }
}

#[test]
fn a_frame_of_no_bytes_puts_the_join_point_off_to_the_next() {
    for encoding in ENCODINGS {
        let mut encoder = Encoder::new(encoding.coding());
        let mut client = Client::open(encoding);
        assert!(!client.take(&encoder.push(b"", true), b""));
        assert!(client.take(&encoder.push(b"a", false), b"a"));
        let empty = encoder.push(b"", true);
        assert!(!Client::open(encoding).take(&empty, b""));
        assert!(client.take(&empty, b""));
        let join = encoder.push(b"b", false);
        assert!(Client::open(encoding).take(&join, b"b"));
        assert!(client.take(&join, b"b"));
        client.close();
    }
}

#[test]
fn a_join_point_costs_deflate_nothing_and_zstd_the_end_of_a_frame() {
    let mut feed = Feed::new();
    let firsts = feed.push(&event(0), false);
    assert!(firsts.iter().all(|first| first.join_at == Some(0)), "there is no frame to end");
    let pieces = feed.push(&event(1), true);
    assert_eq!(pieces[0].join_at, Some(0));
    assert_eq!(pieces[1].join_at, Some(3));
    assert_eq!(pieces[1].bytes[..3], zstd::END);
    let mut own = Vec::new();
    zstd::raw(b"x", &mut own);
    assert_eq!(pieces[1].bytes[3..9], own[..6], "all frames claim the same window");
}

#[test]
fn an_encoder_of_zstd_holds_no_more_than_it_says() {
    let mut encoder = Encoder::new(Coding::Zstd);
    for n in 0..4 {
        encoder.push(&event(n).repeat(10_000), true);
    }
    let Run::Zstd(run) = &encoder.run else { panic!("another coding") };
    let held = run.size_bytes() + encoder.scratch.capacity();
    let max = Coding::Zstd.encoder_bytes_max();
    assert!((max / 2..=max).contains(&held), "{held} of {max}");
}

#[test]
fn every_piece_of_deflate_ends_with_a_sync_flush_also_where_the_buffer_was_full() {
    let noise: Vec<u8> =
        (0_u32..70_000).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    let mut encoder = Encoder::new(Coding::Deflate);
    for len in (1..300).chain([4096, 65_535, 65_536, 70_000]) {
        let piece = encoder.push(&noise[..len], len % 3 == 0);
        assert!(piece.bytes.ends_with(&[0, 0, 0xff, 0xff]), "{len}");
    }
}

#[test]
fn own_text_of_any_length_is_stored() {
    for encoding in ENCODINGS {
        for len in [0, 1, 65_535, 65_536, 131_072, 131_073, 400_000] {
            let mut client = Client::open(encoding);
            client.own(&vec![b'x'; len]);
            let sent = client.close();
            assert!((len..len + 64).contains(&sent.len()), "{encoding:?} {len} {}", sent.len());
        }
    }
}

/// Why own bytes leave the run: nothing else would notice.
#[test]
fn own_bytes_inside_the_run_would_decode_without_an_error_to_a_wrong_text() {
    let own = b": own\n\n";
    let texts: Vec<Vec<u8>> = (0..3).map(event).collect();
    let expected = [&texts[0], &own[..], &texts[1], &texts[2]].concat();

    let mut deflate = Encoder::new(Coding::Deflate);
    let mut wrong = Vec::new();
    wrong.extend_from_slice(&deflate.push(&texts[0], false).bytes);
    deflate::stored(own, &mut wrong);
    wrong.extend_from_slice(&deflate.push(&texts[1], false).bytes);
    wrong.extend_from_slice(&deflate.push(&texts[2], false).bytes);
    let mut text = Vec::new();
    Live::Raw { inflate: Decompress::new(false), head: 0 }.decode(&wrong, &mut text);
    assert_eq!(text.len(), expected.len());
    assert_ne!(text, expected);

    let mut zstd = Encoder::new(Coding::Zstd);
    let mut wrong = Vec::new();
    wrong.extend_from_slice(&zstd.push(&texts[0], false).bytes);
    // A raw block, not the last of its frame.
    wrong.extend_from_slice(&[(own.len() as u8) << 3, 0, 0]);
    wrong.extend_from_slice(own);
    wrong.extend_from_slice(&zstd.push(&texts[1], false).bytes);
    wrong.extend_from_slice(&zstd.push(&texts[2], false).bytes);
    let mut text = Vec::new();
    Live::new(Encoding::Zstd).decode(&wrong, &mut text);
    assert_eq!(text.len(), expected.len());
    assert_ne!(text, expected);

    for encoding in ENCODINGS {
        let mut encoder = Encoder::new(encoding.coding());
        let mut client = Client::open(encoding);
        assert!(client.take(&encoder.push(&texts[0], false), &texts[0]));
        client.own(own);
        assert!(!client.take(&encoder.push(&texts[1], false), &texts[1]));
        assert!(client.take(&encoder.push(&texts[2], true), &texts[2]));
        client.close();
    }
}

#[test]
fn a_reader_that_missed_a_piece_or_is_of_an_encoder_that_is_gone_has_to_leave_first() {
    for encoding in ENCODINGS {
        let mut encoder = Encoder::new(encoding.coding());
        let mut client = Client::open(encoding);
        assert!(client.take(&encoder.push(b"one", false), b"one"));
        encoder.push(b"missed", false);
        let join = encoder.push(b"three", true);
        assert!(!client.take(&join, b"three"));
        client.reader.leave(&mut client.sent);
        assert!(client.take(&join, b"three"));
        // The encoder that takes its place counts from one as well.
        let mut encoder = Encoder::new(encoding.coding());
        for _ in 0..5 {
            assert!(!client.take(&encoder.push(b"new", true), b"new"));
        }
        client.close();
    }
}

#[test]
fn nobody_takes_a_piece_of_another_coding() {
    let mut feed = Feed::new();
    let pieces = feed.push(b"text", true);
    assert!(!Client::open(Encoding::Gzip).take(&pieces[1], b""));
    assert!(!Client::open(Encoding::Deflate).take(&pieces[1], b""));
    assert!(!Client::open(Encoding::Zstd).take(&pieces[0], b""));
}

#[test]
fn a_response_that_ends_before_its_first_text_is_whole() {
    for encoding in ENCODINGS {
        let sent = Client::open(encoding).close();
        assert!(!sent.is_empty());
    }
}

#[test]
fn a_wrong_checksum_would_be_noticed() {
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        let mut sent = visit(encoding).0;
        *sent.last_mut().unwrap() ^= 1;
        assert!(decode(encoding, &sent).is_err());
        sent.truncate(sent.len() - 1);
        assert!(decode(encoding, &sent).is_err());
    }
    let sent = visit(Encoding::Zstd).0;
    assert!(decode(Encoding::Zstd, &sent[..sent.len() - 1]).is_err());
}

/// A usual visit: greeting, live, an absence with catch-up, live again. Sent bytes, and their text.
fn visit(encoding: Encoding) -> (Vec<u8>, Vec<u8>) {
    let mut encoder = Encoder::new(encoding.coding());
    for n in 0..30 {
        encoder.push(&event(n), false);
    }
    let mut client = Client::open(encoding);
    client.own(b": hello\nretry: 3000\n\n");
    for n in 30..240 {
        if (100..120).contains(&n) {
            client.own(&event(n));
            encoder.push(&event(n), false);
            continue;
        }
        let piece = encoder.push(&event(n), n == 50);
        if !client.take(&piece, &event(n)) {
            client.own(&event(n));
        }
    }
    assert!(client.reader.is_inside());
    let plain = client.plain.clone();
    (client.close(), plain)
}

/// What a program makes of these bytes; it has to be content.
fn program(command: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a program that every host of ours has");
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{command} {args:?}: {}", output.status);
    output.stdout
}

#[test]
fn the_gzip_program_and_python_read_a_visit_and_find_its_checksum_right() {
    const IN: &str = "import sys, zlib, gzip; data = sys.stdin.buffer.read(); ";
    let python = |code: &str, bytes: &[u8]| {
        let code = format!("{IN}sys.stdout.buffer.write({code})");
        program("python3", &["-c", &code], bytes)
    };
    let (sent, plain) = visit(Encoding::Gzip);
    assert!(program("gzip", &["-dc"], &sent) == plain);
    assert!(python("gzip.decompress(data)", &sent) == plain);
    let (sent, plain) = visit(Encoding::Deflate);
    assert!(python("zlib.decompress(data)", &sent) == plain);
}
