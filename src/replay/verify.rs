//! Comparing every answer with the reference model.

use serde::Serialize;

use crate::baseline::reference::Reference;
use crate::event::{Event, Worker};

/// Compares answers with those of a reference model, which it keeps up to date.
#[derive(Debug, Default)]
pub struct Verifier {
    reference: Reference,
    verified: u64,
    mismatches: u64,
    first: Option<Mismatch>,
}

/// An answer that is wrong about a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The request, from 1.
    pub request: u64,
    /// The worker's id.
    pub worker: u64,
    /// The worker's data-parallel rank.
    pub dp_rank: u32,
    /// The blocks that the reference model says; 0 if the worker holds nothing of the prompt.
    pub expected: u32,
    /// The blocks that the answer said, once for every time that it named the worker.
    pub got: Vec<u32>,
}

impl Verifier {
    /// Starts with a fleet that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an event to the reference model. An event that it rejects changes nothing there, and must change nothing
    /// in the index.
    pub fn apply(&mut self, event: &Event) {
        let _ = self.reference.apply(event);
    }

    /// Compares an answer for every worker. `request` counts from 1.
    pub fn check(&mut self, request: u64, hashes: &[u64], answer: &[(Worker, u32)]) {
        self.verified += 1;
        let expected = self.reference.find(hashes);
        let mut got = answer.to_vec();
        got.sort_unstable();
        if got == expected {
            return;
        }
        self.mismatches += 1;
        self.first.get_or_insert_with(|| {
            let depths = |of: &[(Worker, u32)], worker| -> Vec<u32> {
                of.iter().filter(|&&(w, _)| w == worker).map(|&(_, depth)| depth).collect()
            };
            let wrong = |&worker: &Worker| depths(&expected, worker) != depths(&got, worker);
            let worker = expected.iter().chain(&got).map(|&(worker, _)| worker).find(wrong).unwrap_or_default();
            Mismatch {
                request,
                worker: worker.id,
                dp_rank: worker.dp_rank,
                expected: depths(&expected, worker).first().copied().unwrap_or(0),
                got: depths(&got, worker),
            }
        });
    }

    /// Returns how many answers were compared.
    pub fn verified(&self) -> u64 {
        self.verified
    }

    /// Returns how many answers were wrong about at least one worker.
    pub fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// Returns the first wrong answer.
    pub fn first(&self) -> Option<&Mismatch> {
        self.first.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Block, EventData};

    fn verifier() -> Verifier {
        let mut verifier = Verifier::new();
        for id in 0..2 {
            let blocks = vec![Block { sequence: 1, local: 5 }, Block { sequence: 2, local: 6 }];
            verifier.apply(&Event {
                worker: Worker::new(id, 0),
                id: 1,
                data: EventData::Stored { parent: None, blocks },
            });
        }
        verifier
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter() {
        let mut verifier = verifier();
        verifier.check(1, &[5, 6], &[(Worker::new(1, 0), 2), (Worker::new(0, 0), 2)]);
        assert_eq!((verifier.verified(), verifier.mismatches(), verifier.first()), (1, 0, None));
    }

    #[test]
    fn every_kind_of_wrong_answer_is_found() {
        let at = |id, depth| (Worker::new(id, 0), depth);
        let wrong = |worker, expected, got| Mismatch { request: 9, worker, dp_rank: 0, expected, got };
        let cases = [
            (vec![at(0, 2), at(1, 1)], wrong(1, 2, vec![1])),
            (vec![at(0, 3), at(1, 2)], wrong(0, 2, vec![3])),
            (vec![at(1, 2)], wrong(0, 2, vec![])),
            (vec![at(0, 2), at(1, 2), at(7, 1)], wrong(7, 0, vec![1])),
            (vec![at(0, 2), at(1, 2), at(1, 2)], wrong(1, 2, vec![2, 2])),
        ];
        for (answer, mismatch) in cases {
            let mut verifier = verifier();
            verifier.check(9, &[5, 6], &answer);
            assert_eq!(verifier.mismatches(), 1, "{answer:?}");
            assert_eq!(verifier.first(), Some(&mismatch), "{answer:?}");
        }
    }
}
