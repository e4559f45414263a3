//! Measures one routing decision among many workers, without the lookup: by policy, by how much of the prompt the
//! workers hold, and by tier.

mod common;

use common::{apply, chain, index, stored};
use criterion::{Criterion, criterion_group};
use kvleap::route::{CostBased, Policy, Prediction, Request, Router, Weights, policy};
use kvleap::{Matches, Worker};

const BLOCKS: usize = 100;
/// Time between two requests, at 10,000 requests a second.
const STEP_NS: u64 = 100_000;

/// What the workers hold of the prompt.
#[derive(Clone, Copy, Debug)]
enum Held {
    Nothing,
    /// Every worker holds the first half.
    Half,
    /// Every second worker holds a prefix, and the prefixes differ in length.
    Mixed,
}

fn matches(workers: u64, held: Held, prompt: &[u64]) -> Matches {
    let (mut writer, reader) = index();
    for worker in 0..workers {
        let blocks = match held {
            Held::Nothing => 0,
            Held::Half => BLOCKS / 2,
            Held::Mixed => (worker as usize * 37 % BLOCKS + 1) * (worker as usize % 2),
        };
        if blocks > 0 {
            apply(&mut writer, [&stored(worker, None, &prompt[..blocks])]);
        }
    }
    writer.publish();
    let mut matches = Matches::new();
    reader.find(prompt, &mut matches);
    matches
}

/// Builds a router that has a request in flight for each worker; the requests differ in length.
fn router(workers: u64, policy: Box<dyn Policy>, prediction: Option<Prediction>) -> Router {
    let mut router = Router::builder().policy(policy).prediction(prediction).seed(1).build().expect("valid settings");
    for id in 0..workers {
        router.add_worker(Worker::new(id, 0));
    }
    for tokens in 0..workers {
        let request = Request { tokens: tokens * 7919 % 5000, session: Some(tokens), ..Request::default() };
        router.route(&request, &[], 0).expect("there are workers");
    }
    router
}

fn decide(criterion: &mut Criterion, id: &str, workers: u64, mut router: Router, held: Held) {
    let prompt = chain(0..BLOCKS as u64);
    let matches = matches(workers, held, &prompt);
    let request = Request { blocks: &prompt, tokens: 1_600, session: Some(7), ..Request::default() };
    let id = format!("decide/{id}/{held:?}/{workers}").to_lowercase();
    criterion.bench_function(&id, |bench| bench.iter(|| router.decide(&request, &[&matches], 0)));
    let explained = router.explain(&request, &[&matches], 0).expect("there are workers");
    assert_eq!(explained.candidates.len() as u64, workers);
}

fn by_policy(criterion: &mut Criterion) {
    for name in policy::NAMES {
        let policy = policy::by_name(name).expect("a policy of this name");
        decide(criterion, name, 1_000, router(1_000, policy, None), Held::Half);
    }
    let softmax = CostBased::new(Weights::default(), 5.0).expect("valid settings");
    decide(criterion, "softmax", 1_000, router(1_000, Box::new(softmax), None), Held::Half);
}

fn by_overlap(criterion: &mut Criterion) {
    for workers in [16, 100, 1_000] {
        for held in [Held::Nothing, Held::Half, Held::Mixed] {
            decide(criterion, "cost", workers, router(workers, Box::new(CostBased::default()), None), held);
        }
    }
}

/// Measures decisions over device and host memory, from one answer that contains both tiers and from two such answers.
fn by_tier(criterion: &mut Criterion) {
    const HOST: u64 = 1 << 32;
    let prompt = chain(0..BLOCKS as u64);
    let (mut writer, reader) = index();
    for id in 0..1_000 {
        apply(&mut writer, [&stored(id, None, &prompt[..BLOCKS / 4]), &stored(id | HOST, None, &prompt[..BLOCKS / 2])]);
    }
    writer.publish();
    let [mut first, mut second] = [Matches::new(), Matches::new()];
    reader.find(&prompt, &mut first);
    reader.find(&prompt, &mut second);
    let split = |of: Worker| (Worker::new(of.id & (HOST - 1), of.dp_rank), (of.id / HOST) as usize);
    let mut router = Router::builder().credits(vec![1.0, 0.5]).split_tiers(split).build().expect("valid settings");
    for id in 0..1_000 {
        router.add_worker(Worker::new(id, 0));
    }
    let request = Request { blocks: &prompt, ..Request::default() };
    for answers in [&[&first][..], &[&first, &second]] {
        let id = format!("decide/cost/two tiers in {}/1000", answers.len());
        criterion.bench_function(&id, |bench| bench.iter(|| router.decide(&request, answers, 0)));
        let decision = router.decide(&request, answers, 0).expect("there are workers");
        assert_eq!(decision.held as usize, BLOCKS / 2);
    }
}

/// Measures a decision that also looks up predicted blocks, and a request's whole way through the router with and
/// without predictions.
fn with_predictions(criterion: &mut Criterion) {
    let predicting = || router(1_000, Box::new(CostBased::default()), Some(Prediction::until_events()));
    decide(criterion, "cost+predictions", 1_000, predicting(), Held::Half);
    for (id, prediction) in [("loads", None), ("loads+predictions", Some(Prediction::until_events()))] {
        let mut router = router(1_000, Box::new(CostBased::default()), prediction);
        let mut number = 0;
        criterion.bench_function(&format!("route and finish/{id}/1000"), |bench| {
            bench.iter(|| {
                number += 1;
                let prompt = chain(number * BLOCKS as u64..(number + 1) * BLOCKS as u64);
                let request = Request { blocks: &prompt, ..Request::default() };
                let (decision, ticket) = router.route(&request, &[], number * STEP_NS).expect("there are workers");
                router.first_token(ticket, number * STEP_NS);
                router.finish(ticket, number * STEP_NS);
                decision
            });
        });
        assert_eq!(router.in_flight(), 1_000, "all timed requests are finished");
    }
}

criterion_group!(benches, by_policy, by_overlap, by_tier, with_predictions);
fn main() -> std::process::ExitCode {
    common::pinned::criterion(benches)
}
