//! What an index is for: model, routing group and tenant.

use std::fmt;
use std::str::FromStr;

use super::names::{NameError, check_name};

/// What an index is for. A request sees the blocks of exactly one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The name under which engines serve the model.
    pub model: String,
    /// The routing group: engines whose blocks may stand in for each other's. `default` if a request names none.
    pub group: String,
    /// The tenant whose requests see it; empty if a request names none.
    pub tenant: String,
}

impl Key {
    /// The routing group of requests that name none.
    pub const DEFAULT_GROUP: &'static str = "default";
    /// Another name for the tenant of requests that name none.
    pub const DEFAULT_TENANT: &'static str = "default";

    /// Creates the key of a model in the default group, without a tenant.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), group: Self::DEFAULT_GROUP.to_owned(), tenant: String::new() }
    }

    /// Returns the tenant that this name means: the empty one for [`Key::DEFAULT_TENANT`].
    pub(in crate::service) fn tenant(name: &str) -> &str {
        if name == Self::DEFAULT_TENANT { "" } else { name }
    }

    /// Checks that the names are such that the service can keep them.
    ///
    /// # Errors
    /// A name is too long, or would break a line of the log; or the model has none.
    pub(in crate::service) fn check(&self) -> Result<(), NameError> {
        Self::check_parts(&self.model, &self.group, &self.tenant)
    }

    /// Like [`Key::check`], for the parts of a key.
    pub(in crate::service) fn check_parts(model: &str, group: &str, tenant: &str) -> Result<(), NameError> {
        if model.is_empty() {
            return Err(NameError::Empty { field: "model_name" });
        }
        check_name("model_name", model)?;
        check_name("routing_group", group)?;
        check_name("tenant_id", tenant)
    }

    pub(super) fn parts(&self) -> [&str; 3] {
        [&self.model, &self.group, &self.tenant]
    }
}

/// Written as `model:group`, or `model:group:tenant`. A colon or per cent sign inside a name is written `%3A` or `%25`,
/// so that no two keys look alike.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |name: &str| name.replace('%', "%25").replace(':', "%3A");
        write!(f, "{}:{}", escaped(&self.model), escaped(&self.group))?;
        if self.tenant.is_empty() { Ok(()) } else { write!(f, ":{}", escaped(&self.tenant)) }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    /// Parses what a [`Key`] is written as.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let name = |part: &str| part.replace("%3A", ":").replace("%25", "%");
        let parts: Vec<_> = text.split(':').map(name).collect();
        match <[String; 3]>::try_from(parts) {
            Ok([model, group, tenant]) => Ok(Self { model, group, tenant }),
            Err(parts) => {
                let [model, group] = <[String; 2]>::try_from(parts).map_err(|_| KeyError(text.to_owned()))?;
                Ok(Self { model, group, tenant: String::new() })
            }
        }
    }
}

/// The text is neither `model:group` nor `model:group:tenant`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not like model:group or model:group:tenant, with %3A for a colon inside a name")]
pub struct KeyError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_and_read_back() {
        let key = |model: &str, group: &str, tenant: &str| Key {
            model: model.to_owned(),
            group: group.to_owned(),
            tenant: tenant.to_owned(),
        };
        let keys = [
            (key("m", "default", ""), "m:default"),
            (key("m:default", "a", ""), "m%3Adefault:a"),
            (key("m", "default:a", ""), "m:default%3Aa"),
            (key("m", "default", "a"), "m:default:a"),
            (key("m%3A", "", "%"), "m%253A::%25"),
        ];
        for (key, text) in keys {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
        }
        assert!("m".parse::<Key>().is_err() && "a:b:c:d".parse::<Key>().is_err());
    }
}
