//! Sockets that the service manager holds for us, so that nobody meets a closed port while one
//! process follows another (systemd's socket activation: `LISTEN_FDS`, `LISTEN_FDNAMES`).
//!
//! They are named `public` and `admin`; sockets without these names are taken in this order. What
//! is not handed over is bound as the configuration says.

use std::net::TcpListener;

use anyhow::{Context, bail, ensure};
use listenfd::ListenFd;

const NAMES: [&str; 2] = ["public", "admin"];

/// What was handed over.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) public: Option<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

impl Sockets {
    /// Those of this process; to be called once.
    ///
    /// # Errors
    /// When one is no socket that listens for TCP, or is none of ours.
    pub(super) fn handed_over() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed = ListenFd::from_env();
        let places = places(&names, handed.len())?;
        let mut sockets = Self::default();
        for (n, place) in places.into_iter().enumerate() {
            let socket = handed.take_tcp_listener(n);
            let name = NAMES[place];
            let socket = socket.with_context(|| format!("take the {name} socket (LISTEN_FDS)"))?;
            let socket = socket.context("each is taken once")?;
            // Whoever binds a port and does not listen yet has handed over a port that refuses.
            let listens = rustix::net::sockopt::socket_acceptconn(&socket);
            ensure!(listens.unwrap_or(false), "the {name} socket (LISTEN_FDS) does not listen");
            let own = if place == 0 { &mut sockets.public } else { &mut sockets.admin };
            ensure!(own.replace(socket).is_none(), "LISTEN_FDNAMES names two sockets {name}");
        }
        Ok(sockets)
    }
}

/// Which of `NAMES` each is.
fn places(names: &str, how_many: usize) -> anyhow::Result<Vec<usize>> {
    let most = NAMES.len();
    ensure!(how_many <= most, "LISTEN_FDS: found {how_many} sockets; up to {most} are accepted");
    let names: Vec<&str> = names.split(':').collect();
    if how_many == 0 || !names.iter().any(|name| NAMES.contains(name)) {
        return Ok((0..how_many).collect());
    }
    let place = |n: usize| {
        let name = names.get(n).copied().unwrap_or_default();
        match NAMES.iter().position(|known| *known == name) {
            Some(place) => Ok(place),
            None => bail!("LISTEN_FDNAMES: found {name:?}; {} are accepted", NAMES.join(", ")),
        }
    };
    (0..how_many).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_by_their_names_and_without_them_by_their_order() {
        let said = |names, n| places(names, n).map_err(|error| error.to_string());
        assert_eq!(said("admin:public", 2), Ok(vec![1, 0]));
        assert_eq!(said("admin", 1), Ok(vec![1]));
        assert_eq!(said("tidegate.socket:tidegate.socket", 2), Ok(vec![0, 1]));
        assert_eq!((said("", 1), said("", 0)), (Ok(vec![0]), Ok(vec![])));
        assert!(said("public:other", 2).is_err_and(|error| error.contains("\"other\"")));
        assert!(said("", 3).is_err_and(|error| error.contains("found 3")));
    }
}
