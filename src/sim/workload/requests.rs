//! The requests of a simulation, stored compactly: the prompts of a session share one text, and blocks are hashed when
//! they are needed.

use std::ops::Range;

use crate::hash::hash_pair;

/// Separates the blocks of tenants.
const TENANT: u64 = 0x7E4A;

/// The requests, in the order of the workload.
#[derive(Debug)]
pub(in crate::sim) struct Requests {
    pub(super) list: Vec<Request>,
    /// Texts of sessions as ids, each of which stands for `parts` blocks.
    pub(super) texts: Vec<Vec<u64>>,
    pub(super) parts: u64,
    pub(super) block_size: u32,
    pub(super) models: u32,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sim) struct Request {
    /// When it arrives: since the start or, if it `follows`, since the answer to the previous one.
    pub(in crate::sim) at_ns: u64,
    /// Whether it waits for the answer to the previous request of its session.
    pub(in crate::sim) follows: bool,
    pub(in crate::sim) input_tokens: u32,
    pub(in crate::sim) output_tokens: u32,
    /// Number of its session.
    pub(in crate::sim) session: u32,
    /// Number of its model and adapter.
    pub(in crate::sim) tenant: u32,
    /// Number of the text that starts with its prompt.
    pub(super) text: u32,
    /// The next request of its session.
    pub(in crate::sim) next: Option<u32>,
}

impl Requests {
    pub(in crate::sim) fn len(&self) -> usize {
        self.list.len()
    }

    pub(in crate::sim) fn get(&self, request: u32) -> &Request {
        &self.list[request as usize]
    }

    /// Returns the local hashes of a prompt's full blocks.
    pub(in crate::sim) fn prompt(&self, request: u32) -> Box<[u64]> {
        self.blocks(request, 0..self.prompt_blocks(request))
    }

    /// Returns the local hashes of the full blocks after those of the prompt, up to the end of the answer, as far as
    /// the next prompt of the session contains them.
    pub(in crate::sim) fn answer(&self, request: u32) -> Box<[u64]> {
        let Request { input_tokens, output_tokens, text, next, .. } = *self.get(request);
        let goes_on = next.is_some_and(|next| self.get(next).text == text);
        let end = (u64::from(input_tokens) + u64::from(output_tokens)) / u64::from(self.block_size);
        let end = if goes_on { end.min(self.text_blocks(text)) } else { 0 };
        self.blocks(request, self.prompt_blocks(request)..end)
    }

    /// Returns the number, from 1, of the request that needs the most blocks of a worker, and how many it needs.
    pub(in crate::sim) fn longest(&self) -> Option<(u64, u64)> {
        let needed = |request: &Request| {
            let tokens = u64::from(request.input_tokens).max(1) + u64::from(request.output_tokens).max(1) - 1;
            tokens.div_ceil(self.block_size.into())
        };
        // The first, if there are several.
        (1..).zip(self.list.iter().map(needed)).max_by_key(|&(number, blocks)| (blocks, std::cmp::Reverse(number)))
    }

    /// Returns the model that a request asks for.
    pub(in crate::sim) fn model(&self, request: u32) -> u32 {
        self.get(request).tenant % self.models
    }

    /// Returns the numbers of all models.
    pub(in crate::sim) fn models(&self) -> Range<u32> {
        0..self.models
    }

    /// Returns the arrival time of the last request that does not wait for an answer.
    pub(in crate::sim) fn span_ns(&self) -> u64 {
        self.list.iter().filter(|request| !request.follows).map(|request| request.at_ns).max().unwrap_or(0)
    }

    fn prompt_blocks(&self, request: u32) -> u64 {
        let Request { input_tokens, text, .. } = *self.get(request);
        u64::from(input_tokens / self.block_size).min(self.text_blocks(text))
    }

    fn text_blocks(&self, text: u32) -> u64 {
        self.texts[text as usize].len() as u64 * self.parts
    }

    fn blocks(&self, request: u32, range: Range<u64>) -> Box<[u64]> {
        let Request { tenant, text, .. } = *self.get(request);
        let ids = &self.texts[text as usize];
        let namespace = if tenant == 0 { 0 } else { hash_pair(TENANT, tenant.into()) };
        let local = |block| hash_pair(ids[(block / self.parts) as usize] ^ namespace, block % self.parts);
        range.map(local).collect()
    }
}
