//! Compressed streams on the wire: the same text as without, whole to the last byte, whoever
//! delivers.

use tidegate::feed::encode::Encoding;

use super::harness::Live;
use super::streams::Stream;
use crate::support::packed::Unpacker;

/// Everything that a response's body is when it is decoded, strictly: end and checksum included.
fn decoded(encoding: Encoding, body: &[u8]) -> String {
    let mut unpacker = Unpacker::new(Some(encoding));
    unpacker.push(body);
    unpacker.end();
    unpacker.text().to_owned()
}

/// The text without what is each reader's own.
fn shared(text: &str) -> String {
    let is_own = |line: &&str| line.starts_with("retry: ") || *line == ":ok";
    text.lines().filter(|line| !is_own(line)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_compressed_stream_says_the_same_and_ends_whole() {
    for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
        for live in Live::each_way() {
            let name = encoding.as_str();
            let mut plain = Stream::recentchange(&live).await;
            let uri = format!("/v2/stream/recentchange?encoding={name}");
            let mut packed = Stream::open(&live.server, &uri, "").await;
            assert_eq!(packed.head.header("content-encoding"), name);
            assert_eq!(packed.head.header("vary"), "accept-encoding");
            assert_eq!(plain.head.has("content-encoding"), None);
            let (mut text, mut body) = (String::from(":ok\n\n"), Vec::new());
            for n in 0..300 {
                live.tells(5 + n);
                if n % 100 == 50 {
                    // Long enough for a join point of its own.
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                }
            }
            let last = format!("\"n\":{}", 5 + 299);
            while !text.contains(&last) {
                text += &plain.chunk().await;
            }
            live.has_delivered(600).await;
            live.gate.drain();
            live.sessions.drain(std::time::Duration::ZERO);
            loop {
                let chunk = packed.bytes().await;
                if chunk.is_empty() {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            let said = decoded(encoding, &body);
            assert!(said.starts_with(":ok\n\nevent: message\n"), "{said:.60}");
            assert_eq!(said.matches("retry: ").count(), 1);
            assert_eq!(shared(&said).trim_end(), shared(&text).trim_end());
            assert!(body.len() * 3 < said.len() * 2, "{} of {}", body.len(), said.len());
            let counted = format!("tidegate_delivered_bytes_total{{encoding=\"{name}\"}}");
            assert!(live.metrics.render().contains(&counted));
        }
    }
}

#[tokio::test]
async fn lines_of_json_are_compressed_too_and_an_empty_stream_is_whole() {
    for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
        for live in Live::each_way() {
            let uri = format!("/v2/stream/recentchange?encoding={}", encoding.as_str());
            let accept = "accept: application/json\r\n";
            let mut lines = Stream::open(&live.server, &uri, accept).await;
            for n in 0..3 {
                live.tells(5 + n);
            }
            let mut body = lines.bytes().await;
            while !live.metrics.render().contains("tidegate_events_delivered_total 3\n") {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let mut quiet = Stream::open(&live.server, &uri, "").await;
            live.sessions.drain(std::time::Duration::ZERO);
            for (stream, body, is) in
                [(&mut lines, &mut body, "\n{"), (&mut quiet, &mut Vec::new(), ":ok\n\n")]
            {
                loop {
                    let chunk = stream.bytes().await;
                    if chunk.is_empty() {
                        break;
                    }
                    body.extend_from_slice(&chunk);
                }
                let said = decoded(encoding, body);
                assert!(said.starts_with(is), "{said}");
                assert_eq!(said.matches("\"n\":").count(), if is == "\n{" { 3 } else { 0 });
            }
        }
    }
}
