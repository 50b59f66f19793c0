//! The events that are written, and how a reader knows that one came whole.

use serde::Deserialize;

/// What texts are cut from.
const TEXT: &str = "The quick brown fox jumps over the lazy dog, while jackdaws love my big sphinx \
                    of quartz; pack my box with five dozen liquor jugs, and how vexingly quick \
                    daft zebras jump! Sixty zippers were quickly picked from the woven jute bag. \
                    Amazingly few discotheques provide jukeboxes. Crazy Fredrick bought many very \
                    exquisite opal jewels. We promptly judged antique ivory buckles for the next \
                    prize. A mad boxer shot a quick, gloved jab to the jaw of his dizzy opponent.";

/// The text of event `n`: 50 to 350 bytes.
fn text(n: u64) -> &'static str {
    let from = usize::try_from(n % 89).expect("small");
    let len = 50 + usize::try_from(n.wrapping_mul(2_654_435_761) % 301).expect("small");
    &TEXT[from..from + len]
}

/// Event `n` of a stream, sent now.
#[must_use]
pub fn render(stream: &str, n: u64, sent_ms: u64) -> String {
    let (key, text) = (n % 17, text(n));
    format!(
        r#"{{"meta":{{"stream":"{stream}","key":"k{key}"}},"n":{n},"sent":{sent_ms},"text":"{text}"}}"#
    )
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    meta: Meta<'a>,
    n: u64,
    sent: u64,
    text: &'a str,
}

#[derive(Deserialize)]
struct Meta<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

/// An event as it came.
pub struct Came<'a> {
    /// Its topic and partition.
    pub place: (&'a str, i32),
    /// Its offset.
    pub offset: i64,
    /// Its number.
    pub n: u64,
    /// When it was sent, in ms of the run's clock.
    pub sent_ms: u64,
}

/// Reads `data:`. `None`: it is not as it was written.
#[must_use]
pub fn parse(data: &[u8]) -> Option<Came<'_>> {
    let Data { meta, n, sent, text: came } = serde_json::from_slice(data).ok()?;
    let place = (meta.topic, meta.partition);
    (came == text(n)).then_some(Came { place, offset: meta.offset, n, sent_ms: sent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(event: &str) -> String {
        event.replacen("{\"stream\"", "{\"topic\":\"t\",\"partition\":1,\"offset\":7,\"stream\"", 1)
    }

    #[test]
    fn every_event_is_known_again_and_a_changed_one_is_not() {
        for n in (0..100_000).chain(u64::MAX / 2 - 1000..u64::MAX / 2) {
            let event = placed(&render("s", n, 12));
            let came = parse(event.as_bytes()).expect("as written");
            assert_eq!((came.place, came.offset), (("t", 1), 7));
            assert_eq!((came.n, came.sent_ms), (n, 12));
        }
        let event = placed(&render("s", 5, 12));
        assert!(parse(event.replace("\"text\":\"", "\"text\":\"x").as_bytes()).is_none());
        assert!(parse(event.replace("\"n\":5", "\"n\":6").as_bytes()).is_none());
        assert!(parse(&event.as_bytes()[..event.len() - 1]).is_none());
    }
}
