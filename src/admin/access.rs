//! Who may use what stands under `/admin/`.
//!
//! With a token: who sends it. Without one: who comes from this host. Never a web page: one that an
//! operator happens to look at could ask for `http://127.0.0.1:8093/admin/…` in their name.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Admin;
use super::problem::Problem;
use crate::gate::tokens::bearer;

/// Bytes of a token's file.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;
/// A token that can be guessed is none.
const TOKEN_BYTES_MIN: usize = 16;

/// The rule.
#[derive(Default)]
pub struct Access {
    token: Option<Box<[u8]>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.token.is_some() { "Access(token)" } else { "Access(loopback)" })
    }
}

/// Why a token's file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It holds something else.
    #[error("holds {0} bytes; one line of {TOKEN_BYTES_MIN} to {TOKEN_FILE_BYTES_MAX} is accepted")]
    Length(u64),
    /// It holds what no header can.
    #[error("holds other bytes than visible ASCII in one line")]
    Bytes,
}

impl Access {
    /// Only with the token that this file holds, white space around it left out.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn with_token_in(file: &Path) -> Result<Self, NoToken> {
        Ok(Self { token: Some(Self::token_in(file)?) })
    }

    /// The token that this file holds, for those who send it.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn token_in(file: &Path) -> Result<Box<[u8]>, NoToken> {
        let length = std::fs::metadata(file)?.len();
        if length > TOKEN_FILE_BYTES_MAX {
            return Err(NoToken::Length(length));
        }
        let text = std::fs::read(file)?;
        let token = text.trim_ascii();
        if token.len() < TOKEN_BYTES_MIN {
            return Err(NoToken::Length(token.len() as u64));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(NoToken::Bytes);
        }
        Ok(token.into())
    }

    fn allows(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Problem> {
        if headers.contains_key(header::ORIGIN) {
            return Err(Problem::forbidden("Web pages may not use this port."));
        }
        let Some(token) = &self.token else {
            if !peer.to_canonical().is_loopback() {
                return Err(Problem::forbidden(
                    "Without admin_token_file only this host itself may use /admin/.",
                ));
            }
            // A page that has its own name resolve to 127.0.0.1 sends no Origin with a GET.
            return if names_this_host(headers) {
                Ok(())
            } else {
                Err(Problem::forbidden("The header Host has to be an address or localhost."))
            };
        };
        let sent = headers.get(header::AUTHORIZATION).and_then(bearer);
        let is_ours = sent.is_some_and(|sent| same(sent, token));
        if is_ours { Ok(()) } else { Err(Problem::no_token()) }
    }
}

fn names_this_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Takes the same time wherever two texts of one length differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

/// Lets a request pass, or answers it.
pub(super) async fn check(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    admin.access.allows(peer.ip(), request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn asks(access: &Access, peer: [u8; 4], pairs: &[(HeaderName, &str)]) -> bool {
        let pairs = pairs.iter().map(|(n, v)| (n.clone(), v.parse().expect("a value")));
        access.allows(peer.into(), &pairs.collect()).is_ok()
    }

    #[test]
    fn without_a_token_it_is_this_host_and_no_web_page() {
        let access = Access::default();
        let here = [127, 0, 0, 1];
        assert!(asks(&access, here, &[(header::HOST, "127.0.0.1:8093")]));
        assert!(asks(&access, here, &[(header::HOST, "localhost:8093")]));
        assert!(asks(&access, here, &[(header::HOST, "[::1]:8093")]));
        assert!(!asks(&access, here, &[(header::HOST, "rebound.example:8093")]));
        assert!(!asks(&access, here, &[(header::ORIGIN, "null")]));
        assert!(!asks(&access, [192, 0, 2, 1], &[]));
    }

    #[test]
    fn with_a_token_it_is_who_has_it_from_anywhere() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "  0123456789abcdef\n").expect("write");
        let access = Access::with_token_in(file.path()).expect("a token");
        let with = |value| asks(&access, [192, 0, 2, 1], &[(header::AUTHORIZATION, value)]);
        assert!(with("Bearer 0123456789abcdef") && with("bearer  0123456789abcdef "));
        assert!(!with("Bearer 0123456789abcdeg") && !with("0123456789abcdef") && !with("Basic"));
        assert!(!asks(&access, [127, 0, 0, 1], &[]), "this host has to send it too");
        let page = [(header::AUTHORIZATION, "Bearer 0123456789abcdef"), (header::ORIGIN, "null")];
        assert!(!asks(&access, [127, 0, 0, 1], &page));
    }

    #[test]
    fn a_file_without_a_good_token_says_what_it_holds() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let said = |text: &str| {
            std::fs::write(file.path(), text).expect("write");
            Access::with_token_in(file.path()).expect_err("no token").to_string()
        };
        assert!(said("short\n").contains("holds 5 bytes"), "{}", said("short\n"));
        assert!(said("0123456789 abcdef\n").contains("visible ASCII"));
        assert!(Access::with_token_in(Path::new("/nowhere")).is_err());
    }
}
