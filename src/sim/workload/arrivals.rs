//! Generating the requests of a workload.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;

use super::requests::{Request, Requests};
use super::{Bursts, Mix, Source, Workload};
use crate::hash::hash_pair;
use crate::sim::SimError;
use crate::trace::synth::Limits;
use crate::trace::synth::scenario::Scenario;
use crate::trace::{self, Expansion, Row};

const NS_PER_MS: u64 = 1_000_000;
/// Separates random times from random texts.
const TIMES: u64 = 0x71E5;
/// Separates random tenants from random texts.
const TENANTS: u64 = 0x7E4A_4715;
/// The ids of different scenarios of a mix are this far apart.
const SCENARIO: u64 = 1 << 48;

impl Workload {
    /// Generates or reads all requests, in blocks of this size. `workers` only determines the default rate and number.
    pub(in crate::sim) fn requests(&self, block_size: u32, workers: u32, seed: u64) -> Result<Requests, SimError> {
        let mut builder = Builder::new(self, block_size, seed);
        match &self.source {
            Source::Mix(mix) => {
                let rate = self.rate.unwrap_or(Self::RATE * f64::from(workers));
                let default = Self::REQUESTS.max(Self::REQUESTS_PER_WORKER * u64::from(workers));
                builder.made_up(mix, rate, self.requests.unwrap_or(default), seed)?;
            }
            Source::Trace { path, block_size: trace_block_size } => {
                let expansion = Expansion::new(*trace_block_size, block_size)?;
                builder.trace(path, expansion, self.requests.unwrap_or(Self::MAX_REQUESTS))?;
                if let Some(rate) = self.rate {
                    builder.poisson(rate, seed);
                }
                if let Some(factor) = self.speedup {
                    builder.speed_up(factor);
                }
            }
        }
        if let Some(bursts) = self.bursts {
            builder.burst(bursts);
        }
        Ok(builder.requests)
    }
}

struct Builder {
    requests: Requests,
    closed: bool,
    tenants: u64,
    seed: u64,
    /// For each session, its last request and the time of that in the workload.
    last: HashMap<(usize, String), (u32, u64)>,
    sessions: u32,
    first_ms: Option<u64>,
}

impl Builder {
    fn new(workload: &Workload, block_size: u32, seed: u64) -> Self {
        let requests = Requests { list: Vec::new(), texts: Vec::new(), parts: 1, block_size, models: workload.models };
        Self {
            requests,
            closed: workload.closed(),
            tenants: u64::from(workload.models) * u64::from(workload.adapters),
            seed: hash_pair(TENANTS, seed),
            last: HashMap::new(),
            sessions: 0,
            first_ms: None,
        }
    }

    /// Adds generated requests of all scenarios, merged by time.
    fn made_up(&mut self, mix: &Mix, rate: f64, count: u64, seed: u64) -> Result<(), SimError> {
        let block_size = self.requests.block_size;
        let scenarios = mix.parts().flat_map(|(traffic, share)| {
            traffic.scenarios().into_iter().map(move |(kind, parameters, part)| (kind, parameters, part * share))
        });
        let mut sources = Vec::new();
        for ((kind, mut parameters, share), number) in scenarios.zip(0..) {
            parameters.rate = Some(rate * share);
            let seed = if number == 0 { seed } else { hash_pair(seed, number) };
            let scenario = Scenario::new(kind, &parameters, block_size, Limits::default(), seed);
            let mut rows = scenario.and_then(|scenario| scenario.requests(count))?;
            let next = rows.next().transpose()?;
            sources.push((next, rows));
        }
        for _ in 0..count {
            let times = sources.iter().enumerate().filter_map(|(at, (row, _))| Some((row.as_ref()?.timestamp, at)));
            let Some((_, source)) = times.min() else { break };
            let (next, rows) = &mut sources[source];
            if let Some(mut row) = next.take() {
                row.hash_ids.iter_mut().for_each(|id| *id += source as u64 * SCENARIO);
                *next = rows.next().transpose()?;
                self.push(source, row, block_size);
            }
        }
        Ok(())
    }

