//! Numbers and texts as they stand in a table of limited width.
//!
//! Agents and the like are what strangers sent: nothing of them reaches the terminal as a command.

use super::sample::{Client, Session, View};

/// The columns of a table of clients, and how wide each is (the last takes the rest).
pub(super) const CLIENT_COLUMNS: [(&str, u16); 7] = [
    ("CLIENT", 24),
    ("STREAMS", 12),
    ("LAG", 9),
    ("BYTES/S", 8),
    ("OLDEST", 7),
    ("REFUSED", 18),
    ("AGENT", 20),
];

/// The columns of a table of sessions.
pub(super) const SESSION_COLUMNS: [(&str, u16); 8] = [
    ("ID", 9),
    ("ADDRESS", 24),
    ("DELIVERY", 9),
    ("ENCODING", 8),
    ("LAG", 9),
    ("BYTES", 8),
    ("AGE", 7),
    ("STREAMS, AGENT", 20),
];

/// A text without what could move a terminal's cursor, change its colours or turn its writing.
pub(super) fn plain(text: &str) -> String {
    let is_mark = |c| {
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}')
            || matches!(c, '\u{2060}'..='\u{206f}')
    };
    let hostile = |c: char| c.is_control() || is_mark(c);
    text.chars().map(|c| if hostile(c) { '·' } else { c }).collect()
}

/// 950, 1.2k, 35M.
pub(super) fn short(number: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(unit, _)| number >= *unit) {
        None if number > 0.0 && number < 10.0 && number.fract() > 0.0 => format!("{number:.1}"),
        None => format!("{number:.0}"),
        Some((unit, name)) if number / unit < 10.0 => format!("{:.1}{name}", number / unit),
        Some((unit, name)) => format!("{:.0}{name}", number / unit),
    }
}

/// 45s, 12m, 3h, 9d.
pub(super) fn age(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

/// The lines above the table.
pub(super) fn head(view: &View) -> Vec<String> {
    let (host, rates) = (&view.host, &view.rates);
    let mut state = String::new();
    if host.draining {
        state += "   DRAINING";
    }
    if host.connection_log_s > 0 {
        state += &format!("   connections are logged for {} s", host.connection_log_s);
    }
    let refusals: Vec<_> = rates.refusals_per_s.iter().collect();
    let refusals = match &refusals[..] {
        [] => "none".to_owned(),
        some => some
            .iter()
            .map(|(why, n)| format!("{why} {}", short(**n)))
            .collect::<Vec<_>>()
            .join(", "),
    };
    vec![
        format!(
            "streams {} of {}   clients {}   greediest {:.1} %   catching up {}{state}",
            host.streams,
            host.streams_max,
            host.clients,
            host.greediest_permille as f64 / 10.0,
            host.catching_up,
        ),
        format!(
            "a second: connects {}   deliveries {}   bytes {}   refusals {refusals}",
            short(rates.connects_per_s),
            short(rates.deliveries_per_s),
            short(rates.bytes_per_s),
        ),
    ]
}

/// A client's cells.
pub(super) fn client(client: &Client) -> [String; 7] {
    let budget = client.budget.map_or("-".to_owned(), |budget| budget.to_string());
    let leaving = if client.leaving > 0 { format!(" -{}", client.leaving) } else { String::new() };
    let refused = match client.refused_lately {
        0 => String::new(),
        n => format!("{n} {}", client.refused_reason.as_deref().unwrap_or_default()),
    };
    [
        client.client.clone(),
        format!("{}/{budget}{leaving}", client.streams),
        lag(client.lag_events, client.lag_ms),
        short(client.bytes_per_s),
        age(client.oldest_s),
        refused,
        plain(&client.agents.join(", ")),
    ]
}

/// A session's cells.
pub(super) fn session(session: &Session) -> [String; 8] {
    let agent = session.agent.as_deref().unwrap_or("-");
    let leaves = if session.told_to_go { "ending" } else { &session.delivery };
    [
        session.id.to_string(),
        session.address.clone(),
        leaves.to_owned(),
        session.encoding.clone(),
        lag(session.lag_events, None),
        short(session.bytes as f64),
        age(session.age_s),
        format!("{}  {}", plain(&session.streams.join(",")), plain(agent)),
    ]
}

fn lag(events: u64, ms: Option<u64>) -> String {
    match (events, ms) {
        (0, _) => "0".to_owned(),
        (events, Some(ms)) if ms >= 1000 => {
            format!("{} {}", short(events as f64), age(ms as f64 / 1000.0))
        }
        (events, _) => short(events as f64),
    }
}

/// The same for scripts and pipes.
pub(super) fn table(view: &View) -> String {
    let mut text = String::new();
    for line in head(view) {
        text += &line;
        text.push('\n');
    }
    text.push('\n');
    let names = CLIENT_COLUMNS.map(|(name, _)| name.to_owned());
    let rows = std::iter::once(names).chain(view.clients.iter().map(client));
    for row in rows {
        let cells = row.iter().zip(CLIENT_COLUMNS);
        let cells = cells.map(|(cell, (_, width))| format!("{cell:<0$}", usize::from(width)));
        text += cells.collect::<Vec<_>>().join(" ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_stranger_sent_moves_the_terminal() {
        let agent = "a\u{1b}]0;title\u{7}\u{9b}2J\r\nb\u{202e}evil\u{200f}";
        assert_eq!(plain(agent), "a·]0;title··2J··b·evil·");
        assert_eq!(plain("Mozilla/5.0 (ä, 漢)"), "Mozilla/5.0 (ä, 漢)");
        let client = Client { agents: vec![agent.to_owned()], ..Client::default() };
        assert!(!table(&View { clients: vec![client], ..View::default() }).contains('\u{1b}'));
    }

    #[test]
    fn numbers_are_short_and_ages_have_one_unit() {
        let numbers = [0.0, 1.5, 950.0, 1234.0, 12_345.0, 9.9e6, 3.5e10];
        let shown: Vec<_> = numbers.into_iter().map(short).collect();
        assert_eq!(shown, ["0", "1.5", "950", "1.2k", "12k", "9.9M", "35G"]);
        let shown: Vec<_> = [45.0, 720.0, 10_800.0, 777_600.0].into_iter().map(age).collect();
        assert_eq!(shown, ["45s", "12m", "3h", "9d"]);
    }
}
