//! Whether a stream is compressed, and how: `Accept-Encoding`, `?encoding=`, and what the operator
//! allows.
//!
//! Not everyone who asks gets one by default. `requests` asks for gzip by itself, and clients that
//! read its raw bytes (`sseclient`) then see no event; `httpx` asks for zstd and fails on its
//! second frame. A recognised browser can read it, and so can who has written a q-value.

use axum::http::{HeaderMap, HeaderValue, header};

use super::stream::is_browser;
use crate::config::Compress;
use crate::feed::encode::Encoding;

/// What there is, best first where a client likes several as much.
const OFFERED: [Encoding; 3] = [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate];

/// The encoding of a response; `None`: as it is. `asked` is what the query says; a word that is no
/// encoding says nothing.
pub(super) fn chosen(
    compress: Compress,
    asked: Option<&str>,
    headers: &HeaderMap,
) -> Option<Encoding> {
    if compress == Compress::Nobody {
        return None;
    }
    if asked == Some("identity") {
        return None;
    }
    if let Some(asked) = OFFERED.into_iter().find(|e| asked == Some(e.as_str())) {
        return Some(asked);
    }
    let accepted = Accepted::of(headers);
    let may = match compress {
        Compress::Nobody => false,
        Compress::Everyone => true,
        Compress::Browsers => accepted.weighs || is_browser(headers),
    };
    may.then(|| accepted.best(is_chromium(headers))).flatten()
}

/// Whether gzip may be sent to who asked for a file. (Readers of raw bytes do not come for those.)
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    Accepted::of(headers).q("gzip").is_some_and(|q| q > 0)
}

/// Chromium reads zstd event by event, and it is cheaper to make.
fn is_chromium(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    is_browser(headers) && agent.windows(7).any(|w| w == b"Chrome/")
}

/// What `Accept-Encoding` says, in thousandths.
#[derive(Debug, Default)]
struct Accepted {
    codings: Vec<(String, u16)>,
    /// A q-value is written.
    weighs: bool,
}

impl Accepted {
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let lines = headers.get_all(header::ACCEPT_ENCODING);
        for item in lines.iter().filter_map(|l| l.to_str().ok()).flat_map(|l| l.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
            let q = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
            accepted.weighs |= q.is_some();
            let q = q.map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
            // What cannot be read is not asked for.
            let q = q.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1000"
            )]
            accepted.codings.push((coding, (q * 1000.0) as u16));
        }
        accepted
    }

    fn q(&self, coding: &str) -> Option<u16> {
        self.codings.iter().find(|(c, _)| c == coding).map(|(_, q)| *q)
    }

    fn best(&self, likes_zstd: bool) -> Option<Encoding> {
        let any = self.q("*").unwrap_or(0);
        let weight = |e: Encoding| {
            let q = match e {
                // An old name of it.
                Encoding::Gzip => self.q("gzip").or_else(|| self.q("x-gzip")),
                _ => self.q(e.as_str()),
            };
            let favourite = likes_zstd && e == Encoding::Zstd;
            (q.unwrap_or(any), favourite)
        };
        // Of several with the same weight the first.
        let best = OFFERED.into_iter().rev().max_by_key(|e| weight(*e))?;
        let (q, _) = weight(best);
        let plain = self.q("identity").unwrap_or(0);
        (q > 0 && q >= plain).then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(compress: Compress, asked: Option<&str>, accept: &str, agent: &str) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        headers.insert("accept-encoding", value(accept));
        headers.insert("user-agent", value(agent));
        headers.insert("accept", HeaderValue::from_static("text/event-stream"));
        chosen(compress, asked, &headers)
    }

    #[test]
    fn browsers_those_who_weigh_and_those_who_ask_in_the_query_get_one() {
        use Compress::{Browsers, Everyone, Nobody};
        use Encoding::{Deflate, Gzip, Zstd};
        let firefox = "Mozilla/5.0 (X11; rv:140.0) Gecko/20100101 Firefox/140.0";
        let chrome = "Mozilla/5.0 (X11) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36";
        let all = "gzip, deflate, br, zstd";
        assert_eq!(of(Browsers, None, all, "python-requests/2.32"), None);
        assert_eq!(of(Browsers, None, all, firefox), Some(Gzip));
        assert_eq!(of(Browsers, None, all, chrome), Some(Zstd));
        assert_eq!(of(Browsers, None, "gzip;q=1.0", "mine/1"), Some(Gzip));
        assert_eq!(of(Browsers, None, "deflate;q=0.5, zstd;q=0.7", "mine/1"), Some(Zstd));
        assert_eq!(of(Browsers, Some("deflate"), "", "mine/1"), Some(Deflate));
        assert_eq!(of(Browsers, Some("gzip"), all, chrome), Some(Gzip));
        assert_eq!(of(Browsers, Some("identity"), all, chrome), None);
        assert_eq!(of(Browsers, Some("br"), all, "mine/1"), None);
        assert_eq!(of(Everyone, None, all, "python-requests/2.32"), Some(Gzip));
        assert_eq!(of(Everyone, None, "zstd", "mine/1"), Some(Zstd));
        assert_eq!(of(Nobody, Some("gzip"), all, chrome), None);
    }

    #[test]
    fn what_is_not_wanted_is_not_given() {
        let of = |accept| of(Compress::Everyone, None, accept, "mine/1");
        assert_eq!(of(""), None);
        assert_eq!(of("br"), None);
        assert_eq!(of("gzip;q=0"), None);
        assert_eq!(of("gzip;q=0, *;q=0.1"), Some(Encoding::Zstd));
        assert_eq!(of("identity, gzip;q=0.5"), None);
        assert_eq!(of("gzip;q=x, deflate;q=7"), None);
        assert_eq!(of("X-GZIP"), Some(Encoding::Gzip));
        assert_eq!(of("*"), Some(Encoding::Gzip));
    }
}