    fn trace(&mut self, path: &Path, expansion: Expansion, limit: u64) -> Result<(), SimError> {
        let (trace_block_size, block_size) = (expansion.trace_block_size(), expansion.block_size());
        self.requests.parts = u64::from(trace_block_size / block_size);
        let mut rows = trace::open(path, trace_block_size)?;
        while (self.requests.len() as u64) < limit {
            let Some(row) = rows.next().transpose()? else { break };
            self.push(0, row, trace_block_size);
        }
        if self.closed && self.last.is_empty() {
            let why = "needs a trace whose rows have a session_id".to_owned();
            return Err(SimError::Option { option: "--sessions closed", why });
        }
        Ok(())
    }

    /// Adds a request whose ids stand for `id_tokens` tokens each. Rows must be in order of time.
    fn push(&mut self, source: usize, row: Row, id_tokens: u32) {
        let Requests { list, texts, .. } = &mut self.requests;
        let number = list.len() as u32;
        let ms = row.timestamp - *self.first_ms.get_or_insert(row.timestamp);
        let before = row.session_id.and_then(|name| self.last.insert((source, name), (number, ms)));
        let mut request = Request {
            at_ns: ms.saturating_mul(NS_PER_MS),
            follows: false,
            input_tokens: row.input_length,
            output_tokens: row.output_length,
            session: self.sessions,
            tenant: (hash_pair(self.seed, self.sessions.into()) % self.tenants) as u32,
            text: texts.len() as u32,
            next: None,
        };
        let Some((before, before_ms)) = before else {
            self.sessions += 1;
            texts.push(row.hash_ids);
            list.push(request);
            return;
        };
        let before = &mut list[before as usize];
        before.next = Some(number);
        (request.session, request.tenant) = (before.session, before.tenant);
        if self.closed {
            request.follows = true;
            request.at_ns = (ms - before_ms).saturating_mul(NS_PER_MS);
        }
        // The partial last block of the previous prompt may have an id of its own; in this prompt the block is full,
        // with a different id. So only the full blocks are compared.
        let full = (before.input_tokens / id_tokens) as usize;
        let text = &mut texts[before.text as usize];
        if row.input_length >= before.input_tokens && row.hash_ids.starts_with(&text[..full.min(text.len())]) {
            request.text = before.text;
            text.truncate(full);
            text.extend_from_slice(&row.hash_ids[full.min(row.hash_ids.len())..]);
        } else {
            texts.push(row.hash_ids);
        }
        list.push(request);
    }

    /// Returns the times of the requests that do not wait for an answer.
    fn times(&mut self) -> impl Iterator<Item = &mut u64> {
        self.requests.list.iter_mut().filter(|request| !request.follows).map(|request| &mut request.at_ns)
    }

    /// Replaces the times by a Poisson process with about `rate` requests per second, including those that wait for an
    /// answer.
    #[allow(clippy::cast_sign_loss, reason = "times are not negative")]
    fn poisson(&mut self, rate: f64, seed: u64) {
        let mut random = Rng::with_seed(hash_pair(TIMES, seed));
        let free = self.times().count() as f64 / self.requests.len() as f64;
        let mean_ns = 1e9 / (rate * free);
        let mut now = 0.0;
        for time in self.times() {
            *time = now as u64;
            now -= mean_ns * (1.0 - random.f64()).ln();
        }
    }

    #[allow(clippy::cast_sign_loss, reason = "times are not negative")]
    fn speed_up(&mut self, factor: f64) {
        self.requests.list.iter_mut().for_each(|request| request.at_ns = (request.at_ns as f64 / factor) as u64);
    }

