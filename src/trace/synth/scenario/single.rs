//! Single requests: shared prompts, and questions about documents.

use fastrand::Rng;

use super::Scenario;
use super::draw::{Zipf, exponential, tokens};
use super::parameters::Settings;
use super::prompt::{Piece, Prompts, length};
use crate::trace::Row;

#[derive(Debug)]
pub(super) struct Singles {
    settings: Settings,
    random: Rng,
    popularity: Zipf,
    /// Lengths of the shared prompts, or of the documents.
    prefixes: Vec<u32>,
    prompts: Prompts,
    system: Piece,
    now: f64,
    next_text: u64,
}

impl Singles {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let settings = scenario.settings;
        let mut random = Rng::with_seed(scenario.seed);
        let prefixes: Vec<u32> = (0..settings.prefixes).map(|_| tokens(&mut random, settings.prefix_tokens)).collect();
        let system = Piece { text: prefixes.len() as u64, tokens: settings.system_tokens.round() as u32 };
        Self {
            settings,
            random,
            popularity: Zipf::new(settings.prefixes, settings.zipf),
            prefixes,
            prompts: Prompts::new(scenario.block_size),
            next_text: system.text + 1,
            system,
            now: 0.0,
        }
    }

    /// Picks a prefix that is not yet among the pieces.
    fn pick(&mut self, pieces: &[Piece]) -> Piece {
        // If all popular prefixes are taken, drawing an unpopular one could take very long; after 100 attempts, the
        // first free one is taken.
        for _ in 0..100 {
            let text = u64::from(self.popularity.draw(&mut self.random));
            if pieces.iter().all(|piece| piece.text != text) {
                return self.prefix(text);
            }
        }
        let free = (0..self.prefixes.len() as u64).find(|text| pieces.iter().all(|piece| piece.text != *text));
        self.prefix(free.expect("no more are retrieved than there are"))
    }

    fn prefix(&self, text: u64) -> Piece {
        Piece { text, tokens: self.prefixes[text as usize] }
    }
}

impl Iterator for Singles {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        self.now += exponential(&mut self.random, 1e3 / self.settings.rate);
        let mut pieces = vec![self.system];
        for _ in 0..self.settings.retrieved.max(1) {
            pieces.push(self.pick(&pieces));
        }
        if self.settings.sorted {
            pieces[1..].sort_unstable_by_key(|document| document.text);
        }
        pieces.push(Piece { text: self.next_text, tokens: tokens(&mut self.random, self.settings.prompt_tokens) });
        self.next_text += 1;
        Some(Row {
            timestamp: self.now as u64,
            input_length: length(&pieces),
            output_length: tokens(&mut self.random, self.settings.output_tokens),
            hash_ids: self.prompts.ids(&pieces),
            session_id: None,
        })
    }
}
