//! Whatever passes the check of settings can be started.

use std::time::{Duration, Instant};

use kvleap::service::{Config, ConfigError, Key, Server};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::common::service::config;

/// Returns the names of all settings that are numbers, from the example.
fn numbers() -> Vec<String> {
    let lines = Config::EXAMPLE.lines().take_while(|line| *line != "[[engines]]");
    let settings = lines.filter_map(|line| line.strip_prefix('#')?.split_once(" = "));
    let numbers = settings.filter(|(name, value)| {
        !name.starts_with(' ') && value.split_whitespace().next().is_some_and(|value| value.parse::<u64>().is_ok())
    });
    numbers.map(|(name, _)| name.to_owned()).collect()
}

fn with(values: &Map<String, Value>) -> Config {
    Config { listen: config().listen, ..Config::load("", values).expect("known names") }
}

#[test]
fn every_number_has_bounds_and_the_service_starts_at_them() {
    let (mut least_of_all, mut most_of_all) = (Map::new(), Map::new());
    for name in numbers() {
        let refused = |value: i64| match with(&Map::from_iter([(name.clone(), json!(value))])).check() {
            Err(error) => {
                assert!(error.to_string().contains(&*name), "{name}: {error}");
                Some(error)
            }
            Ok(()) => None,
        };
        let most = match refused(i64::MAX) {
            Some(ConfigError::TooLarge { most, .. }) => most,
            other => panic!("{name} has no upper bound: {other:?}"),
        };
        let least = match refused(0) {
            Some(ConfigError::TooSmall { least, .. }) => least,
            Some(error) => panic!("{name}: {error}"),
            None => 0,
        };
        least_of_all.insert(name.clone(), json!(least));
        most_of_all.insert(name, json!(most));
    }
    assert!(most_of_all.len() > 15, "{most_of_all:?}");
    for values in [least_of_all, most_of_all] {
        let server = Server::start(with(&values)).unwrap_or_else(|error| panic!("{values:?}: {error}"));
        let answer = ureq::get(format!("http://{}/health", server.address())).call().expect("it answers");
        assert_eq!(answer.status(), 200);
        assert!(server.stop().is_complete());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn settings_that_pass_the_check_build_what_is_built_of_them(
        values in prop::collection::vec((any::<prop::sample::Index>(), 0..64u32, -1..2i64), 0..4)
    ) {
        let names = numbers();
        let values: Map<_, _> = values.into_iter().map(|(name, power, more)| {
            let value = (1_i64.checked_shl(power).unwrap_or(i64::MAX)).saturating_add(more).unsigned_abs() >> 1;
            (name.get(&names).clone(), json!(value))
        }).collect();
        let config = with(&values);
        if config.check().is_ok() {
            let model = config.models(None).get_or_add(&Key::new("m"), 16);
            prop_assert!(model.is_ok(), "{:?}", values);
            let ingest = config.ingest();
            let seconds = [
                config.header_timeout_seconds,
                config.body_timeout_seconds,
                config.shutdown_seconds,
                config.snapshot_seconds,
                config.peer_silence_seconds,
                config.peer_timeout_seconds,
            ];
            for time in seconds.map(Duration::from_secs).into_iter().chain([ingest.grace]) {
                prop_assert!(Instant::now().checked_add(10 * time).is_some(), "{:?}", values);
            }
        }
    }
}
