//! Sessions whose prompts grow: conversations and agents.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;

use super::draw::{Zipf, exponential, tokens};
use super::parameters::Settings;
use super::prompt::{Piece, Prompts, length};
use super::{Kind, Scenario};
use crate::trace::Row;

#[derive(Debug)]
pub(super) struct Sessions {
    settings: Settings,
    /// Whether a session that grows too long continues with a summary.
    compacts: bool,
    random: Rng,
    popularity: Zipf,
    /// Lengths of the shared prompts.
    prefixes: Vec<u32>,
    prompts: Prompts,
    /// When the next request of a session arrives, in microseconds, and the place of the session in `open`.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    open: Vec<Session>,
    /// Places of `open` to reuse.
    free: Vec<usize>,
    /// When the next session starts.
    begins: f64,
    begun: u64,
    next_text: u64,
}

#[derive(Debug)]
struct Session {
    name: u64,
    /// The prompt of its next request, of which the first piece is shared.
    pieces: Vec<Piece>,
}

/// A summary has this fraction of the longest context.
const SUMMARY: u32 = 10;

impl Sessions {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let settings = scenario.settings;
        let mut random = Rng::with_seed(scenario.seed);
        let prefixes: Vec<u32> = (0..settings.prefixes).map(|_| tokens(&mut random, settings.prefix_tokens)).collect();
        Self {
            settings,
            compacts: scenario.kind == Kind::Agents,
            random,
            popularity: Zipf::new(settings.prefixes, settings.zipf),
            next_text: prefixes.len() as u64,
            prefixes,
            prompts: Prompts::new(scenario.block_size),
            due: BinaryHeap::new(),
            open: Vec::new(),
            free: Vec::new(),
            begins: 0.0,
            begun: 0,
        }
    }

    /// Creates the next session, whose first request is due when it starts.
    fn begin(&mut self) {
        let prefix = self.popularity.draw(&mut self.random);
        let shared = Piece { text: prefix.into(), tokens: self.prefixes[prefix as usize] };
        let pieces = vec![shared, self.say(self.settings.prompt_tokens)];
        let session = Session { name: self.begun, pieces };
        self.begun += 1;
        let place = self.free.pop().unwrap_or(self.open.len());
        if place == self.open.len() {
            self.open.push(session);
        } else {
            self.open[place] = session;
        }
        self.due.push(Reverse((self.begins as u64, place)));
        self.begins += exponential(&mut self.random, 1e6 * self.settings.turns / self.settings.rate);
    }

    /// Draws a new text with this mean length.
    fn say(&mut self, mean: f64) -> Piece {
        let tokens = tokens(&mut self.random, mean);
        self.fresh(tokens)
    }

    fn fresh(&mut self, tokens: u32) -> Piece {
        self.next_text += 1;
        Piece { text: self.next_text - 1, tokens }
    }

    /// Prepares the next request of a session after one that arrived at `now`. Returns `false` if the session ends.
    fn goes_on(&mut self, place: usize, now: u64) -> bool {
        if self.random.f64() * self.settings.turns < 1.0 {
            return false;
        }
        let new = self.say(self.settings.prompt_tokens);
        if length(&self.open[place].pieces).saturating_add(new.tokens) > self.settings.max_context {
            if !self.compacts {
                return false;
            }
            let summary = self.fresh(self.settings.max_context / SUMMARY);
            self.open[place].pieces.truncate(1);
            self.open[place].pieces.push(summary);
        }
        self.open[place].pieces.push(new);
        let pause = exponential(&mut self.random, 1e6 * self.settings.pause) as u64;
        self.due.push(Reverse((now + pause, place)));
        true
    }
}

impl Iterator for Sessions {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        while self.due.peek().is_none_or(|Reverse((due, _))| self.begins as u64 <= *due) {
            self.begin();
        }
        let Reverse((now, place)) = self.due.pop()?;
        let Session { name, pieces } = &self.open[place];
        let session_id = Some(format!("session-{name}"));
        let (input_length, hash_ids) = (length(pieces), self.prompts.ids(pieces));
        let answer = self.say(self.settings.output_tokens);
        let output_length = answer.tokens;
        self.open[place].pieces.push(answer);
        if !self.goes_on(place, now) {
            self.free.push(place);
        }
        Some(Row { timestamp: now / 1000, input_length, output_length, hash_ids, session_id })
    }
}
