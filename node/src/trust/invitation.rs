//! The code that a city is invited with: where the hub is, how to know it, and the secret. Nothing else.
//!
//! `liandong1.` and, in base64url (RFC 4648 §5), the SHA-256 of the authority's certificate, 16 secret bytes, the
//! address as text, and the first 4 bytes of SHA-256 over all that, so that a code cut short in a message is
//! noticed before anybody is asked.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use liandong_proto::id::{Hash, sha256};

use crate::say;
use crate::text::Said;

const PREFIX: &str = "liandong1.";
const PIN: usize = 32;
/// Bytes of a secret: nobody guesses one within its day.
pub const SECRET: usize = 16;
const CHECK: usize = 4;

/// An invitation as the city gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Host and port of the enrolment port.
    pub address: String,
    /// SHA-256 of the authority's certificate.
    pub pin: Hash,
    /// Known to the hub as a hash only.
    pub secret: [u8; SECRET],
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation({})", self.address)
    }
}

impl Invitation {
    /// What the hub keeps of a secret.
    pub fn secret_hash(secret: &[u8]) -> Hash {
        sha256(&[b"liandong invitation\0".as_slice(), secret].concat())
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [self.pin.as_slice(), &self.secret, self.address.as_bytes()].concat();
        let check = sha256(&bytes);
        bytes.extend_from_slice(&check[..CHECK]);
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Invitation {
    type Err = Said;

    fn from_str(code: &str) -> Result<Invitation, Said> {
        let wrong = || {
            say!(
                "邀请码不完整或抄写有误；请从省协会发来的原文完整复制，包括开头的 {PREFIX}",
                "the invitation is incomplete or has a typing error; copy it whole from the province's message, with \
                 {PREFIX} at its beginning"
            )
        };
        // Messages break long words.
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let text = code.strip_prefix(PREFIX).ok_or_else(wrong)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| wrong())?;
        let (bytes, check) = bytes.split_at_checked(bytes.len().saturating_sub(CHECK)).ok_or_else(wrong)?;
        if sha256(bytes)[..CHECK] != *check {
            return Err(wrong());
        }
        let (pin, rest) = bytes.split_at_checked(PIN).ok_or_else(wrong)?;
        let (secret, address) = rest.split_at_checked(SECRET).ok_or_else(wrong)?;
        let address = std::str::from_utf8(address).map_err(|_| wrong())?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Invitation {
            address: address.to_owned(),
            pin: pin.try_into().map_err(|_| wrong())?,
            secret: secret.try_into().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation { address: "hub.example.org:7444".into(), pin: [7; 32], secret: [9; SECRET] }
    }

    #[test]
    fn a_code_reads_back_also_when_a_message_broke_it() {
        let code = invitation().to_string();
        assert_eq!(code.parse(), Ok(invitation()));
        assert_eq!(format!(" {}\n {} ", &code[..30], &code[30..]).parse(), Ok(invitation()));
    }

    #[test]
    fn no_cut_and_no_altered_letter_is_taken() {
        let code = invitation().to_string();
        for end in 0..code.len() {
            assert!(code[..end].parse::<Invitation>().is_err(), "cut at {end}");
        }
        for at in PREFIX.len()..code.len() {
            let other = if &code[at..=at] == "A" { "B" } else { "A" };
            let bent = format!("{}{other}{}", &code[..at], &code[at + 1..]);
            assert!(bent.parse::<Invitation>().is_err(), "letter {at}");
        }
    }
}
