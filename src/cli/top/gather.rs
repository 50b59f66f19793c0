//! Looks at the gateway again and again, and does what is ordered meanwhile.

use std::sync::mpsc::Sender;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::super::admin_client::AdminError;
use super::CLIENTS_MAX;
use super::sample::{SORTS, Session, View, Watcher, is_away};

/// What the screen wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Sort by this of `SORTS`.
    Sort(usize),
    /// The sessions of this client too, or of none.
    Sessions(Option<String>),
    /// Something that changes the gateway.
    Do(Deed),
}

/// Something that changes the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// End a client's streams.
    EndClient(String),
    /// End a stream.
    EndSession(u64),
    /// Block a client for an hour.
    Block(String),
}

/// What there is to show.
#[derive(Debug)]
pub(super) enum News {
    /// The gateway as it is now.
    Seen(View),
    /// The sessions that were asked for.
    Sessions(Vec<Session>),
    /// Nobody answers.
    Away(String),
    /// What became of a deed.
    Done(String),
    /// To end: a signal has come.
    Stop,
}

/// Ends when nobody wants anything any more, or a signal has come.
pub(super) async fn gather(
    mut watcher: Watcher,
    (every, mut sort): (Duration, usize),
    mut orders: UnboundedReceiver<Order>,
    news: Sender<News>,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let mut signals = kinds.map(|kind| signal(kind).ok());
    let mut of = None;
    loop {
        let stop = std::future::poll_fn(|cx| {
            let mut all = signals.iter_mut().flatten();
            match all.any(|signal| signal.poll_recv(cx).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        tokio::select! {
            () = stop => {
                let _ = news.send(News::Stop);
                return;
            }
            order = orders.recv() => match order {
                None => return,
                Some(Order::Sort(by)) => sort = by,
                Some(Order::Sessions(client)) => of = client,
                Some(Order::Do(deed)) => {
                    let _ = news.send(News::Done(done(&watcher, &deed).await));
                }
            },
            _ = ticks.tick() => {}
        }
        let _ = news.send(match watcher.look(SORTS[sort], CLIENTS_MAX).await {
            Ok(view) => News::Seen(view),
            Err(error) => {
                if is_away(&error) {
                    watcher.forget();
                }
                News::Away(format!("{error:#}"))
            }
        });
        if let Some(client) = &of
            && let Ok(sessions) = watcher.sessions(client).await
        {
            let _ = news.send(News::Sessions(sessions));
        }
    }
}

/// Does it, and says in a line what became of it.
async fn done(watcher: &Watcher, deed: &Deed) -> String {
    let gateway = watcher.client();
    let (what, answer) = match deed {
        Deed::EndClient(client) => {
            let path = format!("/admin/sessions?client={client}");
            (format!("end {client}"), gateway.send(Method::DELETE, &path, None).await)
        }
        Deed::EndSession(id) => {
            let path = format!("/admin/sessions/{id}");
            (format!("end session {id}"), gateway.send(Method::DELETE, &path, None).await)
        }
        Deed::Block(client) => {
            let by = std::env::var("USER").unwrap_or_default();
            let by = if by.is_empty() { "tidegate top".to_owned() } else { by };
            let reason = "blocked in tidegate top";
            let body = json!({ "prefix": client, "for": "1h", "reason": reason, "by": by });
            let answer = gateway.send(Method::POST, "/admin/blocks", Some(&body)).await;
            (format!("block {client} for an hour"), answer)
        }
    };
    match (deed, answer) {
        (_, Ok(_)) => format!("{what}: done"),
        (Deed::Block(_), Err(AdminError::Refused { status: StatusCode::NOT_FOUND, .. })) => {
            format!("{what}: this gateway has no blocks")
        }
        (_, Err(error)) => format!("{what}: {error}"),
    }
}
