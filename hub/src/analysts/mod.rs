//! Whoever reads releases: tokens with a role, a purpose and an end, and what each of them gets to see.

mod grant;
pub mod port;
#[cfg(feature = "sql")]
pub mod sql;
pub mod web;

use std::sync::Arc;

use data_encoding::BASE64;
use liandong_node::api::access::Tokens;
use liandong_node::api::access::token::{Bearer, Refused};
use liandong_node::audit::{Note, Via, What};
use liandong_node::now::random;
use liandong_node::site::{Paths, Records as _, SiteError, read_key, write_key};

use crate::hub::Hub;
use crate::release::{Pseudonyms, Reader, Role};

pub use grant::Grant;

/// The tokens of analysts.
pub fn tokens(paths: &Paths) -> Tokens<Grant> {
    Tokens::at(&paths.dir.join("keys").join("analyst-tokens.json"))
}

/// Who reads, under which token.
pub struct Analyst {
    /// Name of the token, what it allows.
    pub bearer: Bearer<Grant>,
    /// What it gets to see.
    pub reader: Reader,
}

/// The door of the releases: it says who comes, and records what they read.
#[derive(Clone)]
pub struct Desk {
    /// The hub.
    pub hub: Arc<Hub>,
    tokens: Tokens<Grant>,
    key: [u8; 32],
}

impl Desk {
    /// The desk of a hub. The key of pseudonyms is made when there is none.
    ///
    /// # Errors
    /// [`SiteError`] when the key cannot be read or kept.
    pub fn open(hub: Arc<Hub>) -> Result<Desk, SiteError> {
        if let Err(error) = hub.releases().tidy() {
            tracing::warn!(%error, "what was left half made for readers stays");
        }
        let paths = &hub.shared.paths;
        let file = paths.dir.join("keys").join("pseudonyms");
        if !file.exists() {
            write_key(&file, &random())?;
        }
        let (tokens, key) = (tokens(paths), read_key(&file)?);
        Ok(Desk { hub, tokens, key })
    }

    /// Whoever sends this as the `authorization` of a call, and the token in it; else what to tell them.
    ///
    /// # Errors
    /// Without a token, or with one that opens nothing.
    pub fn admit_with(&self, shown: Option<&str>, now_ms: u64) -> Result<(Arc<Analyst>, String), String> {
        let needed =
            "a token is needed: authorization: Bearer ldt1.…, or a login with the token as its password";
        let token = shown.and_then(token_of).ok_or(needed)?;
        let analyst = self.admit(&token, now_ms).map_err(|refused| refused.to_string())?;
        Ok((Arc::new(analyst), token))
    }

    /// Whoever shows a token.
    ///
    /// # Errors
    /// [`Refused`]; that it was is recorded.
    pub fn admit(&self, token: &str, now_ms: u64) -> Result<Analyst, Refused> {
        let bearer = self.tokens.bearer(token, now_ms).inspect_err(|refused| {
            let (who, detail) = refused.recorded();
            let note =
                Note { what: What::Refused, via: Via::Tcp, who, detail: detail.into(), ..Note::default() };
            self.hub.audit().note_behind(note);
        })?;
        let reader = match bearer.grant.role {
            Role::Registrar => Reader::Registrar,
            Role::Public => Reader::Public,
            Role::Analyst => Reader::Analyst(Box::new(Pseudonyms::new(&self.key, &bearer.grant.project))),
        };
        Ok(Analyst { bearer, reader })
    }

    /// Records that somebody has read rows of tables.
    pub fn note_read(&self, analyst: &Analyst, tables: &str, rows: u64) {
        self.hub.audit().note_behind(Note {
            what: What::Read,
            via: Via::Tcp,
            who: analyst.bearer.author(),
            purpose: analyst.bearer.grant.purpose.clone(),
            count: rows,
            detail: tables.into(),
            ..Note::default()
        });
    }
}

/// The token in an `authorization` header: a bearer's, or the password of a basic login.
fn token_of(shown: &str) -> Option<String> {
    let (scheme, rest) = shown.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(rest.trim().to_owned()),
        "basic" => {
            let login = String::from_utf8(BASE64.decode(rest.trim().as_bytes()).ok()?).ok()?;
            Some(login.split_once(':')?.1.to_owned())
        }
        _ => None,
    }
}
