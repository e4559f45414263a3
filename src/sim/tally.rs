//! Everything that is counted while a policy is played.

use hdrhistogram::Histogram;

use super::member::{Flight, Member};
use super::report::{Bins, Blocks, Events, Interval, PolicyReport, PredictionAccuracy, Times};
use super::workload::Request;
use crate::event::{Event, EventData};
use crate::mock::{Config, Finished, Latency, Work};

/// Intervals that the arrivals are divided into.
const INTERVALS: u64 = 60;
const NS_PER_MS: f64 = 1e6;

#[derive(Debug)]
pub(super) struct Tally {
    block_size: u64,
    latency: Latency,
    gpus: f64,
    interval_ns: u64,
    came: u64,
    finished: u64,
    rejected: u64,
    pub(super) retried: u64,
    hits: u64,
    blocks: Blocks,
    prediction: PredictionAccuracy,
    preempted: u64,
    evicted: u64,
    saved_ns: u64,
    last_ns: u64,
    pub(super) events: Events,
    ttft: ByHit,
    whole: ByHit,
    queue: Distribution,
    matched: Distribution,
    over_time: Vec<Interval>,
}

/// A distribution with an exact sum.
#[derive(Debug)]
struct Distribution {
    sum: u128,
    histogram: Histogram<u64>,
}

/// Times of all requests, of those that reused a block, and of those that did not.
#[derive(Debug)]
struct ByHit {
    hit: Distribution,
    miss: Distribution,
}

impl Distribution {
    fn new() -> Self {
        Self { sum: 0, histogram: Histogram::new(3).expect("three digits are possible") }
    }

    fn add(&mut self, value: u64) {
        self.sum += u128::from(value);
        self.histogram.record(value).expect("a histogram that resizes takes any value");
    }

    /// Returns the distribution in milliseconds, if its values are nanoseconds.
    fn times(&self) -> Times {
        let Self { sum, histogram } = self;
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / NS_PER_MS;
        Times {
            count: histogram.len(),
            mean: ratio(*sum as f64, histogram.len() as f64) / NS_PER_MS,
            p50: ms(0.5),
            p95: ms(0.95),
            p99: ms(0.99),
            max: histogram.max() as f64 / NS_PER_MS,
        }
    }
}

impl ByHit {
    fn new() -> Self {
        Self { hit: Distribution::new(), miss: Distribution::new() }
    }

    fn add(&mut self, hit: bool, value: u64) {
        if hit { self.hit.add(value) } else { self.miss.add(value) }
    }

    fn all(&self) -> Distribution {
        let mut histogram = self.hit.histogram.clone();
        histogram.add(&self.miss.histogram).expect("a histogram that resizes takes any other");
        Distribution { sum: self.hit.sum + self.miss.sum, histogram }
    }
}

impl Tally {
    pub(super) fn new(config: &Config, gpus: u32, span_ns: u64) -> Self {
        Self {
            block_size: config.block_size.into(),
            latency: config.latency.clone(),
            gpus: gpus.into(),
            interval_ns: (span_ns / INTERVALS).max(1_000_000),
            came: 0,
            finished: 0,
            rejected: 0,
            retried: 0,
            hits: 0,
            blocks: Blocks::default(),
            prediction: PredictionAccuracy::default(),
            preempted: 0,
            evicted: 0,
            saved_ns: 0,
            last_ns: 0,
            events: Events::default(),
            ttft: ByHit::new(),
            whole: ByHit::new(),
            queue: Distribution::new(),
            matched: Distribution::new(),
            over_time: Vec::new(),
        }
    }

    pub(super) fn comes(&mut self) {
        self.came += 1;
    }

    pub(super) fn rejected(&mut self) {
        self.rejected += 1;
    }

    /// Returns the number of requests that are finished or rejected.
    pub(super) fn over(&self) -> u64 {
        self.finished + self.rejected
    }

    pub(super) fn said(&mut self, event: &Event) {
        self.events.said += 1;
        if let EventData::Removed { blocks } = &event.data {
            self.evicted += blocks.len() as u64;
        }
    }

    pub(super) fn finished(&mut self, request: &Request, came_ns: u64, flight: &Flight, finished: &Finished) {
        let asked = u64::from(request.input_tokens).max(1).div_ceil(self.block_size);
        let reused = finished.cached_tokens / self.block_size;
        let predicted = u64::from(flight.predicted);
        let hit = reused > 0;
        self.finished += 1;
        self.hits += u64::from(hit);
        self.preempted += u64::from(finished.preempted);
        self.last_ns = self.last_ns.max(finished.finished_ns);

        self.blocks.asked += asked;
        self.blocks.reused += reused;
        self.blocks.predicted += predicted;
        let PredictionAccuracy { exact, over, under, over_blocks, under_blocks } = &mut self.prediction;
        *match predicted.cmp(&reused) {
            std::cmp::Ordering::Equal => exact,
            std::cmp::Ordering::Greater => over,
            std::cmp::Ordering::Less => under,
        } += 1;
        *over_blocks += predicted.saturating_sub(reused);
        *under_blocks += reused.saturating_sub(predicted);

        self.ttft.add(hit, finished.first_token_ns - came_ns);
        self.whole.add(hit, finished.finished_ns - came_ns);
        self.queue.add(finished.scheduled_ns - came_ns);
        self.matched.add(reused);
        self.saved_ns += self.prefill_ns(request.input_tokens.into(), 0)
            - self.prefill_ns(request.input_tokens.into(), finished.cached_tokens);

        let at = (came_ns / self.interval_ns) as usize;
        if self.over_time.len() <= at {
            let start =
                |number| Interval { start_s: (number as u64 * self.interval_ns) as f64 / 1e9, ..Interval::default() };
            self.over_time.extend((self.over_time.len()..=at).map(start));
        }
        let interval = &mut self.over_time[at];
        interval.requests += 1;
        interval.asked += asked;
        interval.reused += reused;
    }

