//! The queue of waiting requests, by priority and arrival.

use std::cmp::Reverse;
use std::collections::HashMap;

use priority_queue::PriorityQueue;

use super::Limits;
use super::request::Task;

/// A ticket and a sample.
type Key = (u64, u32);

/// The place in the queue; the least is next. A request of priority `p` queues as if it had arrived `p` times
/// [`Limits::yield_ns`] later, at most [`Limits::patience_ns`], so no request waits for ever behind later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// Whether the request has never run; preempted ones come first.
    fresh: bool,
    /// Its arrival, plus what it yields.
    due_ns: u64,
    key: Key,
}

impl Turn {
    fn new(task: &Task, limits: &Limits) -> Self {
        let yields = limits.yield_ns.saturating_mul(task.request.priority.into()).min(limits.patience_ns);
        Self {
            fresh: task.preempted == 0,
            due_ns: task.arrived_ns.saturating_add(yields),
            key: (task.ticket, task.sample),
        }
    }
}

/// Waiting tasks, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    turns: PriorityQueue<Key, Reverse<Turn>>,
    tasks: HashMap<Key, Task>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn push(&mut self, task: Task, limits: &Limits) {
        let turn = Turn::new(&task, limits);
        self.turns.push(turn.key, Reverse(turn));
        self.tasks.insert(turn.key, task);
    }

    /// Returns the next task.
    pub(super) fn peek(&mut self) -> Option<&mut Task> {
        let (key, _) = self.turns.peek()?;
        self.tasks.get_mut(key)
    }

    pub(super) fn pop(&mut self) -> Option<Task> {
        let (key, _) = self.turns.pop()?;
        self.tasks.remove(&key)
    }

    /// Changes the priority of a request that is waiting. Returns whether there is one.
    pub(super) fn reprioritise(&mut self, ticket: u64, priority: u32, limits: &Limits) -> bool {
        let Some(task) = self.tasks.get_mut(&(ticket, 0)) else { return false };
        task.request.priority = priority;
        let turn = Turn::new(task, limits);
        self.turns.change_priority(&turn.key, Reverse(turn)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::mock::Request;

    const LIMITS: Limits =
        Limits { step_tokens: 1, chunk_tokens: 1, batch: 1, waiting: 1000, yield_ns: 10, patience_ns: 35 };

    fn task(ticket: u64, arrived_ns: u64, priority: u32) -> Task {
        Task::new(ticket, arrived_ns, Request { priority, ..Request::default() }, 16, 0)
    }

    fn order(waiting: &mut Waiting) -> Vec<u64> {
        std::iter::from_fn(|| waiting.pop()).map(|task| task.ticket).collect()
    }

    #[test]
    fn turns_are_by_arrival_less_what_is_yielded() {
        let mut waiting = Waiting::default();
        for (ticket, arrived, priority) in [(0, 0, 1), (1, 5, 0), (2, 11, 0), (3, 11, 0), (4, 0, 99), (5, 34, 0)] {
            waiting.push(task(ticket, arrived, priority), &LIMITS);
        }
        let mut resumed = task(6, 90, 99);
        resumed.preempted = 1;
        waiting.push(resumed, &LIMITS);
        assert_eq!(order(&mut waiting), [6, 1, 0, 2, 3, 5, 4]);
    }

    #[test]
    fn a_priority_can_change_while_waiting() {
        let mut waiting = Waiting::default();
        for ticket in 0..3 {
            waiting.push(task(ticket, ticket, 2), &LIMITS);
        }
        assert!(waiting.reprioritise(2, 0, &LIMITS) && waiting.reprioritise(0, 3, &LIMITS));
        assert!(!waiting.reprioritise(9, 0, &LIMITS));
        assert_eq!(order(&mut waiting), [2, 1, 0]);
    }

    #[test]
    fn nobody_is_overtaken_by_who_comes_later_than_the_patience() {
        let mut random = Rng::with_seed(1);
        let mut waiting = Waiting::default();
        let mut waits: HashMap<u64, u64> = HashMap::new();
        let (mut now, mut overtaken) = (0, 0);
        for ticket in 0..3000 {
            now += random.u64(0..12);
            waiting.push(task(ticket, now, random.u32(0..8)), &LIMITS);
            waits.insert(ticket, now);
            if waiting.len() > 20 {
                let next = waiting.pop().unwrap();
                waits.remove(&next.ticket);
                overtaken += waits.values().filter(|&&earlier| earlier < next.arrived_ns).count();
                assert!(waits.values().all(|earlier| earlier + LIMITS.patience_ns >= next.arrived_ns));
            }
        }
        assert!(overtaken > 100, "{overtaken}");
    }
}
