//! The options of a round, all drawn from its seed.

use std::time::Duration;

use kvleap::{Builder, Index};

use crate::common::draw::Draw;
use crate::common::traffic::{COLLIDING, Names, ONE, Shape, TWO};

impl Draw for fastrand::Rng {
    fn below(&mut self, count: u64) -> u64 {
        self.u64(..count)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shape: Shape,
    pub(crate) shards: usize,
    /// Whether senders take turns at each shard, so that the order of its events is known and every answer can be
    /// judged. Otherwise they race, and the answers in the end are judged.
    pub(crate) ordered: bool,
    pub(crate) senders: u64,
    pub(crate) readers: u64,
    pub(crate) events: usize,
    pub(crate) queries: usize,
    /// How many answers are kept to be judged.
    pub(crate) answers: usize,
    /// An event is one of an export or an import once in so many times.
    pub(crate) copies: u64,
    max_workers: u32,
    mailbox: usize,
    mailbox_bytes: usize,
    publish_interval: Duration,
    publish_batch: u64,
    jump_stride: u32,
    pin: bool,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let draw = &mut fastrand::Rng::with_seed(seed);
        let workers = draw.pick(&[1, 3, 8, 8, 64, 65, 200, 200, 1000, 10_000]);
        let positions = draw.pick(&[2, 8, 33, 300, 300, 5000, 65_536]);
        let longest = draw.pick(&[4, 6, 6, 20, 20, 60, 60, 400, 4000, 70_000]).min(positions);
        let ordered = draw.below(4) > 0;
        // About as much work in every round, whether events and answers are long or short.
        let events = (400_000 / (longest + 20)).clamp(40, if workers > 500 { 4000 } else { 12_000 }) as usize;
        Self {
            seed,
            shape: Shape {
                workers,
                locals: draw.pick(&[COLLIDING, COLLIDING, TWO, ONE]),
                names: draw.pick(&[Names::Shared, Names::Own, Names::Few(31), Names::Few(500)]),
                longest,
                positions,
                prefixes: draw.pick(&[12, 60, 60, 400, usize::MAX]),
            },
            shards: 1 + draw.below(8) as usize,
            ordered,
            senders: 1 + draw.below(3),
            readers: 1 + draw.below(2),
            events: draw.size(events as u64) as usize,
            queries: 100,
            answers: (1_000_000 / (workers as usize + 50)).clamp(100, 4000),
            copies: draw.pick(&[50, 500, 5000]),
            // Which workers are too many depends on the order of their events.
            max_workers: if ordered { draw.pick(&[2, 40, 1 << 16, 1 << 16]) } else { 1 << 16 },
            mailbox: draw.pick(&[1, 2, 16, 256, 65_536]),
            mailbox_bytes: draw.pick(&[1, 1000, 100_000, 64 << 20]),
            publish_interval: Duration::from_nanos(draw.pick(&[0, 100, 10_000, 100_000, 1 << 40])),
            publish_batch: draw.pick(&[1, 2, 7, 64, 256, 1 << 40]),
            jump_stride: draw.pick(&[1, 2, 3, 32, 32, 100]),
            pin: draw.one_in(4),
        }
    }

    pub(crate) fn builder(&self) -> Builder {
        Index::builder()
            .shards(self.shards)
            .seed(self.seed)
            .max_positions(self.shape.positions as u32)
            .max_workers(self.max_workers)
            .mailbox(self.mailbox)
            .mailbox_bytes(self.mailbox_bytes)
            .publish_interval(self.publish_interval)
            .publish_batch(self.publish_batch)
            .jump_stride(self.jump_stride)
            .pin(if self.pin { vec![0] } else { Vec::new() })
    }

    pub(crate) fn limits(&self) -> (u32, u32) {
        (self.shape.positions as u32, self.max_workers)
    }
}
