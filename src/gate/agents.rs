//! What clients call themselves (`User-Agent`), each text once however many send it.
//!
//! Hostile input: cut to a length and counted, and shown by others as the bytes that it is.
//! Pure: no I/O, no clock.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::{AGENT_BYTES_MAX, AGENTS_MAX};

/// A text of the pool; 0: none was sent, or there was no room for it.
pub(super) type AgentNumber = u32;

/// The texts of all open streams.
#[derive(Debug, Default)]
pub(super) struct Agents {
    /// Each with how many use it. Number n is at n - 1.
    texts: Vec<Option<(Arc<str>, u32)>>,
    numbers: HashMap<Arc<str>, AgentNumber>,
    free: Vec<AgentNumber>,
}

/// What a client has sent as it is kept and logged: UTF-8, and not longer than
/// `limits::AGENT_BYTES_MAX`.
#[must_use]
pub fn cut(value: &[u8]) -> String {
    let value = &value[..value.len().min(AGENT_BYTES_MAX)];
    let mut text = String::from_utf8_lossy(value).into_owned();
    // What is no UTF-8 has become longer; a character that was cut has too.
    while text.len() > AGENT_BYTES_MAX {
        text.pop();
    }
    text
}

impl Agents {
    /// The number of a text, which has one user more now.
    pub(super) fn take(&mut self, value: Option<&[u8]>) -> AgentNumber {
        let text = match value.map(<[u8]>::trim_ascii) {
            None | Some(b"") => return 0,
            Some(value) => cut(value),
        };
        if let Some(number) = self.numbers.get(&*text) {
            if let Some(Some((_, users))) = self.texts.get_mut(*number as usize - 1) {
                *users += 1;
            }
            return *number;
        }
        if self.numbers.len() >= AGENTS_MAX {
            return 0;
        }
        let text: Arc<str> = text.into();
        let number = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            AgentNumber::try_from(self.texts.len()).expect("they are bounded")
        });
        self.texts[number as usize - 1] = Some((Arc::clone(&text), 1));
        self.numbers.insert(text, number);
        number
    }

    /// A user has gone.
    pub(super) fn give_back(&mut self, number: AgentNumber) {
        let Some(place) = (number as usize).checked_sub(1) else { return };
        let Some(Some((text, users))) = self.texts.get_mut(place) else { return };
        *users -= 1;
        if *users == 0 {
            self.numbers.remove(text);
            self.texts[place] = None;
            self.free.push(number);
        }
    }

    /// The text of a number.
    pub(super) fn text(&self, number: AgentNumber) -> Option<Arc<str>> {
        let place = (number as usize).checked_sub(1)?;
        let (text, _) = self.texts.get(place)?.as_ref()?;
        Some(Arc::clone(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_as_long_as_somebody_uses_it() {
        let mut agents = Agents::default();
        let (a, again) = (agents.take(Some(b"curl/8")), agents.take(Some(b" curl/8 ")));
        let b = agents.take(Some(b"other"));
        assert!(a == again && a != b && a != 0);
        agents.give_back(a);
        assert_eq!(agents.text(a).as_deref(), Some("curl/8"));
        agents.give_back(a);
        assert_eq!((agents.text(a), agents.text(b).as_deref()), (None, Some("other")));
        assert_eq!(agents.take(Some(b"third")), a, "its place is used again");
        assert_eq!((agents.take(None), agents.take(Some(b"  "))), (0, 0));
    }

    #[test]
    fn what_is_hostile_is_cut_and_bounded() {
        let mut agents = Agents::default();
        let n = agents.take(Some(&[0xff; 5000]));
        assert!(agents.text(n).expect("kept").len() <= AGENT_BYTES_MAX);
        let cut_inside = [b"x".repeat(AGENT_BYTES_MAX - 1), "ä".into()].concat();
        assert!(cut(&cut_inside).len() <= AGENT_BYTES_MAX);
        for n in 0..AGENTS_MAX + 10 {
            agents.take(Some(format!("agent {n}").as_bytes()));
        }
        assert_eq!(agents.take(Some(b"one more")), 0);
        assert!(agents.texts.len() <= AGENTS_MAX);
    }
}
