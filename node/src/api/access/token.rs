//! Tokens: those of a city's other systems, and at the hub those of whoever reads its releases. They are made once, shown once, kept as hashes in one file.
//!
//! A token is `ldt1.` and, in base64url (RFC 4648 §5), 32 random bytes and the first 4 bytes of SHA-256 over them, so
//! that one that was cut short is noticed. The site keeps SHA-256 of it and no slow, salted hash: those are for
//! passwords, which can be guessed, and 256 random bits cannot. It is looked up by that hash, so that how long the
//! look takes says nothing that would bring anybody nearer to a token.
//!
//! The file is read for every call: what has been revoked or is over counts for nothing from the next call on.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use liandong_proto::id::{Hash, hex, sha256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::scope::{Scope, Scopes};
use crate::exclusive::Exclusive;
use crate::now::random;
use crate::say;
use crate::site::{Paths, SiteError, make_private_dir};
use crate::text::Said;
use crate::trust::limits;
use crate::trust::membership::replace;

const PREFIX: &str = "ldt1.";
const SECRET: usize = 32;
const CHECK: usize = 4;
/// The longest name, in characters.
const NAME: usize = 32;

/// A token as another system has it. It is written out once, and nowhere else.
pub struct Token([u8; SECRET]);

impl Token {
    /// A new one.
    pub fn new() -> Token {
        Token(random())
    }

    /// The text that is given out.
    pub fn text(&self) -> String {
        let mut bytes = self.0.to_vec();
        bytes.extend_from_slice(&sha256(&self.0)[..CHECK]);
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }

    /// What the site keeps of it.
    fn hash(&self) -> Hash {
        sha256(&[b"liandong api token\0".as_slice(), &self.0].concat())
    }
}

impl Default for Token {
    fn default() -> Token {
        Token::new()
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Token, ()> {
        let text = text.strip_prefix(PREFIX).ok_or(())?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| ())?;
        let (secret, check) = bytes.split_at_checked(SECRET).ok_or(())?;
        let secret: [u8; SECRET] = secret.try_into().map_err(|_| ())?;
        if sha256(&secret)[..CHECK] == *check { Ok(Token(secret)) } else { Err(()) }
    }
}

/// What a token allows.
pub trait Grant: Clone + Serialize + DeserializeOwned {
    /// The command that lists and revokes such tokens.
    const COMMAND: &'static str;
    /// The one that makes them.
    const MAKE: &'static str;
}

impl Grant for Scopes {
    const COMMAND: &'static str = "liandong-node api-token";
    const MAKE: &'static str = "liandong-node api-token new";
}

/// What the site keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<G = Scopes> {
    /// Of the system that has it. Never given out again: it stands in the history of records.
    pub name: String,
    /// SHA-256, hexadecimal.
    hash: String,
    /// What it allows.
    #[serde(flatten)]
    pub grant: G,
    /// When it was made, milliseconds since 1970.
    pub made_ms: u64,
    /// When it ends.
    pub until_ms: u64,
    /// When it was revoked; 0 for one that was not.
    #[serde(default)]
    pub revoked_ms: u64,
}

/// Who calls, and what it may.
#[derive(Debug, Clone)]
pub struct Bearer<G = Scopes> {
    /// Name of the token.
    pub name: String,
    /// What it allows.
    pub grant: G,
}

impl Bearer {
    /// Whether it may do that.
    pub fn may(&self, needed: Scope) -> bool {
        self.grant.scopes.iter().any(|scope| scope.covers(needed))
    }
}

impl<G> Bearer<G> {
    /// The author of everything that it writes.
    pub fn author(&self) -> String {
        author(&self.name)
    }
}

fn author(name: &str) -> String {
    format!("token:{name}")
}

