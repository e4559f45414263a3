//! The bounds of settings that are numbers.

use super::Config;
use super::error::ConfigError;
use crate::index::MAX_SHARDS;

/// The longest time of a setting, in seconds.
const YEAR: u64 = 365 * 24 * 60 * 60;

impl Config {
    /// Checks that every number is within its bounds. They are generous, but nothing overflows within them.
    pub(super) fn check_numbers(&self) -> Result<(), ConfigError> {
        for (name, value, least, most) in [
            ("threads", self.threads as u64, 0, 512),
            ("max_connections", self.max_connections as u64, 1, 1 << 20),
            ("max_body_bytes", self.max_body_bytes as u64, 1, 1 << 30),
            ("max_header_bytes", self.max_header_bytes as u64, 8192, 1 << 20),
            ("header_timeout_seconds", self.header_timeout_seconds, 1, YEAR),
            ("body_timeout_seconds", self.body_timeout_seconds, 1, YEAR),
            ("shutdown_seconds", self.shutdown_seconds, 0, YEAR),
            ("max_bodies_bytes", self.max_bodies_bytes as u64, 1, 1 << 40),
            ("max_answers_bytes", self.max_answers_bytes as u64, 1, 1 << 40),
            ("write_timeout_seconds", self.write_timeout_seconds, 1, YEAR),
            ("max_transfers", self.max_transfers as u64, 1, 256),
            ("max_connections_per_address", self.max_connections_per_address.unwrap_or(0) as u64, 0, 1 << 20),
            ("max_models", self.max_models as u64, 1, 1 << 16),
            ("max_workers", self.max_workers as u64, 1, 1 << 20),
            ("replay_seconds", self.replay_seconds, 1, YEAR),
            ("max_message_bytes", self.max_message_bytes as u64, 1 << 10, 1 << 30),
            ("message_memory", self.message_memory as u64, self.max_message_bytes.saturating_mul(4) as u64, 1 << 40),
            ("shards", self.shards as u64, 1, MAX_SHARDS as u64),
            ("mailbox", self.mailbox as u64, 1, 1 << 24),
            ("mailbox_bytes", self.mailbox_bytes as u64, 1, 1 << 40),
            ("publish_interval_us", self.publish_interval_us, 0, 60_000_000),
            ("peer_silence_seconds", self.peer_silence_seconds, 1, YEAR),
            ("peer_timeout_seconds", self.peer_timeout_seconds, 1, YEAR),
            ("max_peer_snapshot_bytes", self.max_peer_snapshot_bytes, 1, 1 << 50),
            ("max_peer_dump_bytes", self.max_peer_dump_bytes, 1, 1 << 50),
            ("ingest_threads", self.ingest_threads as u64, 1, 256),
            ("grace_seconds", self.grace_seconds, 0, YEAR),
            ("snapshot_seconds", self.snapshot_seconds, 1, YEAR),
            ("memory_budget", self.memory_budget.unwrap_or(1 << 20), 1 << 20, 1 << 50),
        ] {
            if value < least {
                return Err(ConfigError::TooSmall { name, value, least });
            }
            if value > most {
                return Err(ConfigError::TooLarge { name, value, most });
            }
        }
        Ok(())
    }
}
