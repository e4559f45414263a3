//! What a mock engine publishes, and where.

use std::path::PathBuf;
use std::time::Duration;

use super::encode::Form;
use super::error::PublishError;
use crate::service::ingest::Source;

/// What to publish, where, and what to drop.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where rank 0 publishes; other ranks use the ports after it. Default `tcp://127.0.0.1:5557`.
    pub endpoint: String,
    /// Where rank 0 answers requests for replays. Default `tcp://127.0.0.1:5657`; without one, nobody can ask.
    pub replay: Option<String>,
    /// The topic of all messages. Default empty.
    pub topic: String,
    /// The form of events. Default [`Form::Map`].
    pub form: Form,
    /// The number of data-parallel ranks. Default 1.
    pub ranks: u16,
    /// Tokens in a block. Default 16.
    pub block_size: u32,
    /// Blocks that a rank can hold. Default 4,096.
    pub blocks: u32,
    /// Requests that a rank serves per second. Default 10.
    pub rate: f64,
    /// Requests that a rank serves in total. Default: unlimited.
    pub requests: Option<u64>,
    /// The share of the batches that are dropped, but can be asked for. Default 0.
    pub drop: f64,
    /// How many of the last batches can be asked for. Default 10,000.
    pub buffer_steps: usize,
    /// The seed of requests, block hashes and drops. Default 0.
    pub seed: u64,
    /// Where to write what the engine holds, when it is paused and when it stops. Default: nowhere.
    pub state: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: "tcp://127.0.0.1:5557".to_owned(),
            replay: Some("tcp://127.0.0.1:5657".to_owned()),
            topic: String::new(),
            form: Form::Map,
            ranks: 1,
            block_size: 16,
            blocks: 4096,
            rate: 10.0,
            requests: None,
            drop: 0.0,
            buffer_steps: 10_000,
            seed: 0,
            state: None,
        }
    }
}

impl Options {
    /// Checks the options, before any port is bound.
    pub(super) fn check(&self) -> Result<(), PublishError> {
        let counts =
            [("ranks", u64::from(self.ranks)), ("block_size", self.block_size.into()), ("blocks", self.blocks.into())];
        if let Some(&(setting, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(PublishError::Zero { setting });
        }
        let rate = self.rate.is_finite() && self.rate > 0.0 && Duration::try_from_secs_f64(1.0 / self.rate).is_ok();
        if !rate || self.period().is_zero() {
            return Err(PublishError::OutOfRange { setting: "rate", value: self.rate });
        }
        if !(0.0..=1.0).contains(&self.drop) {
            return Err(PublishError::OutOfRange { setting: "drop", value: self.drop });
        }
        self.source(self.ranks - 1).map(drop)
    }

    pub(super) fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// Returns where a rank publishes.
    pub(super) fn source(&self, rank: u16) -> Result<Source, PublishError> {
        let source = Source { endpoint: self.endpoint.clone(), replay: self.replay.clone(), ..Source::default() };
        if rank == 0 { Some(source) } else { source.of_rank(rank) }.ok_or(PublishError::NoPort { rank })
    }
}