/// Why a token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is none of this site's.
    #[error("no such token was given out here; make one with: {0}")]
    Unknown(&'static str),
    /// It is over.
    #[error("the token {0} has ended; make a new one with: {1}")]
    Over(String, &'static str),
    /// It was revoked.
    #[error("the token {0} has been revoked; make a new one with: {1}")]
    Revoked(String, &'static str),
    /// The file cannot be read, so nobody gets in.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Refused {
    /// Whose token it is, if anybody's, and what is recorded of it.
    pub fn recorded(&self) -> (String, &'static str) {
        match self {
            Refused::Over(name, _) => (author(name), "token over"),
            Refused::Revoked(name, _) => (author(name), "token revoked"),
            Refused::Unknown(_) | Refused::Site(_) => (String::new(), "no such token"),
        }
    }
}

/// Why no token was made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// What was asked cannot be; nothing was changed.
    #[error("{0}")]
    No(Said),
    /// The file.
    #[error(transparent)]
    Site(#[from] SiteError),
}

/// The tokens of a site.
#[derive(Debug, Clone)]
pub struct Tokens<G = Scopes> {
    path: PathBuf,
    grants: PhantomData<fn() -> G>,
}

impl Tokens {
    /// Those of a city's other systems.
    pub fn new(paths: &Paths) -> Tokens {
        Tokens::at(&paths.api_tokens())
    }
}

impl<G: Grant> Tokens<G> {
    /// Those that a file holds.
    pub fn at(path: &Path) -> Tokens<G> {
        Tokens { path: path.to_path_buf(), grants: PhantomData }
    }

    /// Who has this token.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn bearer(&self, text: &str, now_ms: u64) -> Result<Bearer<G>, Refused> {
        let token: Token = text.parse().map_err(|()| Refused::Unknown(G::MAKE))?;
        let hash = hex(&token.hash());
        let kept =
            self.list()?.into_iter().find(|kept| kept.hash == hash).ok_or(Refused::Unknown(G::MAKE))?;
        match kept {
            Kept { name, revoked_ms: 1.., .. } => Err(Refused::Revoked(name, G::MAKE)),
            Kept { name, until_ms, .. } if until_ms <= now_ms => Err(Refused::Over(name, G::MAKE)),
            Kept { name, grant, .. } => Ok(Bearer { name, grant }),
        }
    }

    /// All that were ever given out, in that order.
    ///
    /// # Errors
    /// [`SiteError`], also when others on this machine may read the file.
    pub fn list(&self) -> Result<Vec<Kept<G>>, SiteError> {
        let path = &self.path;
        let failed = |source| SiteError::File { path: path.clone(), source };
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(failed)?,
        };
        if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(SiteError::KeyExposed(path.clone()));
        }
        serde_json::from_slice(&text).map_err(|error| SiteError::corrupt(path.display().to_string(), error))
    }

    /// Makes a token; what is kept of it is durable before it is shown to anybody.
    ///
    /// # Errors
    /// [`TokenError::No`] for a name that is none or was used; nothing is changed then.
    pub fn make(&self, name: &str, grant: G, now_ms: u64, until_ms: u64) -> Result<Token, TokenError> {
        let is_letter = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.chars().count() > NAME || !name.chars().all(is_letter) {
            return refuse(say!(
                "名称应为 1 至 {NAME} 个字母、汉字、数字或 - _ .，说明是哪个系统，不要用人名",
                "a name has 1 to {NAME} letters, digits or - _ . and says which system it is, never a person"
            ));
        }
        let token = Token::new();
        let hash = hex(&token.hash());
        self.change(|kept| {
            if kept.iter().any(|kept| kept.name == name) {
                return refuse(say!(
                    "名称 {name} 用过了，没有改动；它留在记录的历史里，请换一个",
                    "the name {name} was used before, nothing was changed; it stands in the history of records, so choose \
                     another"
                ));
            }
            if kept.len() >= limits::API_TOKENS {
                let most = limits::API_TOKENS;
                return refuse(say!(
                    "令牌已达 {most} 个上限，没有改动",
                    "there are {most} tokens, the most there can be; nothing was changed"
                ));
            }
            kept.push(Kept {
                name: name.to_owned(),
                hash,
                grant,
                made_ms: now_ms,
                until_ms,
                revoked_ms: 0,
            });
            Ok(())
        })?;
        Ok(token)
    }

    /// Makes a token void, from the next call on; false when it was already.
    ///
    /// # Errors
    /// [`TokenError::No`] when there is none of that name.
    pub fn revoke(&self, name: &str, now_ms: u64) -> Result<bool, TokenError> {
        self.change(|kept| match kept.iter_mut().find(|kept| kept.name == name) {
            Some(kept) => {
                let is_new = kept.revoked_ms == 0;
                if is_new {
                    kept.revoked_ms = now_ms;
                }
                Ok(is_new)
            }
            None => {
                let command = G::COMMAND;
                refuse(say!(
                    "没有名为 {name} 的令牌；请用 {command} list 查看",
                    "there is no token named {name}; see them with {command} list"
                ))
            }
        })
    }

    /// Changes the file as a whole, one process after the other.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Kept<G>>) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let path = &self.path;
        let failed = |source| SiteError::File { path: path.clone(), source };
        if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
            make_private_dir(dir)?;
        }
        let _lock = Exclusive::at(&path.with_extension("lock")).map_err(failed)?;
        let mut kept = self.list()?;
        let changed = change(&mut kept)?;
        let text =
            serde_json::to_vec_pretty(&kept).map_err(|error| SiteError::corrupt("the tokens", error))?;
        replace(path, &text).map_err(failed)?;
        Ok(changed)
    }
}

