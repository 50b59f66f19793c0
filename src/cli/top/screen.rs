//! What is on the screen, and what keys do to it. Draws and decides; asks nobody.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table, TableState};

use super::gather::{Deed, News, Order};
use super::sample::{SORTS, Session, View};
use super::words::{self, CLIENT_COLUMNS, SESSION_COLUMNS};

const KEYS: &str = "q quit   s sort   up/down choose   enter sessions   d end   b block";
const KEYS_INSIDE: &str = "q quit   esc back   up/down choose   d end   b block the client";

/// What a key leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// To nothing outside.
    Nothing,
    /// To the end.
    Quit,
    /// Somebody has to do something.
    Order(Order),
}

/// One client's sessions.
struct Inside {
    client: String,
    sessions: Vec<Session>,
}

/// The state of the screen.
pub(super) struct Screen {
    url: String,
    view: Option<View>,
    /// Why nobody answers.
    away: Option<String>,
    /// What was done last.
    said: Option<String>,
    sort: usize,
    selected: usize,
    inside: Option<Inside>,
    /// What is done if the answer is yes.
    asking: Option<Deed>,
}

impl Screen {
    pub(super) fn new(url: &str, sort: usize) -> Self {
        let (view, away, said, inside, asking) = (None, None, None, None, None);
        Self { url: url.to_owned(), view, away, said, sort, selected: 0, inside, asking }
    }

