//! Who may do what: bearer tokens.

use std::fmt;
use std::path::{Path, PathBuf};

use subtle::{Choice, ConstantTimeEq};

use super::text;

/// What a request wants to do. A token is for one role; a token for administration is good for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Query matches, workers and metrics.
    Read,
    /// Report events.
    Write,
    /// Register engines and peers, and read the whole content.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Returns its name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Returns the environment variable that may hold a token for it.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Read => "KVLEAP_READ_TOKEN",
            Self::Write => "KVLEAP_WRITE_TOKEN",
            Self::Admin => "KVLEAP_ADMIN_TOKEN",
        }
    }
}

/// The tokens that are accepted, by role. If there are none at all, everybody may do everything; if there are some, a
/// role without a token is open to the administrator only.
#[derive(Clone, Default)]
pub struct Access {
    tokens: [Vec<Box<[u8]>>; Role::ALL.len()],
}

/// The shortest token that is accepted, in bytes.
pub const MIN_TOKEN_BYTES: usize = 16;

impl Access {
    /// Adds the tokens in the text of a file or variable, one per line: with several, they can be replaced one after
    /// another. Spaces around them and empty lines are ignored.
    ///
    /// # Errors
    /// There is no token, or one is shorter than [`MIN_TOKEN_BYTES`] or has characters that no header can carry.
    pub fn add(&mut self, role: Role, origin: &str, text: &str) -> Result<(), TokenError> {
        let error = |why| Err(TokenError { origin: origin.to_owned(), why });
        let before = self.tokens[role as usize].len();
        for token in text.lines().map(str::trim).filter(|token| !token.is_empty()) {
            if token.len() < MIN_TOKEN_BYTES {
                return error("has a token of less than 16 characters; `openssl rand -hex 32` makes a good one");
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return error("has a token with a space or a character that is not ASCII; no header can carry it");
            }
            self.tokens[role as usize].push(token.as_bytes().into());
        }
        if self.tokens[role as usize].len() == before { error("has no token in it") } else { Ok(()) }
    }

    /// Like [`Access::add`], from a file.
    ///
    /// # Errors
    /// The file cannot be read, or a token in it cannot be used.
    pub fn add_file(&mut self, role: Role, path: &Path) -> Result<(), TokenFileError> {
        let text = text::read(path).map_err(|error| TokenFileError::Read(path.to_owned(), error))?;
        Ok(self.add(role, &path.display().to_string(), &text)?)
    }

    /// Whether nobody needs a token.
    pub fn is_open(&self) -> bool {
        self.tokens.iter().all(Vec::is_empty)
    }

    /// Whether a request with this `Authorization` header may do what `role` stands for. The time this takes reveals at
    /// most the length of a token.
    pub fn allows(&self, role: Role, authorization: Option<&[u8]>) -> bool {
        if self.is_open() {
            return true;
        }
        let Some(token) = authorization.and_then(bearer) else { return false };
        let accepted = self.tokens[role as usize].iter().chain(&self.tokens[Role::Admin as usize]);
        accepted.fold(Choice::from(0), |found, other| found | token.ct_eq(other)).into()
    }
}

/// Prints how many tokens there are, and not the tokens, which must not get into logs.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for role in Role::ALL {
            map.entry(&role.name(), &format_args!("{} tokens", self.tokens[role as usize].len()));
        }
        map.finish()
    }
}

/// Returns the token in a text, which must have exactly one.
pub(super) fn only_token(origin: &str, text: &str) -> Result<String, TokenError> {
    let error = |why| Err(TokenError { origin: origin.to_owned(), why });
    match text.lines().map(str::trim).filter(|token| !token.is_empty()).collect::<Vec<_>>()[..] {
        [] => error("has no token in it"),
        [token] if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token.to_owned()),
        [_] => error("has a token with a space or a character that is not ASCII; no header can carry it"),
        _ => error("has more than one token in it; give the one to be sent"),
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Why a token cannot be used. The token itself is not printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin} {why}")]
pub struct TokenError {
    origin: String,
    why: &'static str,
}

impl TokenError {
    pub(super) fn not_text(origin: &str) -> Self {
        Self { origin: origin.to_owned(), why: "is not UTF-8; no header can carry it" }
    }
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("{path}: the token cannot be read: {error}", path = .0.display(), error = .1)]
    Read(PathBuf, #[source] std::io::Error),
    /// A token in it cannot be used.
    #[error(transparent)]
    Content(#[from] TokenError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "read-read-read-read";
    const ADMIN: &str = "admin-admin-admin-admin";

    fn access() -> Access {
        let mut access = Access::default();
        access.add(Role::Read, "test", &format!("\n {READ} \nanother-token-for-reading\n")).expect("good tokens");
        access.add(Role::Admin, "test", ADMIN).expect("a good token");
        access
    }

    #[test]
    fn a_token_is_good_for_its_role_and_the_administrators_for_all() {
        let access = access();
        let allows = |role, header: &str| access.allows(role, Some(header.as_bytes()));
        assert!(allows(Role::Read, &format!("Bearer {READ}")) && allows(Role::Read, &format!("bearer  {READ}")));
        assert!(allows(Role::Read, "Bearer another-token-for-reading"));
        assert!(!allows(Role::Write, &format!("Bearer {READ}")), "no token is for writing");
        assert!(!allows(Role::Admin, &format!("Bearer {READ}")));
        assert!(Role::ALL.iter().all(|&role| allows(role, &format!("Bearer {ADMIN}"))));
        for bad in ["", "Bearer ", "Bearer read-read-read-rea", "Basic read-read-read-read", READ] {
            assert!(!allows(Role::Read, bad), "{bad:?}");
        }
        assert!(!access.allows(Role::Read, None));
        assert!(Access::default().allows(Role::Admin, None));
    }

    #[test]
    fn tokens_are_refused_with_reasons_and_never_printed() {
        for (text, why) in [("", "no token"), ("short", "less than 16"), ("a token with some spaces", "space")] {
            let error = Access::default().add(Role::Read, "here", text).expect_err("not good").to_string();
            assert!(error.starts_with("here") && error.contains(why), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let printed = format!("{:?}", access());
        assert!(printed.contains("2 tokens") && !printed.contains("read-read"), "{printed}");
    }
}
