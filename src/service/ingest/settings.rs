//! Where publishers are, and how patient to be with them.

use std::time::Duration;

/// Where a publisher publishes, and where it can be asked for batches that were missed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where it publishes: `tcp://host:port` or `ipc://path`.
    pub endpoint: String,
    /// Where it can be asked for batches that were missed. Without it, they are lost.
    pub replay: Option<String>,
    /// The prefix of the topics to subscribe to. Default empty: all.
    pub topic: String,
    /// Whether the publisher connects to `endpoint`, so that the service has to listen there.
    pub bind: bool,
}

impl Source {
    /// Returns the source of another data-parallel rank of the engine, where the ranks use one port after another:
    /// `rank` is added to the ports of rank 0. Returns `None` if an endpoint has no port, or the port would be too
    /// high.
    pub fn of_rank(&self, publisher: u16) -> Option<Self> {
        let shifted = |endpoint: &String| {
            let (address, port) = endpoint.rsplit_once(':')?;
            let port = port.parse::<u16>().ok()?.checked_add(publisher)?;
            Some(format!("{address}:{port}"))
        };
        let replay = match &self.replay {
            None => None,
            Some(endpoint) => Some(shifted(endpoint)?),
        };
        Some(Self { endpoint: shifted(&self.endpoint)?, replay, ..self.clone() })
    }
}

/// How long to wait for publishers, and how much to hold for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads that receive batches, decode them and hand them to the index. Default 2.
    pub threads: usize,
    /// How long the blocks of a publisher are kept after its connection is lost. Default 60 s.
    pub grace: Duration,
    /// How long a publisher may be silent before it is asked whether batches were missed. Default 5 s.
    pub probe: Duration,
    /// How long a publisher that cannot be asked may be silent before a second connection is made, because the first
    /// may be half open. Default 60 s.
    pub silence: Duration,
    /// How long a replay may pause before it counts as unanswered. Default 5 s.
    pub replay_timeout: Duration,
    /// How long a replay may take as a whole, before what it did not bring counts as lost. Default 120 s.
    pub replay_whole: Duration,
    /// Replays without progress before missing batches count as lost. Default 3.
    pub replay_attempts: u32,
    /// Live batches that are held during a replay; later ones are left to the next replay. Default 16,384.
    pub held_batches: usize,
    /// The most bytes of a message; a publisher that announces a longer one is disconnected. Default 32 MiB.
    pub message_bytes: usize,
    /// The bytes of the messages of all publishers together that were received and not handed over yet. Beyond it,
    /// nothing is read from those whose messages are larger than 64 KiB. Held batches may take half of it. Default
    /// 256 MiB.
    pub memory: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 2,
            grace: Duration::from_secs(60),
            probe: Duration::from_secs(5),
            silence: Duration::from_secs(60),
            replay_timeout: Duration::from_secs(5),
            replay_whole: Duration::from_secs(120),
            replay_attempts: 3,
            held_batches: 1 << 14,
            message_bytes: 32 << 20,
            memory: 256 << 20,
        }
    }
}