    /// There is something new to show.
    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Seen(view) => (self.view, self.away) = (Some(view), None),
            News::Away(why) => self.away = Some(why),
            News::Done(what) => self.said = Some(what),
            News::Sessions(sessions) => {
                if let Some(inside) = &mut self.inside {
                    inside.sessions = sessions;
                }
            }
            News::Stop => {}
        }
        self.selected = self.selected.min(self.rows().saturating_sub(1));
    }

    fn rows(&self) -> usize {
        match (&self.inside, &self.view) {
            (Some(inside), _) => inside.sessions.len(),
            (None, view) => view.as_ref().map_or(0, |view| view.clients.len()),
        }
    }

    /// The client that is meant.
    fn client(&self) -> Option<String> {
        if let Some(inside) = &self.inside {
            return Some(inside.client.clone());
        }
        let clients = &self.view.as_ref()?.clients;
        Some(clients.get(self.selected)?.client.clone())
    }

    /// A key was pressed.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Reaction {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        if let Some(deed) = self.asking.take() {
            return match key.code {
                KeyCode::Char('c') if ctrl => Reaction::Quit,
                KeyCode::Char('y' | 'Y') => Reaction::Order(Order::Do(deed)),
                _ => Reaction::Nothing,
            };
        }
        self.said = None;
        match key.code {
            KeyCode::Char('c') if ctrl => return Reaction::Quit,
            KeyCode::Char('q') => return Reaction::Quit,
            KeyCode::Char('s') if self.inside.is_none() => {
                self.sort = (self.sort + 1) % SORTS.len();
                return Reaction::Order(Order::Sort(self.sort));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.rows().saturating_sub(1));
            }
            KeyCode::Enter if self.inside.is_none() => {
                let Some(client) = self.client() else { return Reaction::Nothing };
                self.inside = Some(Inside { client: client.clone(), sessions: Vec::new() });
                self.selected = 0;
                return Reaction::Order(Order::Sessions(Some(client)));
            }
            KeyCode::Esc if self.inside.is_some() => {
                (self.inside, self.selected) = (None, 0);
                return Reaction::Order(Order::Sessions(None));
            }
            KeyCode::Esc => return Reaction::Quit,
            KeyCode::Char('d') => {
                self.asking = match &self.inside {
                    Some(inside) => {
                        inside.sessions.get(self.selected).map(|one| Deed::EndSession(one.id))
                    }
                    None => self.client().map(Deed::EndClient),
                }
            }
            KeyCode::Char('b') => self.asking = self.client().map(Deed::Block),
            _ => {}
        }
        Reaction::Nothing
    }

    /// Puts all of it on the screen.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let heads = [Constraint::Length(4), Constraint::Min(1), Constraint::Length(1)];
        let [head, table, foot] = Layout::vertical(heads).areas(frame.area());
        self.draw_head(frame, head);
        match &self.inside {
            None => self.draw_clients(frame, table),
            Some(inside) => self.draw_sessions(frame, table, inside),
        }
        frame.render_widget(self.foot(), foot);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let first = match &self.inside {
            None => format!("tidegate top   {}   by {}", self.url, SORTS[self.sort]),
            Some(inside) => format!("tidegate top   {}   sessions of {}", self.url, inside.client),
        };
        let mut lines = vec![Line::from(first).bold()];
        match (&self.away, &self.view) {
            (Some(why), _) => {
                lines.push(Line::from("GONE: nobody answers; looking again").red().bold());
                lines.push(Line::from(words::plain(why)).red());
            }
            (None, Some(view)) => lines.extend(words::head(view).into_iter().map(Line::from)),
            (None, None) => lines.push(Line::from("looking")),
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_clients(&self, frame: &mut Frame<'_>, area: Rect) {
        let clients = self.view.iter().flat_map(|view| &view.clients);
        let rows = clients.map(|client| Row::new(words::client(client)));
        self.draw_table(frame, area, (&CLIENT_COLUMNS, rows.collect()));
    }

    fn draw_sessions(&self, frame: &mut Frame<'_>, area: Rect, inside: &Inside) {
        let rows = inside.sessions.iter().map(|session| Row::new(words::session(session)));
        self.draw_table(frame, area, (&SESSION_COLUMNS, rows.collect()));
    }

    fn draw_table(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        (columns, rows): (&[(&'static str, u16)], Vec<Row<'_>>),
    ) {
        let last = columns.len() - 1;
        let widths = columns.iter().enumerate().map(|(n, (_, width))| match n == last {
            true => Constraint::Min(*width),
            false => Constraint::Length(*width),
        });
        let names = Row::new(columns.iter().map(|(name, _)| *name)).reversed();
        let chosen = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        let table = Table::new(rows, widths).header(names).row_highlight_style(chosen);
        let mut state = TableState::new().with_selected(self.selected);
        // What was seen before the gateway went away is shown, but not as if it were so now.
        let table = if self.away.is_some() { table.dim() } else { table };
        frame.render_stateful_widget(table, area, &mut state);
    }

    fn foot(&self) -> Line<'_> {
        let question = self.asking.as_ref().map(|deed| match deed {
            Deed::EndClient(client) => format!("End all streams of {client}? y/n"),
            Deed::EndSession(id) => format!("End session {id}? y/n"),
            Deed::Block(client) => format!("Block {client} for an hour? y/n"),
        });
        match (question, &self.said) {
            (Some(question), _) => Line::from(question).bold(),
            (None, Some(said)) => Line::from(words::plain(said)),
            (None, None) if self.inside.is_some() => Line::from(KEYS_INSIDE).dim(),
            (None, None) => Line::from(KEYS).dim(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::sample::{Client, Host};
    use super::*;

    fn screen() -> Screen {
        let mut screen = Screen::new("http://127.0.0.1:8093", 0);
        let client = |name: &str, streams| Client {
            client: name.to_owned(),
            streams,
            budget: Some(64),
            agents: vec!["curl\u{1b}[2J".to_owned()],
            ..Client::default()
        };
        let host = Host { streams: 5, streams_max: 100, clients: 2, ..Host::default() };
        let clients = vec![client("192.0.2.1", 4), client("192.0.2.2", 1)];
        screen.on_news(News::Seen(View { host, clients, ..View::default() }));
        screen
    }

    fn shown(screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 12)).expect("a terminal");
        terminal.draw(|frame| screen.draw(frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        buffer
            .content()
            .chunks(120)
            .map(|line| line.iter().map(|c| c.symbol()).collect::<String>() + "\n")
            .collect()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Reaction {
        screen.on_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn it_shows_who_holds_what_and_nothing_that_a_stranger_sent_as_a_command() {
        let text = shown(&screen());
        assert!(text.contains("streams 5 of 100   clients 2"), "{text}");
        let line = text.lines().find(|line| line.contains("192.0.2.1")).expect("the client");
        assert!(line.contains("4/64") && line.contains("curl·[2J"), "{line}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_deed_is_asked_for_first_and_anything_but_yes_is_no() {
        let mut screen = screen();
        assert_eq!(press(&mut screen, KeyCode::Down), Reaction::Nothing);
        assert_eq!(press(&mut screen, KeyCode::Char('d')), Reaction::Nothing);
        assert!(shown(&screen).contains("End all streams of 192.0.2.2? y/n"));
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Reaction::Nothing, "that was no");
        press(&mut screen, KeyCode::Char('d'));
        let end = Order::Do(Deed::EndClient("192.0.2.2".to_owned()));
        assert_eq!(press(&mut screen, KeyCode::Char('y')), Reaction::Order(end));
        press(&mut screen, KeyCode::Char('b'));
        let block = Order::Do(Deed::Block("192.0.2.2".to_owned()));
        assert_eq!(press(&mut screen, KeyCode::Char('y')), Reaction::Order(block));
    }

    #[test]
    fn enter_leads_to_a_clients_sessions_and_escape_back() {
        let mut screen = screen();
        let sessions = Order::Sessions(Some("192.0.2.1".to_owned()));
        assert_eq!(press(&mut screen, KeyCode::Enter), Reaction::Order(sessions));
        let session = |id| Session { id, delivery: "pump".to_owned(), ..Session::default() };
        screen.on_news(News::Sessions(vec![session(7), session(8)]));
        press(&mut screen, KeyCode::Down);
        press(&mut screen, KeyCode::Char('d'));
        assert!(shown(&screen).contains("End session 8? y/n"), "{}", shown(&screen));
        press(&mut screen, KeyCode::Char('n'));
        // One of them ends: what is chosen stays on the screen.
        screen.on_news(News::Sessions(vec![session(7)]));
        press(&mut screen, KeyCode::Char('d'));
        assert!(shown(&screen).contains("End session 7? y/n"));
        press(&mut screen, KeyCode::Char('n'));
        assert_eq!(press(&mut screen, KeyCode::Esc), Reaction::Order(Order::Sessions(None)));
        assert_eq!(press(&mut screen, KeyCode::Esc), Reaction::Quit);
    }

    #[test]
    fn a_gateway_that_went_away_is_said_and_shown_again_when_it_is_back() {
        let mut screen = screen();
        let view = screen.view.clone().expect("seen");
        screen.on_news(News::Away("cannot connect".to_owned()));
        let text = shown(&screen);
        assert!(text.contains("GONE") && text.contains("192.0.2.1"), "{text}");
        screen.on_news(News::Seen(view));
        assert!(!shown(&screen).contains("GONE"));
    }
}
