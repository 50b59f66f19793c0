//! Bearer tokens, as far as they are known: by their SHA-256, never as they are.
//!
//! ```text
//!  file: a token a line ─▶ TokenHash ─┐
//!  Authorization: Bearer … ─▶ TokenHash ┴─▶ the same? ─▶ the token's budget
//! ```
//! How long a look-up takes tells something of a hash, from which no token can be guessed. What is
//! shown of a token is the beginning of its hash: `printf %s TOKEN | sha256sum | cut -c1-8`.

use std::collections::HashMap;
use std::fmt;

use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::limits::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN};

/// What a token is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

/// Which line of a file is no token; nothing of it is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTokens {
    /// It has characters that no token has, or too few or too many.
    #[error(
        "line {0} is no token; {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} of A-Z a-z 0-9 - . _ ~ + / \
         are accepted, and = at the end"
    )]
    NoToken(usize),
    /// It is there already.
    #[error("line {0} is the token of line {1} again; each is accepted once")]
    Twice(usize, usize),
    /// There is none.
    #[error("no token is in it; one a line is accepted")]
    Empty,
}

/// The token of an `Authorization: Bearer …`.
#[must_use]
pub fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

impl TokenHash {
    /// Of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Of the token that a request carries, if it carries one.
    #[must_use]
    pub fn carried(headers: &HeaderMap) -> Option<Self> {
        headers.get_all(header::AUTHORIZATION).iter().find_map(bearer).map(Self::of)
    }

    /// Enough of it to tell one from another.
    #[must_use]
    pub fn short(self) -> [u8; 16] {
        *self.0.first_chunk().expect("half of it")
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.short(), f)
    }
}

/// As it is shown in logs and lists.
pub(super) fn show(short: [u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("token-")?;
    short[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads a file's text: one token a line; empty lines and those that begin with `#` are passed
/// over. With each token its line, from 1.
///
/// # Errors
/// The first line that is wrong, or that there is no token.
pub fn parse(text: &str) -> Result<HashMap<TokenHash, usize>, BadTokens> {
    let mut all = HashMap::new();
    for (line, token) in text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())) {
        if token.is_empty() || token.starts_with('#') {
            continue;
        }
        if !is_token(token) {
            return Err(BadTokens::NoToken(line));
        }
        if let Some(before) = all.insert(TokenHash::of(token.as_bytes()), line) {
            return Err(BadTokens::Twice(line, before));
        }
    }
    if all.is_empty() { Err(BadTokens::Empty) } else { Ok(all) }
}

/// As RFC 6750 has it (2.1), and long enough that nobody finds it by trying.
fn is_token(text: &str) -> bool {
    let within = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len());
    let is_in_it = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    within && text.trim_end_matches('=').bytes().all(is_in_it) && !text.starts_with('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "c2VjcmV0LXNlY3JldC0x";
    const OTHER: &str = "c2VjcmV0LXNlY3JldC0y==";

    #[test]
    fn a_file_is_read_line_by_line_and_a_mistake_is_told_without_the_token() {
        let read = parse(&format!("# of partners\n\n  {ONE} \r\n{OTHER}\n")).expect("two tokens");
        assert_eq!(read.get(&TokenHash::of(ONE.as_bytes())), Some(&3));
        assert_eq!((read.get(&TokenHash::of(OTHER.as_bytes())), read.len()), (Some(&4), 2));
        for (text, error) in [
            ("# nothing\n".to_owned(), BadTokens::Empty),
            (format!("{ONE}\nshort\n"), BadTokens::NoToken(2)),
            (format!("{ONE} # mine\n"), BadTokens::NoToken(1)),
            ("x".repeat(TOKEN_BYTES_MAX + 1), BadTokens::NoToken(1)),
            ("=".repeat(20), BadTokens::NoToken(1)),
            (format!("{ONE}\n\n{ONE}"), BadTokens::Twice(3, 1)),
        ] {
            let found = parse(&text).expect_err("no tokens");
            assert!(!found.to_string().contains("c2Vj"), "{found}");
            assert_eq!(found, error, "{text}");
        }
    }

    #[test]
    fn a_request_carries_a_token_where_its_scheme_is_bearer() {
        let carried = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("legal"));
            }
            TokenHash::carried(&headers)
        };
        let one = Some(TokenHash::of(ONE.as_bytes()));
        assert_eq!(carried(&[&format!("Bearer {ONE}")]), one);
        assert_eq!(carried(&[&format!("bearer   {ONE} ")]), one);
        assert_eq!(carried(&["Basic eDp5", &format!("BEARER {ONE}")]), one);
        assert_eq!(carried(&["Basic eDp5"]), None);
        assert_eq!(carried(&["Bearer"]), None);
        assert_eq!(carried(&[]), None);
        assert_ne!(carried(&["Bearer "]), None, "who says so has to say which");
    }

    #[test]
    fn what_is_shown_is_no_token_and_can_be_worked_out_from_it() {
        let shown = format!("{:?}", TokenHash::of(b"abc"));
        assert_eq!(shown, "token-ba7816bf");
    }
}
