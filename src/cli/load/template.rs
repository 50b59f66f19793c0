//! What is sent for one event: a text with places for what changes.

use anyhow::bail;

use super::scan::Mark;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Mark,
    SentUs,
    Seq,
    Writer,
    Pad,
}

/// The places that there are.
const PLACES: [(&str, Part); 5] = [
    ("{mark}", Part::Mark),
    ("{sent_us}", Part::SentUs),
    ("{seq}", Part::Seq),
    ("{writer}", Part::Writer),
    ("{pad}", Part::Pad),
];

/// What is sent for one event.
#[derive(Debug, Clone)]
pub(super) struct Template {
    parts: Vec<Part>,
    /// Bytes of an event; the pad makes up for what is missing.
    size: usize,
}

impl Template {
    /// Reads a template; its events will have `size` bytes.
    ///
    /// # Errors
    /// When there is no mark in it, or it cannot have this size.
    pub(super) fn parse(text: &str, size: usize) -> anyhow::Result<Self> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let place = PLACES
                .iter()
                .filter_map(|(name, part)| rest.find(name).map(|at| (at, name.len(), part)));
            let Some((at, length, part)) = place.min_by_key(|(at, ..)| *at) else {
                parts.push(Part::Text(rest.into()));
                break;
            };
            parts.push(Part::Text(rest[..at].into()));
            parts.push(part.clone());
            rest = &rest[at + length..];
        }
        if !parts.contains(&Part::Mark) {
            bail!("the template `{text}` has no {{mark}}, by which readers know an event");
        }
        let template = Self { parts, size };
        let mut longest = Vec::new();
        template.print(Mark { sent_us: u64::MAX, seq: u64::MAX, writer: u64::MAX }, &mut longest);
        if template.parts.contains(&Part::Pad) && longest.len() > size {
            bail!("an event needs {} bytes without any pad; the size is {size}", longest.len());
        }
        Ok(template)
    }

    /// For Tidegate's intake. The key keeps each writer's events in one partition, and so in order.
    pub(super) fn of_stream(stream: &str) -> String {
        let name = serde_json::Value::from(stream);
        format!(r#"{{"meta":{{"stream":{name},"key":"{{writer}}"}},{{mark}},"pad":"{{pad}}"}}"#)
    }

    /// Adds an event.
    pub(super) fn print(&self, mark: Mark, into: &mut Vec<u8>) {
        let begin = into.len();
        let mut pad_at = None;
        let mut digits = itoa::Buffer::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => into.extend_from_slice(text),
                Part::Mark => mark.print(into),
                Part::SentUs => into.extend_from_slice(digits.format(mark.sent_us).as_bytes()),
                Part::Seq => into.extend_from_slice(digits.format(mark.seq).as_bytes()),
                Part::Writer => into.extend_from_slice(digits.format(mark.writer).as_bytes()),
                Part::Pad => pad_at = Some(into.len()),
            }
        }
        if let Some(at) = pad_at {
            let missing = self.size.saturating_sub(into.len() - begin);
            into.splice(at..at, (0..missing).map(|n| b'a' + (n * 7 % 26) as u8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { sent_us: 1_790_000_000_000_000, seq: 8, writer: 256 };

    fn print(template: &str, size: usize) -> String {
        let mut text = b"[".to_vec();
        Template::parse(template, size).expect("legal").print(MARK, &mut text);
        String::from_utf8(text.split_off(1)).expect("text")
    }

    #[test]
    fn an_event_for_tidegate_is_json_of_the_size_that_was_asked_for() {
        let event = print(&Template::of_stream("a\"b"), 300);
        assert_eq!(event.len(), 300);
        let json: serde_json::Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!(json["meta"]["stream"], "a\"b");
        assert_eq!(json["meta"]["key"], "256");
        assert_eq!(json["sent_us"], MARK.sent_us);
        assert_eq!((&json["seq"], &json["writer"]), (&8.into(), &256.into()));
    }

    #[test]
    fn every_place_is_filled_and_other_braces_stay() {
        let text = print("a={x}{seq}&w={writer}&t={sent_us}{{mark}}", 0);
        let mark = r#""sent_us":1790000000000000,"seq":8,"writer":256"#;
        assert_eq!(text, format!("a={{x}}8&w=256&t=1790000000000000{{{mark}}}"));
    }

    #[test]
    fn a_template_without_a_mark_or_without_room_for_it_is_refused() {
        let error = |text: &str, size| Template::parse(text, size).expect_err(text).to_string();
        assert!(error("{seq} {sent_us}", 10).contains("{mark}"));
        assert!(error("{mark}{pad}", 50).contains("the size is 50"));
        assert!(Template::parse("{mark}", 1).is_ok(), "without a pad the size does not matter");
    }
}