fn refuse<T>(said: Said) -> Result<T, TokenError> {
    Err(TokenError::No(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_no_cut_or_altered_one_does() {
        let text = Token([7; SECRET]).text();
        assert_eq!(text.parse::<Token>().map(|token| token.0), Ok([7; SECRET]));
        for end in 0..text.len() {
            assert!(text[..end].parse::<Token>().is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let bent = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(bent.parse::<Token>().is_err(), "letter {at}");
        }
    }

    #[test]
    fn a_token_opens_until_it_is_over_or_revoked_and_is_kept_as_a_hash() {
        let dir = tempfile::tempdir().expect("a directory");
        let tokens = Tokens::new(&Paths::new(dir.path()));
        let scopes = || Scopes { scopes: vec!["member:read".parse().expect("a scope")] };
        let first = tokens.make("HR", scopes(), 1_000, 5_000).expect("made").text();
        let second = tokens.make("人事系统", scopes(), 1_000, 9_000).expect("made").text();
        let opens = |text: &str, now_ms| tokens.bearer(text, now_ms).map(|bearer| bearer.author());
        assert_eq!(opens(&first, 4_999).expect("it opens"), "token:HR");
        assert!(matches!(opens(&first, 5_000), Err(Refused::Over(name, _)) if name == "HR"));
        assert!(matches!(opens(&Token([1; SECRET]).text(), 2_000), Err(Refused::Unknown(_))));
        assert!(matches!(opens("", 2_000), Err(Refused::Unknown(_))));
        assert!(tokens.revoke("人事系统", 3_000).expect("revoked"));
        assert!(!tokens.revoke("人事系统", 3_500).expect("it was already"));
        assert!(matches!(opens(&second, 3_001), Err(Refused::Revoked(name, _)) if name == "人事系统"));
        assert!(matches!(tokens.revoke("absent", 1), Err(TokenError::No(_))));
        for name in ["HR", "人事系统", "", "a b", "a:b", &"x".repeat(NAME + 1)] {
            assert!(matches!(tokens.make(name, scopes(), 1, 2), Err(TokenError::No(_))), "{name}");
        }

        let path = Paths::new(dir.path()).api_tokens();
        let file = fs::read_to_string(&path).expect("there");
        for text in [&first, &second] {
            let secret = text.parse::<Token>().expect("a token").0;
            assert!(
                !file.contains(text.strip_prefix(PREFIX).expect("it has one"))
                    && !file.contains(&hex(&secret))
            );
        }
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(matches!(opens(&first, 2_000), Err(Refused::Site(SiteError::KeyExposed(_)))));
    }
}
