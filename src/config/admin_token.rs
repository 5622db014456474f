//! What operators must know where their listener can be reached from elsewhere.

use std::fmt;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::section::Section;

/// Shorter ones could be guessed.
const SHORTEST: usize = 16;

/// A token that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl AdminToken {
    /// Whether `presented` is the same. How long that takes says nothing of where they differ.
    #[must_use]
    pub fn is(&self, presented: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), presented.as_bytes());
        let difference = own.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
        own.len() == other.len() && difference == 0
    }

    /// Reads `admin_token`, and makes sure that there is one where operators connect from elsewhere.
    pub(super) fn read(section: &mut Section<'_>, admin: Option<SocketAddr>) -> Option<Self> {
        let token: Option<String> = section.optional("admin_token");
        let is_reachable = admin.is_some_and(|address| !address.ip().is_loopback());
        match token {
            None if is_reachable => section.report(
                "admin",
                "can be reached from elsewhere, and whoever reaches it can change everything; set admin_token, or \
                 listen on 127.0.0.1",
            ),
            // What was found is not repeated: it may be nearly right.
            Some(token) if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) => section
                .report(
                    "admin_token",
                    format!("expected at least {SHORTEST} letters, digits and signs, without blanks"),
                ),
            Some(token) => return Some(Self(token)),
            None => {}
        }
        None
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AdminToken(hidden)")
    }
}

impl Serialize for AdminToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("hidden")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_the_same() {
        let token = AdminToken("0123456789abcdef".to_owned());
        assert!(token.is("0123456789abcdef"));
        for other in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }
}
