//! Follows publishers of a literal world: each numbers its batches, loses some, repeats some, restarts, and answers
//! replays wholly, in part, wrongly or not at all. What a listener says of them has to be true. Two are followed at a
//! time, because they share the room for held batches.
//!
//! Not promised, and therefore left out: that a restart is noticed which changes no connection, no number that was
//! heard and no answer; and that a publisher is unmasked which gives other content under the same number.
#![no_main]

use std::collections::VecDeque;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use twox_hash::XxHash3_64;

use sequence::{Limits, Room, Sequencer, Step};

#[path = "../../src/service/ingest/sequence.rs"]
#[allow(dead_code, reason = "what only the service uses")]
mod sequence;

/// What `sequence.rs` takes from the service.
mod service {
    pub(crate) mod publisher {
        pub(crate) fn fingerprint(payload: &[u8]) -> u64 {
            twox_hash::XxHash3_64::oneshot(payload)
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    /// Whether publishers can be asked for replays.
    replays: bool,
    held_batches: u8,
    attempts: u8,
    /// How many KiB of batches the two worlds may hold together.
    room: u8,
    /// How many batches a publisher remembers; all if it is missing.
    remembers: Option<u8>,
    /// How many batches of the first publisher a snapshot has.
    restored: Option<u8>,
    /// Each about the first publisher or the second.
    acts: Vec<(bool, Act)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Act {
    /// The publisher sends a batch, which arrives or is lost.
    Say {
        lost: bool,
    },
    /// The last batch that arrived arrives once more.
    Repeat,
    /// The answer brings one more batch, or ends.
    Answer,
    /// The answer brings a batch, and will bring it once more.
    Stutter,
    /// A batch of the answer is lost on the way.
    Swallow,
    /// The answer ends, although there is more to bring.
    CutShort,
    /// The answer breaks off, or there is none.
    Fail,
    /// The answer takes too long as a whole.
    Endless,
    Probe,
    /// The connection is lost, for longer than the grace period or not.
    Disconnect {
        expires: bool,
    },
    /// There is a new connection, perhaps to a publisher that has restarted and sent this many batches.
    Connect {
        restarted: Option<u8>,
    },
    /// The publisher restarts behind a connection that stays.
    Restart,
}

type Batch = (u64, Vec<u8>);

/// Batches of different lives differ, and some are large.
fn batch(life: u32, number: u64) -> Batch {
    let mut payload = format!("{life}/{number}").into_bytes();
    if number % 4 == 3 {
        payload.resize(3000, b' ');
    }
    (number, payload)
}

/// A publisher, and what the listener says of it.
struct World {
    sequencer: Sequencer<Vec<u8>>,
    limits: Limits,
    replays: bool,
    remembers: usize,
    life: u32,
    /// How many batches the publisher has sent in this life.
    said: u64,
    connected: bool,
    /// The rest of the answer to the last question.
    answer: Option<VecDeque<Batch>>,
    /// Whether the answer has brought anything.
    answered: bool,
    /// The last number of this life that arrived live on this connection.
    heard: Option<u64>,
    /// The last number of this life that arrived live on earlier connections.
    heard_before: Option<u64>,
    /// Whether an answer on this connection has shown the batch that was applied last.
    proven: bool,
    /// The publisher restarted behind its connection, and this was the last number that had arrived before. It has
    /// given no sign of that yet.
    unnoticed: Option<u64>,
    /// Whether the publisher and the network have kept nothing from the listener for good.
    honest: bool,
    /// What was applied since everything was dropped last.
    applied: Vec<Batch>,
    /// The number that has to be applied or lost next.
    next: u64,
    live: bool,
    joined_late: bool,
    gap: bool,
    unheard: bool,
}

impl World {
    fn new(input: &Input, limits: Limits, restored: u8) -> Self {
        let restored = u64::from(restored);
        let applied: Vec<_> = (0..restored).map(|number| batch(0, number)).collect();
        let last = applied.last().map(|(_, payload)| XxHash3_64::oneshot(payload));
        let remembers = input.remembers.map_or(usize::MAX, usize::from);
        Self {
            sequencer: Sequencer::new(limits.clone(), input.replays, restored, last),
            honest: input.replays && remembers == usize::MAX && limits.attempts > 1,
            limits,
            replays: input.replays,
            remembers,
            life: 0,
            said: restored,
            connected: false,
            answer: None,
            answered: false,
            heard: None,
            heard_before: None,
            proven: false,
            unnoticed: None,
            applied,
            next: restored,
            live: false,
            joined_late: false,
            gap: false,
            unheard: false,
        }
    }

    fn restart(&mut self) {
        (self.life, self.said) = (self.life + 1, 0);
        (self.heard, self.heard_before) = (None, None);
    }

    fn drop_all(&mut self) {
        self.applied.clear();
        self.next = 0;
        (self.joined_late, self.gap, self.unheard) = (false, false, false);
    }

    /// Takes the steps as a listener does. `from_answer` is the batch of the answer that led to them.
    fn take(&mut self, steps: Vec<Step<Vec<u8>>>, from_answer: Option<&Batch>) {
        for step in steps {
            match step {
                Step::Apply { sequence, payload, fingerprint, replayed } => {
                    assert_eq!(sequence, self.next, "in order, and nothing is passed over in silence");
                    assert_eq!(fingerprint, XxHash3_64::oneshot(&payload));
                    let applied = (sequence, payload);
                    assert_eq!(replayed, from_answer == Some(&applied), "it says where it is from");
                    assert!((0..=self.life).any(|life| batch(life, sequence) == applied), "its own number");
                    self.joined_late &= sequence > 0;
                    self.next += 1;
                    self.applied.push(applied);
                }
                Step::Lost { from, to } => {
                    assert!(from == self.next && to >= from, "{from}..{to} is lost, {} is next", self.next);
                    self.next = to;
                    match from {
                        0 => self.joined_late = true,
                        _ if from == to => self.unheard = true,
                        _ => self.gap = true,
                    }
                }
                Step::Restart => {
                    self.drop_all();
                    (self.answer, self.live, self.unnoticed) = (None, true, None);
                }
                Step::NothingYet => self.joined_late = false,
                Step::Gap => self.live = false,
                Step::Replay { from, attempt, probe } => {
                    assert!(self.replays && self.connected, "it can be asked");
                    assert!(attempt <= self.limits.attempts, "it does not ask for ever");
                    assert!(from <= self.next, "everything that is missing");
                    let oldest = self.said.saturating_sub(self.remembers as u64);
                    self.answer = Some((oldest.max(from)..self.said).map(|number| batch(self.life, number)).collect());
                    (self.answered, self.live) = (false, probe);
                }
                Step::Settled => (self.answer, self.live) = (None, true),
                Step::Duplicate | Step::HeldBack => {}
            }
        }
        self.judge();
    }

    fn is_exact(&self) -> bool {
        self.live && !self.joined_late && !self.gap && !self.unheard
    }

    /// Whoever calls answers exact has applied one life from its beginning on, and everything of it that was heard.
    fn judge(&self) {
        let asks = self.sequencer.is_replaying();
        if self.connected {
            assert_eq!(asks, self.answer.is_some(), "it waits for an answer, and for no other");
            assert!(self.live || asks, "nobody catches up without asking");
        }
        if self.honest {
            assert!(!self.joined_late && !self.gap && !self.unheard, "nothing is lost that can be recovered");
        }
        if !self.is_exact() || self.unnoticed.is_some() {
            return;
        }
        let of = |life: u32| (0..).zip(&self.applied).all(|(number, applied)| *applied == batch(life, number));
        assert!((0..=self.life).any(of), "one life from its beginning on: {:?}", self.applied.last());
        let heard = self.heard.max(self.heard_before.filter(|_| self.proven));
        if let Some(heard) = heard {
            assert!(of(self.life), "what was heard is of a new life");
            assert!(self.applied.len() as u64 > heard, "{heard} was heard and is missing");
        }
    }

    fn bring(&mut self, again: bool) {
        let mut steps = Vec::new();
        let Some(answer) = &mut self.answer else { return };
        let brought = if again { answer.front().cloned() } else { answer.pop_front() };
        self.answered = true;
        if let Some((number, payload)) = brought.clone() {
            self.proven |= self.applied.last() == Some(&(number, payload.clone()));
            self.sequencer.replayed(number, payload, &mut steps);
        } else {
            self.answer = None;
            self.sequencer.replay_ended(&mut steps);
        }
        self.take(steps, brought.as_ref());
    }

    fn act(&mut self, act: Act) {
        let mut steps = Vec::new();
        match act {
            Act::Say { lost } => {
                let (number, payload) = batch(self.life, self.said);
                self.said += 1;
                // At the latest, the number that was heard last is a sign of the restart.
                if self.connected && (!lost || self.unnoticed == Some(number)) {
                    self.heard = Some(number);
                    self.sequencer.live(number, payload, &mut steps);
                }
            }
            Act::Repeat => {
                if let Some(number) = self.heard.filter(|_| self.connected) {
                    let (number, payload) = batch(self.life, number);
                    self.sequencer.live(number, payload, &mut steps);
                }
            }
            Act::Answer => return self.bring(false),
            Act::Stutter => {
                if self.answer.as_ref().is_some_and(|answer| !answer.is_empty()) {
                    self.honest = false;
                    return self.bring(true);
                }
            }
            Act::Swallow => {
                self.honest = false;
                self.answer.iter_mut().for_each(|answer| drop(answer.pop_front()));
            }
            Act::CutShort => {
                self.honest = false;
                self.answer.iter_mut().for_each(VecDeque::clear);
                return self.bring(false);
            }
            Act::Fail => {
                if self.answer.take().is_some() {
                    self.honest = false;
                    self.sequencer.replay_failed(&mut steps);
                }
            }
            Act::Endless => {
                if self.answer.take().is_some() {
                    self.honest = false;
                    self.sequencer.replay_endless(&mut steps);
                }
            }
            Act::Probe => {
                if self.connected {
                    self.sequencer.probe(&mut steps);
                }
            }
            Act::Disconnect { expires } => {
                if !self.connected {
                    return;
                }
                self.leave();
                if expires {
                    self.drop_all();
                    self.sequencer = Sequencer::new(self.limits.clone(), self.replays, 0, None);
                }
                return;
            }
            Act::Connect { restarted } => {
                self.leave();
                if let Some(ahead) = restarted {
                    self.restart();
                    self.said = u64::from(ahead % 16);
                }
                self.connected = true;
                self.sequencer.connected(&mut steps);
            }
            Act::Restart => {
                let Some(heard) = self.heard.filter(|_| self.connected) else { return };
                self.unnoticed = Some(self.unnoticed.map_or(heard, |earlier| earlier.max(heard)));
                self.restart();
                // The answer came from the process that has ended.
                if self.answer.take().is_some() {
                    self.honest = false;
                    self.sequencer.replay_failed(&mut steps);
                }
            }
        }
        self.take(steps, None);
    }

    fn leave(&mut self) {
        (self.connected, self.live, self.answer, self.proven) = (false, false, None, false);
        (self.heard, self.heard_before, self.unnoticed) = (None, self.heard.max(self.heard_before), None);
    }

    /// Everything that the publisher remembers arrives, and two more batches.
    fn settle(&mut self) {
        self.act(Act::Connect { restarted: None });
        for _ in 0..2 {
            while self.answer.is_some() {
                self.act(Act::Answer);
            }
            self.act(Act::Say { lost: false });
        }
        assert!(self.live && !self.sequencer.is_replaying(), "everything was answered");
        if self.is_exact() {
            assert_eq!(self.applied.len() as u64, self.said, "a complete answer brings everything");
        }
    }
}

fuzz_target!(|input: Input| {
    let room_bytes = (1 + usize::from(input.room % 8)) << 10;
    let room = Arc::new(Room::new(room_bytes));
    let limits = Limits {
        held_batches: usize::from(input.held_batches % 8),
        room: Arc::clone(&room),
        attempts: u32::from(input.attempts % 4) + 1,
    };
    let mut worlds = [input.restored.unwrap_or(0) % 16, 0].map(|restored| World::new(&input, limits.clone(), restored));
    worlds.iter_mut().for_each(|world| world.act(Act::Connect { restarted: None }));
    for &(second, act) in input.acts.iter().take(400) {
        worlds[usize::from(second)].act(act);
    }
    for world in &mut worlds {
        world.settle();
        // If a new life is found out, it is followed from its beginning on.
        world.act(Act::Connect { restarted: Some(5) });
        world.settle();
    }
    drop(worlds);
    let mut steps = Vec::new();
    let limits = Limits { held_batches: 1, ..limits };
    Sequencer::new(limits, true, 0, None).live(1, vec![0; room_bytes], &mut steps);
    assert!(!steps.contains(&Step::HeldBack), "whoever leaves gives the room back: {steps:?}");
});
