//! A publisher that restarts and forgets, a network that drops messages, and what a listener may claim nevertheless.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits { held_batches: 4, room: Arc::new(Room::new(1 << 20)), attempts: 2 }
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// The publisher sends a batch, which arrives or not.
    Say {
        arrives: bool,
    },
    /// The answer to the last request brings one more batch, or ends.
    Answer,
    /// A batch of the answer is lost on the way.
    Swallow,
    /// The answer breaks off.
    Fail,
    /// The connection is lost and made again, perhaps to a publisher that has restarted and sent this many batches.
    Reconnect {
        restarted: Option<u8>,
    },
    Probe,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => prop::bool::weighted(0.7).prop_map(|arrives| Act::Say { arrives }),
        12 => Just(Act::Answer),
        1 => Just(Act::Swallow),
        1 => Just(Act::Fail),
        1 => prop::option::of(0..9_u8).prop_map(|restarted| Act::Reconnect { restarted }),
        1 => Just(Act::Probe),
    ];
    prop::collection::vec(act, 0..120)
}

/// A publisher, the messages on their way from it, and what the sequencer made of them.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a listener may claim")]
struct World {
    sequencer: Sequencer<Vec<u8>>,
    replays: bool,
    life: u32,
    said: u64,
    remembers: usize,
    buffer: VecDeque<(u64, Vec<u8>)>,
    answer: Option<VecDeque<(u64, Vec<u8>)>>,
    applied: Vec<Vec<u8>>,
    /// Something is missing.
    degraded: bool,
    /// Something may be missing from before the first batch.
    joined_late: bool,
    /// Whether it is known that something is missing that may be recovered.
    catching_up: bool,
    /// The last batch of the current publisher that arrived live.
    heard: Option<Vec<u8>>,
}

impl World {
    fn new(replays: bool, remembers: usize) -> Self {
        Self {
            sequencer: Sequencer::new(limits(), replays, 0, None),
            replays,
            life: 0,
            said: 0,
            remembers,
            buffer: VecDeque::new(),
            answer: None,
            applied: Vec::new(),
            degraded: false,
            joined_late: false,
            catching_up: false,
            heard: None,
        }
    }

    fn batch(life: u32, sequence: u64) -> Vec<u8> {
        format!("{life}/{sequence}").into_bytes()
    }

    fn say(&mut self) -> (u64, Vec<u8>) {
        let batch = (self.said, Self::batch(self.life, self.said));
        self.said += 1;
        self.buffer.push_back(batch.clone());
        if self.buffer.len() > self.remembers {
            self.buffer.pop_front();
        }
        batch
    }

    fn restart(&mut self) {
        self.life += 1;
        self.said = 0;
        self.buffer.clear();
        self.heard = None;
    }

    /// What arrived on earlier connections does not count if it may be from another publisher.
    fn forget_earlier_publisher(&mut self) {
        if self.sequencer.fresh && self.sequencer.unproven {
            self.heard = None;
        }
    }

    fn take(&mut self, steps: Vec<Step<Vec<u8>>>) {
        for step in steps {
            match step {
                Step::Apply { sequence, payload, .. } => {
                    self.joined_late &= sequence > 0;
                    self.applied.push(payload);
                    self.forget_earlier_publisher();
                }
                Step::Replay { from, probe, .. } => {
                    assert!(self.replays);
                    self.catching_up = !probe;
                    self.answer = Some(self.buffer.iter().filter(|batch| batch.0 >= from).cloned().collect());
                }
                Step::Settled => {
                    (self.answer, self.catching_up) = (None, false);
                    self.forget_earlier_publisher();
                }
                Step::Restart => {
                    self.answer = None;
                    self.applied.clear();
                    (self.degraded, self.joined_late, self.catching_up) = (false, false, false);
                    if self.sequencer.fresh {
                        self.heard = None;
                    }
                }
                Step::Lost { from: 0, .. } => self.joined_late = true,
                Step::Lost { .. } => self.degraded = true,
                Step::NothingYet => self.joined_late = false,
                Step::Gap => self.catching_up = true,
                Step::Duplicate | Step::HeldBack => {}
            }
        }
    }

