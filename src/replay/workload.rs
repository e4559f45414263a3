//! The built-in workload: conversations of many turns under shared system prompts.

use std::ops::Range;

use fastrand::Rng;

use super::Request;
use crate::hash::hash_pair;

/// Conversations that are open at the same time.
const OPEN: usize = 64;
/// System prompts. Number i has (i + 1) x 512 tokens, and lower numbers are more popular.
const SYSTEMS: u64 = 8;
/// Turns in a conversation.
const TURNS: Range<u32> = 1..16;
/// Tokens of the user in a turn.
const USER: Range<u64> = 16..1024;
/// Tokens of the model in a turn.
const MODEL: Range<u64> = 8..512;

/// An endless stream of requests, the same for the same seed and block size.
///
/// The prompt of every turn is the system prompt and everything that was said since. One block in sixteen is
/// boilerplate with a local hash of 0 to 3, so that equal local hashes occur under many prefixes and at many positions.
#[derive(Debug)]
pub struct Workload {
    random: Rng,
    seed: u64,
    block_size: u64,
    open: Vec<Conversation>,
    started: u64,
}

#[derive(Debug)]
struct Conversation {
    /// Makes its blocks unique; system prompts have the ids below [`SYSTEMS`].
    id: u64,
    system: u64,
    /// Tokens so far.
    length: u64,
    turns_left: u32,
}

impl Workload {
    /// Starts the stream, in blocks of `block_size` tokens; 0 is taken as 1.
    pub fn new(seed: u64, block_size: u32) -> Self {
        let random = Rng::with_seed(seed);
        let mut workload = Self { random, seed, block_size: block_size.max(1).into(), open: Vec::new(), started: 0 };
        workload.open = (0..OPEN).map(|_| workload.start()).collect();
        workload
    }

    fn start(&mut self) -> Conversation {
        let system = self.random.u64(..SYSTEMS).min(self.random.u64(..SYSTEMS));
        self.started += 1;
        Conversation {
            id: SYSTEMS + self.started,
            system,
            length: system_tokens(system),
            turns_left: self.random.u32(TURNS),
        }
    }

    /// Returns the local hash of a block of a conversation.
    fn local(&self, conversation: &Conversation, block: u64) -> u64 {
        let of_system = (block + 1) * self.block_size <= system_tokens(conversation.system);
        let text = if of_system { conversation.system } else { conversation.id };
        let hash = hash_pair(hash_pair(self.seed, text), block);
        if hash.is_multiple_of(16) { hash / 16 % 4 } else { hash }
    }
}

fn system_tokens(system: u64) -> u64 {
    (system + 1) * 512
}

impl Iterator for Workload {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let turn = self.random.usize(..OPEN);
        self.open[turn].length += self.random.u64(USER);
        let output_length = self.random.u64(MODEL);

        let conversation = &self.open[turn];
        let input_length = conversation.length;
        let prompt = (0..input_length / self.block_size).map(|block| self.local(conversation, block)).collect();

        self.open[turn].length += output_length;
        self.open[turn].turns_left -= 1;
        if self.open[turn].turns_left == 0 {
            self.open[turn] = self.start();
        }
        Some(Request { prompt, input_length, output_length })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn prompts(seed: u64, block_size: u32) -> Vec<Vec<u64>> {
        Workload::new(seed, block_size).take(500).map(|request| request.prompt).collect()
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(prompts(1, 64), prompts(1, 64));
        assert_ne!(prompts(1, 64), prompts(2, 64));
    }

    #[test]
    fn prompts_are_the_full_blocks_of_the_input() {
        for request in Workload::new(3, 100).take(500) {
            assert_eq!(request.prompt.len() as u64, request.input_length / 100);
            assert!(request.output_length > 0);
        }
    }

    #[test]
    fn turns_continue_and_system_prompts_are_shared() {
        let prompts = prompts(5, 64);
        let continues =
            |(i, prompt): (usize, &Vec<u64>)| prompts[..i].iter().any(|earlier| prompt.starts_with(earlier));
        assert!(prompts.iter().enumerate().filter(|&turn| continues(turn)).count() > 250);
        let systems: HashSet<&[u64]> = prompts.iter().map(|prompt| &prompt[..8]).collect();
        assert!(systems.len() <= SYSTEMS as usize, "the first 512 tokens are a system prompt's");
    }

    #[test]
    fn one_local_hash_occurs_under_many_prefixes() {
        let prompts = prompts(7, 16);
        let prefixes: HashSet<&[u64]> = prompts
            .iter()
            .flat_map(|prompt| (1..=prompt.len()).map(|end| &prompt[..end]))
            .filter(|prefix| prefix.ends_with(&[0]))
            .collect();
        assert!(prefixes.len() > 100);
    }
}
