//! The environment variables of the service.

use std::ffi::{OsStr, OsString};

use super::Config;
use super::access::Role;
use super::error::ConfigError;
use super::names;

const PREFIX: &str = "KVLEAP_";

/// Variables that are no setting: the file of the settings, and what the tests and their scripts read.
const OTHERS: [&str; 4] = ["KVLEAP_CONFIG", "KVLEAP_CHAOS_SECONDS", "KVLEAP_ENGINES", "KVLEAP_SCREENSHOTS"];

/// Checks that all variables with the prefix of the service are known. A misspelt one would have no effect.
///
/// # Errors
/// There is an unknown variable. The error names the first one, and the known one that was probably meant.
pub fn check(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
    let settings = names::fields::<Config>().iter().map(|name| format!("{PREFIX}{}", name.to_uppercase()));
    let tokens = Role::ALL.map(|role| role.variable().to_owned());
    let known: Vec<String> = settings.chain(tokens).chain(OTHERS.map(str::to_owned)).collect();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && !known.iter().any(|known| *known == name) && !is_of_a_service(&name, &value) {
            return Err(ConfigError::UnknownVariable(names::with_nearest(&name, known.iter())));
        }
    }
    Ok(())
}

/// Whether this variable tells containers where a service is. Kubernetes and Docker set such variables for each
/// service, so for one that is called `kvleap` they set `KVLEAP_SERVICE_HOST`, `KVLEAP_PORT_8090_TCP_ADDR` and others.
fn is_of_a_service(name: &str, value: &OsStr) -> bool {
    let numbered = |(_, rest): (&str, &str)| rest.starts_with(|first: char| first.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split_once("_PORT_").is_some_and(numbered)
        // Somebody who means to set a port gives a number.
        || (name.ends_with("_PORT") && value.to_string_lossy().contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> Result<(), String> {
        check([(name.into(), value.into())].into_iter()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_that_nobody_knows_is_refused_with_the_one_that_was_meant() {
        for known in ["KVLEAP_MAX_MODELS", "KVLEAP_CONFIG", "KVLEAP_READ_TOKEN", "KVLEAP_ENGINES", "PATH", "kvleap_x"] {
            assert_eq!(checked(known, "1"), Ok(()), "{known}");
        }
        for (unknown, meant) in [
            ("KVLEAP_MAX_MODEL", "KVLEAP_MAX_MODELS"),
            ("KVLEAP_ADMIN_TOKENS", "KVLEAP_ADMIN_TOKEN"),
            ("KVLEAP_SNAPSHOT_SECOND", "KVLEAP_SNAPSHOT_SECONDS"),
        ] {
            assert_eq!(checked(unknown, "1"), Err(format!("unknown variable `{unknown}`; did you mean `{meant}`?")));
        }
        assert!(checked("KVLEAP_PORT", "8090").is_err_and(|why| why.contains("KVLEAP_PORT")));
    }

    #[test]
    fn a_service_may_be_called_like_the_program() {
        for (name, value) in [
            ("KVLEAP_SERVICE_HOST", "10.0.0.1"),
            ("KVLEAP_SERVICE_PORT", "8090"),
            ("KVLEAP_SERVICE_PORT_HTTP", "8090"),
            ("KVLEAP_PORT", "tcp://10.0.0.1:8090"),
            ("KVLEAP_PORT_8090_TCP", "tcp://10.0.0.1:8090"),
            ("KVLEAP_PORT_8090_TCP_ADDR", "10.0.0.1"),
            ("KVLEAP_INDEXER_SERVICE_HOST", "10.0.0.1"),
        ] {
            assert_eq!(checked(name, value), Ok(()), "{name}");
        }
    }
}