    fn act(&mut self, act: Act) {
        let mut steps = Vec::new();
        match act {
            Act::Say { arrives } => {
                let (sequence, batch) = self.say();
                if arrives {
                    self.heard = Some(batch.clone());
                    self.sequencer.live(sequence, batch, &mut steps);
                }
            }
            Act::Answer => match self.answer.as_mut().map(VecDeque::pop_front) {
                None => {}
                Some(Some((sequence, batch))) => self.sequencer.replayed(sequence, batch, &mut steps),
                Some(None) => {
                    self.answer = None;
                    self.sequencer.replay_ended(&mut steps);
                }
            },
            Act::Swallow => {
                // The first is never dropped: the queue on the way is empty then.
                if let Some(answer) = &mut self.answer
                    && self.sequencer.replay.as_ref().is_some_and(|replay| replay.answered)
                {
                    answer.pop_front();
                }
            }
            Act::Fail => {
                if self.answer.take().is_some() {
                    self.sequencer.replay_failed(&mut steps);
                }
            }
            Act::Reconnect { restarted } => {
                if let Some(ahead) = restarted {
                    self.restart();
                    (0..ahead).for_each(|_| drop(self.say()));
                }
                (self.answer, self.catching_up) = (None, true);
                self.sequencer.connected(&mut steps);
            }
            Act::Probe => self.sequencer.probe(&mut steps),
        }
        self.take(steps);
        if !self.catching_up && !self.degraded && !self.joined_late {
            let unapplied = self.heard.as_ref().filter(|batch| !self.applied.contains(batch));
            assert_eq!(unapplied, None, "it came, and answers without it are called exact");
        }
    }