    /// Returns how long a prompt takes alone and in one step, if `cached` of its tokens are cached.
    fn prefill_ns(&self, tokens: u64, cached: u64) -> u64 {
        let tokens = tokens.max(1);
        let computed = tokens - cached;
        self.latency.step_ns(&Work {
            prompts: 1,
            prompt_tokens: computed,
            prompt_blocks: tokens.div_ceil(self.block_size) - cached / self.block_size,
            decoded: 0,
            context: tokens,
            pairs: computed * cached + computed * (computed + 1) / 2,
        })
    }

    pub(super) fn report(self, policy: &str, members: &[Member]) -> PolicyReport {
        let computed: u64 = members.iter().map(|member| member.computed).sum();
        let recomputed = computed.saturating_sub(self.blocks.asked - self.blocks.reused);
        let busy_s: Vec<f64> = members.iter().map(|member| member.busy_ns as f64 / 1e9).collect();
        let served: Vec<u64> = members.iter().map(|member| member.finished).collect();
        let (load_imbalance, load_cv) = imbalance(busy_s.iter().copied());
        let (requests_imbalance, requests_cv) = imbalance(served.iter().map(|&served| served as f64));
        let (ttft, whole) = (self.ttft.all(), self.whole.all());
        let latency_edges = latency_edges(whole.histogram.max());
        let latency = |spread: &Distribution| bins(&spread.histogram, &latency_edges, NS_PER_MS);
        PolicyReport {
            name: policy.to_owned(),
            at: Vec::new(),
            requests: self.came,
            finished: self.finished,
            rejected: self.rejected,
            retried: self.retried,
            block_hit_rate: ratio(self.blocks.reused as f64, self.blocks.asked as f64),
            request_hit_rate: ratio(self.hits as f64, self.finished as f64),
            blocks: Blocks { computed, recomputed, ..self.blocks },
            prediction: self.prediction,
            ttft_ms: ttft.times(),
            ttft_hit_ms: self.ttft.hit.times(),
            ttft_miss_ms: self.ttft.miss.times(),
            latency_ms: whole.times(),
            latency_hit_ms: self.whole.hit.times(),
            latency_miss_ms: self.whole.miss.times(),
            queue_ms: self.queue.times(),
            load_imbalance,
            load_cv,
            requests_imbalance,
            requests_cv,
            requests_per_worker: served,
            preempted: self.preempted,
            evicted_blocks: self.evicted,
            prefill_saved_gpu_s: self.saved_ns as f64 / 1e9 * self.gpus,
            busy_gpu_s: busy_s.iter().sum::<f64>() * self.gpus,
            busy_s_per_worker: busy_s,
            span_s: self.last_ns as f64 / 1e9,
            events: self.events,
            match_blocks: bins(&self.matched.histogram, &doubling(self.matched.histogram.max()), 1.0),
            latency_bins: latency(&whole),
            latency_hit_bins: latency(&self.whole.hit),
            latency_miss_bins: latency(&self.whole.miss),
            over_time: self.over_time,
        }
    }
}

/// Returns the maximum over the mean and the standard deviation over the mean; 1 and 0 if there is nothing but zeros.
fn imbalance(figures: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let count = figures.len() as f64;
    let mean = figures.clone().sum::<f64>() / count;
    if mean.is_nan() || mean <= 0.0 {
        return (1.0, 0.0);
    }
    let variance = figures.clone().map(|figure| (figure - mean).powi(2)).sum::<f64>() / count;
    (figures.fold(0.0, f64::max) / mean, variance.sqrt() / mean)
}

/// Returns edges in milliseconds, ten to a decade: 0, 1, 1.26, ... up to above the largest value.
fn latency_edges(most_ns: u64) -> Vec<f64> {
    let mut edges = vec![0.0, 1.0];
    while edges[edges.len() - 1] * NS_PER_MS <= most_ns as f64 {
        edges.push(10_f64.powf((edges.len() - 1) as f64 / 10.0));
    }
    edges
}

/// Returns the edges 0, 1, 2, 4, 8, ... up to above the largest value.
fn doubling(most: u64) -> Vec<f64> {
    let mut edges = vec![0.0, 1.0];
    while edges[edges.len() - 1] <= most as f64 {
        edges.push(2.0 * edges[edges.len() - 1]);
    }
    edges
}

/// Counts the values between edges, which are in multiples of `unit`.
fn bins(histogram: &Histogram<u64>, edges: &[f64], unit: f64) -> Bins {
    let mut counts = vec![0; edges.len() - 1];
    for recorded in histogram.iter_recorded() {
        let value = recorded.value_iterated_to() as f64 / unit;
        let bin = edges.partition_point(|&edge| edge <= value) - 1;
        counts[bin.min(edges.len() - 2)] += recorded.count_at_value();
    }
    Bins { edges: edges.to_vec(), counts }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