    /// Maps the times to bursts: time runs faster within bursts and stands still between them.
    #[allow(clippy::cast_sign_loss, reason = "times are not negative")]
    fn burst(&mut self, Bursts { on, off }: Bursts) {
        let faster = (on + off).as_secs_f64() / on.as_secs_f64();
        let on_ns = nanoseconds(on);
        for time in self.times() {
            let active = (*time as f64 / faster) as u64;
            *time = (active / on_ns).saturating_mul(nanoseconds(on + off)) + active % on_ns;
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Sessions, Traffic};

    const SECOND: u64 = 1_000_000_000;

    fn requests(workload: &Workload) -> Requests {
        workload.requests(64, 8, 1).expect("sensible options")
    }

    fn made_up(mix: Mix) -> Workload {
        Workload { source: Source::Mix(mix), requests: Some(4000), ..Workload::default() }
    }

    /// The times of the requests that do not wait for an answer.
    fn times(requests: &Requests) -> Vec<u64> {
        requests.list.iter().filter(|request| !request.follows).map(|request| request.at_ns).collect()
    }

    #[test]
    fn sessions_are_of_the_same_requests_open_and_closed() {
        let closed = requests(&made_up(Traffic::Conversations.into()));
        let open = requests(&Workload { sessions: Some(Sessions::Open), ..made_up(Traffic::Conversations.into()) });
        assert_eq!((open.len(), closed.len()), (4000, 4000));
        for number in 0..4000 {
            let (ours, theirs) = (open.get(number), closed.get(number));
            assert_eq!(
                (ours.input_tokens, ours.output_tokens, ours.next),
                (theirs.input_tokens, theirs.output_tokens, theirs.next)
            );
            assert_eq!(open.prompt(number), closed.prompt(number));
            // The time of the next one is that of this one and the time between.
            if let Some(next) = theirs.next {
                assert!(closed.get(next).follows);
                assert_eq!(open.get(next).at_ns, ours.at_ns + closed.get(next).at_ns);
            }
        }
    }

    #[test]
    fn a_prompt_that_goes_on_begins_with_the_prompt_and_the_answer_before() {
        let requests = requests(&made_up(Traffic::Agents.into()));
        let mut went_on = 0;
        for number in 0..4000 {
            let Some(next) = requests.get(number).next else { continue };
            let (prompt, answer, longer) = (requests.prompt(number), requests.answer(number), requests.prompt(next));
            if !longer.starts_with(&prompt) {
                continue; // compacted
            }
            went_on += 1;
            assert!(longer.starts_with(&[&prompt[..], &answer].concat()));
            let said = requests.get(number).input_tokens + requests.get(number).output_tokens;
            assert_eq!(prompt.len() + answer.len(), (said / 64) as usize);
        }
        assert!(went_on > 3000, "{went_on}");
    }

    #[test]
    fn parts_of_a_mix_have_their_share_and_no_block_in_common() {
        let mixed = requests(&made_up("unique=3,hot-spot=1".parse().unwrap()));
        let mut first = HashMap::new();
        (0..4000).for_each(|number| *first.entry(mixed.prompt(number).first().copied()).or_insert(0) += 1);
        let most = first.values().max().copied().unwrap();
        assert!((900..1100).contains(&most), "{most} begin as the hot spot does");
        assert!(first.len() > 2800, "{}", first.len());
    }

    #[test]
    fn poisson_times_have_the_rate_and_bursts_leave_gaps() {
        let plain = times(&requests(&made_up(Traffic::Unique.into())));
        let bursts = Bursts { on: Duration::from_secs(2), off: Duration::from_secs(6) };
        let burst = times(&requests(&Workload { bursts: Some(bursts), ..made_up(Traffic::Unique.into()) }));
        assert!(burst.iter().all(|at| at % (8 * SECOND) < 2 * SECOND));
        assert!(burst.is_sorted());
        let (before, after) = (plain[3999] as f64, burst[3999] as f64);
        assert!((before / 1e9 / 125.0 - 1.0).abs() < 0.1, "four a second for each of eight workers: {before}");
        assert!((after / before - 1.0).abs() < 0.1, "the rate is what it was: {before}, {after}");

        let mut builder = Builder::new(&Workload::default(), 64, 0);
        for number in 0..4000 {
            let session_id = Some((number / 4).to_string());
            builder.push(0, Row { input_length: 64, hash_ids: vec![number], session_id, ..Row::default() }, 64);
        }
        builder.poisson(100.0, 7);
        let times = times(&builder.requests);
        assert_eq!((times.len(), times[0]), (1000, 0));
        let rate = 1000.0 / (times[999] as f64 / 1e9);
        assert!((rate / 25.0 - 1.0).abs() < 0.1, "{rate} sessions of four requests a second");
    }

    #[test]
    fn a_faster_trace_is_the_same_in_less_time() {
        let mut builder = Builder::new(&Workload::default(), 64, 0);
        for ms in [5, 25, 1005] {
            builder.push(0, Row { timestamp: ms, input_length: 64, hash_ids: vec![ms], ..Row::default() }, 64);
        }
        assert_eq!(times(&builder.requests), [0, 20_000_000, SECOND]);
        builder.speed_up(4.0);
        assert_eq!(times(&builder.requests), [0, 5_000_000, SECOND / 4]);
    }
}