    /// Everything in the buffer arrives, and the publisher sends one more batch.
    fn settle(&mut self) {
        self.act(Act::Reconnect { restarted: None });
        for _ in 0..2 {
            while self.answer.is_some() {
                self.act(Act::Answer);
            }
            self.act(Act::Say { arrives: true });
        }
        assert!(!self.sequencer.is_replaying());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// In the end, every batch of the current publisher was applied once and in order, or something is known to be
    /// missing.
    #[test]
    fn exact_or_degraded(acts in acts(), remembers in prop_oneof![Just(3_usize), Just(1000)]) {
        let mut world = World::new(true, remembers);
        world.act(Act::Reconnect { restarted: None });
        for act in acts {
            world.act(act);
        }
        world.settle();
        if !world.degraded && !world.joined_late {
            let all: Vec<_> = (0..world.said).map(|sequence| World::batch(world.life, sequence)).collect();
            prop_assert_eq!(&world.applied, &all);
        }
    }

    /// As long as the publisher remembers everything and answers, nothing is ever lost, whatever the network drops and
    /// however often the publisher restarts.
    #[test]
    fn nothing_is_lost_that_can_be_recovered(acts in acts()) {
        let mut world = World::new(true, 1000);
        world.act(Act::Reconnect { restarted: None });
        for act in acts {
            if !matches!(act, Act::Fail | Act::Swallow) {
                world.act(act);
                prop_assert!(!world.degraded && !world.joined_late);
            }
        }
        world.settle();
        prop_assert!(!world.degraded && !world.joined_late);
        prop_assert_eq!(world.applied.len() as u64, world.said);
    }

    /// If the publisher cannot be asked, missing batches of one connection are still noticed.
    #[test]
    fn without_replay_a_gap_degrades(arrives in prop::collection::vec(any::<bool>(), 1..40)) {
        let mut world = World::new(false, 0);
        world.act(Act::Reconnect { restarted: None });
        let complete = |said: &[bool]| said.iter().rposition(|&arrived| arrived).is_none_or(|last| {
            said[..last].iter().all(|&arrived| arrived)
        });
        for said in 0..arrives.len() {
            world.act(Act::Say { arrives: arrives[said] });
            let missing = world.degraded || (world.joined_late && !world.applied.is_empty());
            prop_assert_eq!(missing, !complete(&arrives[..=said]));
        }
        prop_assert_eq!(world.applied.len(), arrives.iter().filter(|&&arrived| arrived).count());
    }
}

#[test]
fn a_new_publisher_is_told_from_an_old_one_that_went_on() {
    let mut world = World::new(true, 1000);
    world.act(Act::Reconnect { restarted: None });
    for _ in 0..5 {
        world.act(Act::Say { arrives: true });
        world.act(Act::Answer);
    }
    // The new publisher has sent exactly as many batches, unheard.
    world.act(Act::Reconnect { restarted: Some(5) });
    world.settle();
    assert_eq!(world.applied, (0..7).map(|sequence| World::batch(1, sequence)).collect::<Vec<_>>());
    assert!(!world.degraded);
}

#[test]
fn a_new_connection_to_a_publisher_that_cannot_be_asked_is_doubted() {
    let mut world = World::new(false, 0);
    world.act(Act::Reconnect { restarted: None });
    assert!(world.joined_late, "it may have said something before");
    world.act(Act::Say { arrives: true });
    assert!(!world.joined_late && !world.degraded, "this was its first batch");
    // It has restarted and sent exactly as many batches unheard, or it has not restarted: nobody can tell.
    world.act(Act::Reconnect { restarted: Some(1) });
    assert!(world.degraded);
    world.act(Act::Say { arrives: true });
    assert!(world.degraded);
    // It has certainly restarted.
    world.act(Act::Reconnect { restarted: Some(0) });
    world.act(Act::Say { arrives: true });
    assert_eq!((world.degraded, world.joined_late, world.applied.len()), (false, false, 1));
}

#[test]
fn a_publisher_that_cannot_be_asked_may_have_been_there_before() {
    let mut world = World::new(true, 1000);
    world.say();
    world.act(Act::Reconnect { restarted: None });
    for _ in 0..=limits().attempts {
        world.act(Act::Fail);
    }
    assert!(world.joined_late && !world.sequencer.is_replaying());
    world.act(Act::Probe);
    world.act(Act::Answer);
    assert!(!world.joined_late, "it can be asked after all, and remembers its first batch");
}

/// The publisher restarted unseen, its buffer begins just behind the last batch that was applied, and a batch arrives
/// live before it can be asked.
#[test]
fn a_live_batch_does_not_prove_that_the_publisher_is_the_same() {
    let mut world = World::new(true, 3);
    world.act(Act::Reconnect { restarted: None });
    (0..3).for_each(|_| world.act(Act::Say { arrives: true }));
    world.act(Act::Answer);
    assert_eq!((world.applied.len(), world.degraded), (3, false));
    world.act(Act::Reconnect { restarted: Some(6) });
    world.act(Act::Say { arrives: true });
    world.settle();
    assert!(world.degraded, "{:?}", world.applied);
}

#[test]
fn a_number_that_is_not_higher_is_a_new_publisher() {
    for ahead in [0, 1, 2] {
        let mut world = World::new(true, 1000);
        world.act(Act::Reconnect { restarted: None });
        world.act(Act::Answer);
        (0..3).for_each(|_| world.act(Act::Say { arrives: true }));
        assert_eq!(world.applied.len(), 3);
        world.restart();
        (0..ahead).for_each(|_| world.act(Act::Say { arrives: false }));
        world.act(Act::Say { arrives: true });
        assert_eq!(world.applied.len(), usize::from(ahead == 0), "what the earlier publisher said is dropped at once");
        world.settle();
        assert_eq!(world.applied, (0..world.said).map(|sequence| World::batch(1, sequence)).collect::<Vec<_>>());
        assert!(!world.degraded);
    }
}

#[test]
fn a_gap_that_shows_during_a_probe_is_asked_about_until_it_is_closed() {
    let mut world = World::new(true, 1000);
    world.act(Act::Reconnect { restarted: None });
    world.act(Act::Answer);
    world.act(Act::Say { arrives: true });
    world.act(Act::Probe);
    assert!(!world.catching_up);
    world.act(Act::Say { arrives: false });
    world.act(Act::Say { arrives: true });
    world.act(Act::Fail);
    assert!(world.catching_up && world.sequencer.is_replaying(), "the second question is no probe");
}

#[test]
fn a_batch_of_an_answer_that_is_lost_on_the_way_is_asked_for_again() {
    let mut world = World::new(true, 1000);
    world.act(Act::Reconnect { restarted: None });
    world.act(Act::Answer);
    (0..4).for_each(|_| world.act(Act::Say { arrives: false }));
    world.act(Act::Say { arrives: true });
    for act in [Act::Answer, Act::Swallow, Act::Answer] {
        world.act(act);
        assert!(!world.degraded);
    }
    world.settle();
    assert_eq!((world.applied.len() as u64, world.degraded), (world.said, false));
}

/// A batch is held while the one before it is missing, and the publisher restarts.
#[test]
fn nothing_is_held_of_a_publisher_that_has_restarted() {
    let mut world = World::new(true, 1000);
    world.act(Act::Reconnect { restarted: None });
    world.act(Act::Answer);
    world.act(Act::Say { arrives: false });
    world.act(Act::Say { arrives: true });
    assert_eq!(world.sequencer.held.len(), 1);
    world.restart();
    world.act(Act::Say { arrives: true });
    assert_eq!((world.sequencer.held.len(), world.applied), (0, vec![World::batch(1, 0)]));
}

/// The last batch before the loss is not the one before the next.
#[test]
fn what_follows_a_loss_is_not_taken_for_a_restart() {
    let mut world = World::new(true, 1000);
    world.act(Act::Reconnect { restarted: None });
    world.act(Act::Answer);
    world.act(Act::Say { arrives: false });
    // One more than can be held.
    (0..=limits().held_batches).for_each(|_| world.act(Act::Say { arrives: true }));
    (0..=limits().attempts).for_each(|_| world.act(Act::Fail));
    assert_eq!((world.applied.len(), world.degraded, world.joined_late), (limits().held_batches, true, true));
    world.act(Act::Probe);
    (0..3).for_each(|_| world.act(Act::Answer));
    world.act(Act::Say { arrives: true });
    assert_eq!((world.applied.len(), world.degraded), (limits().held_batches + 1, true), "it did not restart");
}

/// The publisher restarts behind a connection that stays, while its batches are held and a replay goes on. The next
/// answer is from the new one, whether or not it can be told from the earlier answer, and may break off.
#[test]
fn held_batches_of_an_earlier_publisher_do_not_follow_those_of_the_new_one() {
    for (answered, breaks_off) in [(0, false), (1, false), (0, true)] {
        let mut world = World::new(true, 1000);
        world.act(Act::Reconnect { restarted: None });
        (0..3).for_each(|_| world.act(Act::Say { arrives: false }));
        world.act(Act::Say { arrives: true });
        (0..answered).for_each(|_| world.act(Act::Answer));
        world.restart();
        (0..3).for_each(|_| drop(world.say()));
        world.act(Act::Fail);
        for round in 0..20 {
            world.act(if breaks_off && round > 2 && round % 2 == 0 { Act::Fail } else { Act::Answer });
            let mixed = world.applied.contains(&World::batch(0, 3)) && world.applied.contains(&World::batch(1, 2));
            assert!(!mixed || world.catching_up || world.degraded, "{:?}", world.applied);
        }
        world.act(Act::Say { arrives: true });
        world.settle();
        assert_eq!(world.applied, (0..world.said).map(|sequence| World::batch(1, sequence)).collect::<Vec<_>>());
        assert!(!world.degraded);
    }
}

#[test]
fn held_batches_are_bounded_and_the_rest_is_replayed_later() {
    let mut world = World::new(true, 1000);
    world.act(Act::Say { arrives: false });
    for _ in 0..50 {
        world.act(Act::Say { arrives: true });
        assert!(world.sequencer.held.len() <= limits().held_batches);
    }
    assert!(world.sequencer.limits.room.free.load(Relaxed) < 1 << 20);
    world.settle();
    assert_eq!((world.applied.len(), world.degraded), (53, false));
    assert_eq!(world.sequencer.limits.room.free.load(Relaxed), 1 << 20, "all room is given back");
}
