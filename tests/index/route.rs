//! Choosing a worker: which workers are candidates, which one a policy chooses, and why.

use std::collections::BTreeMap;

use kvleap::route::{
    Candidates, ConfigError, CostBased, Load, Policy, PowerOfTwo, Prediction, Random, Refusal, Request, Router,
    SessionAffinity, Ticket, Weights, policy,
};
use kvleap::{Block, Event, EventData, Index, Matches, Reader, Worker, Writer};
use proptest::prelude::*;

pub(super) const BLOCK_SIZE: u32 = 10;
/// Weights that count every block alike.
pub(super) const EVEN: Weights = Weights { prefill: 1.0, decode: 1.0, queue: 1.0, request: 0.0 };

pub(super) fn worker(id: u64) -> Worker {
    Worker::new(id, 0)
}

fn store(writer: &mut Writer, id: u64, prompt: &[u64]) {
    store_at(writer, worker(id), prompt);
}

pub(super) fn store_at(writer: &mut Writer, worker: Worker, prompt: &[u64]) {
    let blocks = prompt.iter().map(|&local| Block { sequence: local, local }).collect();
    let data = EventData::Stored { parent: None, blocks };
    writer.apply(&Event { worker, id: 0, data }).expect("well-formed");
}

pub(super) fn local_index() -> (Writer, Reader) {
    Index::builder().seed(1).build_local().expect("valid settings")
}

pub(super) fn look_up(writer: &mut Writer, reader: &Reader, prompt: &[u64]) -> Matches {
    writer.publish();
    let mut matches = Matches::new();
    reader.find(prompt, &mut matches);
    matches
}

/// Returns an answer in which each worker holds this many leading blocks of the prompt.
pub(super) fn answer(prompt: &[u64], depths: impl IntoIterator<Item = (u64, usize)>) -> Matches {
    let (mut writer, reader) = local_index();
    for (id, depth) in depths.into_iter().filter(|&(_, depth)| depth > 0) {
        store(&mut writer, id, &prompt[..depth]);
    }
    look_up(&mut writer, &reader, prompt)
}

pub(super) fn router(workers: u64, policy: impl Policy + 'static) -> Router {
    with_workers(workers, Router::builder().policy(Box::new(policy)).block_size(BLOCK_SIZE).build().expect("valid"))
}

pub(super) fn by_cost(weights: Weights, temperature: f32) -> CostBased {
    CostBased::new(weights, temperature).expect("no setting is negative")
}

fn named(workers: u64, name: &str) -> Router {
    let policy = policy::by_name(name).expect("built in");
    with_workers(workers, Router::builder().policy(policy).block_size(BLOCK_SIZE).build().expect("valid"))
}

pub(super) fn with_workers(workers: u64, mut router: Router) -> Router {
    assert!((0..workers).all(|id| router.add_worker(worker(id))));
    router
}

pub(super) fn predicting(workers: u64, prediction: Prediction) -> Router {
    let builder = Router::builder().prediction(Some(prediction)).block_size(BLOCK_SIZE);
    with_workers(workers, builder.build().expect("valid"))
}

pub(super) fn ask(blocks: &[u64]) -> Request<'_> {
    Request { blocks, ..Request::default() }
}

/// Sends a request with this many tokens to one worker.
fn send(router: &mut Router, to: u64, tokens: u64, now_ns: u64) -> Ticket {
    let among = router.mask(|candidate| candidate == worker(to));
    let request = Request { tokens, among: Some(&among), ..Request::default() };
    router.route(&request, &[], now_ns).expect("a candidate").1
}

/// Sends a prompt to one worker.
pub(super) fn predict(router: &mut Router, to: u64, prompt: &[u64], now_ns: u64) -> Ticket {
    let among = router.mask(|candidate| candidate == worker(to));
    router.route(&Request { among: Some(&among), ..ask(prompt) }, &[], now_ns).expect("a candidate").1
}

/// Decides `times` times, and counts how often each worker is chosen.
fn count(router: &mut Router, request: &Request<'_>, tiers: &[&Matches], times: usize) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts.entry(router.decide(request, tiers, 0).expect("a candidate").worker.id).or_insert(0) += 1;
    }
    counts
}

/// Returns the chi-square statistic of the counts under these probabilities.
fn chi_square(counts: &BTreeMap<u64, u64>, probabilities: &[(u64, f64)]) -> f64 {
    let all: u64 = counts.values().sum();
    let deviation = |&(id, probability): &(u64, f64)| {
        let expected = probability * all as f64;
        (counts.get(&id).copied().unwrap_or(0) as f64 - expected).powi(2) / expected
    };
    probabilities.iter().map(deviation).sum()
}

// --- costs

/// A block has 10 tokens, and the prompt has 6 blocks. Worker 0 has computed a prompt of 30 tokens and 11 tokens of its
/// answer, worker 1 has yet to compute a prompt of 25 tokens, and worker 2 has nothing in flight.
///
/// | worker | holds | prefill 2 x | decode | queue | cost |
/// |---|---|---|---|---|---|
/// | 0 | 6 | 2 x 0 = 0 | 5 (41 tokens) | 0 | 5 |
/// | 1 | 5 | 2 x 1 = 2 | 3 (25 tokens) | 2.5 | 7.5 |
/// | 2 | 1 | 2 x 5 = 10 | 0 | 0 | 10 |
#[test]
fn costs_equal_those_computed_by_hand() {
    let mut router = router(3, by_cost(Weights { prefill: 2.0, ..EVEN }, 0.0));
    let first = send(&mut router, 0, 30, 0);
    assert!(router.first_token(first, 1) && router.tokens(first, 11, 2));
    send(&mut router, 1, 25, 3);
    let prompt = [1, 2, 3, 4, 5, 6];
    let matches = answer(&prompt, [(0, 6), (1, 5), (2, 1)]);

    let explained = router.explain(&ask(&prompt), &[&matches], 4).expect("three candidates");
    let costs: Vec<_> = explained.candidates.iter().map(|it| it.cost.expect("a cost").total()).collect();
    assert_eq!(costs, [5.0, 7.5, 10.0]);
    assert_eq!((explained.decision.worker, explained.decision.held), (worker(0), 6));
    let expected = "cost chose 0/0 of 3 for the lowest cost; the prompt has 6 blocks
* 0/0: holds 6 (worth 6); in flight 1 requests, 0 prefill tokens, 5 decode blocks; cost 5 = prefill 0 + decode 5 + queue 0 + requests 0
  1/0: holds 5 (worth 5); in flight 1 requests, 25 prefill tokens, 3 decode blocks; cost 7.5 = prefill 2 + decode 3 + queue 2.5 + requests 0
  2/0: holds 1 (worth 1); in flight 0 requests, 0 prefill tokens, 0 decode blocks; cost 10 = prefill 10 + decode 0 + queue 0 + requests 0";
    assert_eq!(explained.to_string(), expected);

    // The next decision sees the request that was sent: no more prefill tokens, as the worker holds all 6 blocks, and 6
    // more decode blocks.
    let (decision, ticket) = router.route(&ask(&prompt), &[&matches], 5).expect("three candidates");
    assert_eq!(decision.worker, worker(0));
    assert_eq!(router.load(worker(0)), Some(Load { requests: 2, prefill_tokens: 0, decode_blocks: 11 }));
    assert_eq!(router.decide(&ask(&prompt), &[&matches], 6).map(|it| it.worker), Ok(worker(1)));
    assert!(router.finish(ticket, 7));
    assert_eq!(router.decide(&ask(&prompt), &[&matches], 8).map(|it| it.worker), Ok(worker(0)));
}

#[derive(Clone, Debug)]
struct Member {
    /// The blocks in each of three tiers, beyond those in faster ones.
    depths: [usize; 3],
    /// Prompts in flight: their tokens, and whether they are computed.
    prompts: Vec<(u64, bool)>,
    candidate: bool,
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let depths = prop_oneof![Just([0; 3]), prop::array::uniform3(0usize..5)];
    let prompts = prop::collection::vec((0u64..50, any::<bool>()), 0..3);
    let member = (depths, prompts, prop::bool::weighted(0.8));
    let member = member.prop_map(|(depths, prompts, candidate)| Member { depths, prompts, candidate });
    prop::collection::vec(member, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The test spells out the cost formula, and no candidate costs less than the chosen worker.
    #[test]
    fn the_chosen_worker_costs_the_least(
        members in members(),
        weights in prop::array::uniform4(0u8..4),
        tiers in 0usize..4,
    ) {
        let [prefill, decode, queue, request] = weights.map(f32::from);
        let policy = by_cost(Weights { prefill, decode, queue, request }, 0.0);
        // A block has 8 tokens, so that all figures are exact in floating point.
        let builder = Router::builder().policy(Box::new(policy)).block_size(8).credits(vec![1.0, 0.5, 0.25]);
        let mut router = with_workers(members.len() as u64, builder.build().expect("valid"));
        for (id, member) in (0..).zip(&members) {
            for &(tokens, computed) in &member.prompts {
                let ticket = send(&mut router, id, tokens, 0);
                if computed {
                    router.first_token(ticket, 0);
                }
            }
        }
        let prompt: Vec<u64> = (1..20).collect();
        let depth = |member: &Member, tier: usize| member.depths[..=tier].iter().sum::<usize>();
        let ids = || (0..).zip(&members);
        let answers: Vec<_> = (0..tiers).map(|t| answer(&prompt, ids().map(|(id, it)| (id, depth(it, t))))).collect();
        let cost = |member: &Member| {
            let credits = [1.0, 0.5, 0.25].into_iter().zip(member.depths).take(tiers);
            let credit: f64 = credits.map(|(credit, blocks)| credit * blocks as f64).sum();
            let waiting: u64 = member.prompts.iter().filter(|(_, computed)| !computed).map(|(tokens, _)| tokens).sum();
            let decode: u64 = member.prompts.iter().map(|(tokens, _)| tokens.div_ceil(8)).sum();
            f64::from(weights[0]) * (prompt.len() as f64 - credit)
                + f64::from(weights[1]) * decode as f64
                + f64::from(weights[2]) * waiting as f64 / 8.0
                + f64::from(weights[3]) * member.prompts.len() as f64
        };
        let among = router.mask(|it| members[it.id as usize].candidate);
        let request = Request { blocks: &prompt, among: Some(&among), ..Request::default() };
        let tiers_given: Vec<_> = answers.iter().collect();
        match router.explain(&request, &tiers_given, 0) {
            Err(refusal) => {
                prop_assert_eq!(refusal, Refusal::NoCandidate);
                prop_assert!(members.iter().all(|it| !it.candidate));
            }
            Ok(explained) => {
                let costs = members.iter().filter(|it| it.candidate).map(&cost);
                let given: Vec<_> = explained.candidates.iter().map(|it| f64::from(it.cost.expect("a cost").total())).collect();
                prop_assert_eq!(&given, &costs.collect::<Vec<_>>());
                let chosen = &members[explained.decision.worker.id as usize];
                prop_assert!(chosen.candidate);
                prop_assert!(given.iter().all(|&other| cost(chosen) <= other), "{} of {:?}", cost(chosen), given);
                let held = if tiers == 0 { 0 } else { depth(chosen, tiers - 1) };
                prop_assert_eq!(explained.decision.held as usize, held);
            }
        }
    }
}

/// The 0.999 quantiles of chi-square, for 4 and for 8 outcomes.
const RARE: [(usize, f64); 2] = [(4, 16.27), (8, 24.32)];

#[test]
fn equal_candidates_are_equally_likely() {
    let prompt = [1, 2, 3];
    for ((equals, rare), stride) in RARE.into_iter().zip([25, 12]) {
        let ids: Vec<u64> = (0..equals as u64).map(|i| i * stride + 3).collect();
        let matches = answer(&prompt, ids.iter().map(|&id| (id, 2)));
        // At this temperature, the others cost 40 times as much more, and have no weight.
        let cold = router(100, by_cost(EVEN, 0.05));
        for mut router in [named(100, "cost"), named(100, "longest-prefix"), cold] {
            let counts = count(&mut router, &ask(&prompt), &[&matches], 10_000);
            let even: Vec<_> = ids.iter().map(|&id| (id, 1.0 / equals as f64)).collect();
            assert_eq!(counts.len(), equals, "{router:?} {counts:?}");
            assert!(chi_square(&counts, &even) < rare, "{router:?} {counts:?}");
        }
        for name in ["random", "least-loaded", "power-of-two"] {
            let counts = count(&mut named(equals as u64, name), &ask(&prompt), &[], 10_000);
            let even: Vec<_> = (0..equals as u64).map(|id| (id, 1.0 / equals as f64)).collect();
            assert!(chi_square(&counts, &even) < rare, "{name} {counts:?}");
        }
    }
}

#[test]
fn a_temperature_draws_in_proportion_to_the_exponential_of_the_cost() {
    let prompt = [1, 2, 3];
    let matches = answer(&prompt, [(0, 3), (1, 2), (2, 1)]);
    for temperature in [0.5_f32, 2.0, 50.0] {
        let mut router = router(5, by_cost(EVEN, temperature));
        router.set_available(worker(3), false);
        let weights = [(0, 0.0), (1, 1.0), (2, 2.0), (4, 3.0)]
            .map(|(id, cost): (u64, f64)| (id, (-cost / f64::from(temperature)).exp()));
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let counts = count(&mut router, &ask(&prompt), &[&matches], 20_000);
        assert!(chi_square(&counts, &weights.map(|(id, weight)| (id, weight / sum))) < RARE[0].1, "{counts:?}");
        assert!(!counts.contains_key(&3));
    }
    let mut cold = router(5, by_cost(EVEN, 1e-3));
    assert_eq!(count(&mut cold, &ask(&prompt), &[&matches], 100), BTreeMap::from([(0, 100)]));
    // Costs of a thousand temperatures, of which only the differences matter.
    cold.set_available(worker(0), false);
    assert_eq!(count(&mut cold, &ask(&prompt), &[&matches], 100), BTreeMap::from([(1, 100)]));
}

// --- the other policies

#[test]
fn round_robin_takes_turns_and_skips_unavailable_workers() {
    let mut router = named(4, "round-robin");
    router.set_available(worker(2), false);
    let chosen: Vec<_> = (0..7).map(|_| router.decide(&ask(&[]), &[], 0).expect("a candidate").worker.id).collect();
    assert_eq!(chosen, [0, 1, 3, 0, 1, 3, 0]);
}

#[test]
fn least_loaded_goes_by_requests_and_power_of_two_never_takes_the_fuller_of_two() {
    for name in ["least-loaded", "power-of-two"] {
        let mut router = named(2, name);
        send(&mut router, 0, 1, 0);
        assert_eq!(count(&mut router, &ask(&[]), &[], 100), BTreeMap::from([(1, 100)]), "{name}");
    }
    // The fullest of 4 workers is never chosen. The second fullest is chosen when it is drawn together with the
    // fullest, which is 1 of 6 pairs, and so on.
    let mut router = router(4, PowerOfTwo);
    for id in 0..4 {
        for _ in 0..id {
            send(&mut router, id, 1, 0);
        }
    }
    let counts = count(&mut router, &ask(&[]), &[], 12_000);
    assert!(chi_square(&counts, &[(0, 3.0 / 6.0), (1, 2.0 / 6.0), (2, 1.0 / 6.0)]) < 13.82, "{counts:?}");
    assert!(!counts.contains_key(&3));
    assert_eq!(count(&mut named(1, "power-of-two"), &ask(&[]), &[], 9), BTreeMap::from([(0, 9)]));
}

#[test]
fn longest_prefix_chooses_the_deepest_candidate_then_the_least_loaded() {
    let prompt = [1, 2, 3];
    let matches = answer(&prompt, [(0, 3), (1, 2), (2, 2)]);
    let mut router = named(4, "longest-prefix");
    send(&mut router, 0, 1000, 0);
    send(&mut router, 1, 10, 0);
    let choose = |router: &mut Router| router.decide(&ask(&prompt), &[&matches], 0).expect("a candidate").worker.id;
    assert_eq!(choose(&mut router), 0, "the deepest wins whatever its load");
    router.set_available(worker(0), false);
    assert_eq!(choose(&mut router), 2);
    let nobody = count(&mut router, &ask(&[7]), &[&answer(&[7], [])], 100);
    assert_eq!(nobody.keys().copied().collect::<Vec<_>>(), [2, 3], "no worker holds a block, and 1 is busy");
}

/// Returns the worker that each of 10,000 sessions is sent to when nothing is in flight.
fn homes(router: &mut Router) -> Vec<u64> {
    let session = |session| Request { session: Some(session), ..Request::default() };
    (0..10_000).map(|it| router.decide(&session(it), &[], 0).expect("a candidate").worker.id).collect()
}

#[test]
fn a_session_stays_and_only_the_sessions_of_a_leaving_worker_move() {
    let mut router = router(10, SessionAffinity::new(f64::INFINITY).expect("at least 1"));
    let before = homes(&mut router);
    assert_eq!(before, homes(&mut router));
    let share = |id: u64| before.iter().filter(|&&home| home == id).count();
    assert!((0..10).all(|id| (500..1_700).contains(&share(id))), "{:?}", (0..10).map(share).collect::<Vec<_>>());
    router.remove_worker(worker(4));
    let after = homes(&mut router);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(moved.clone().all(|(&before, _)| before == 4));
    assert_eq!(moved.count(), share(4));
    router.add_worker(worker(4));
    assert_eq!(homes(&mut router), before, "the sessions come back");
    router.set_available(worker(4), false);
    assert_eq!(homes(&mut router), after, "an unavailable worker counts as removed");
}

#[test]
fn session_affinity_overloads_no_worker_beyond_the_bound() {
    for bound in [1.0, 1.25, 2.0] {
        let mut router = router(8, SessionAffinity::new(bound).expect("at least 1"));
        for sent in 0..400_u64 {
            // Nine of ten requests belong to one session.
            let request = Request { session: Some(sent % 10 / 9), ..Request::default() };
            router.route(&request, &[], 0).expect("a candidate");
            let most = (0..8).map(|id| router.load(worker(id)).expect("known").requests).max().expect("eight");
            assert!(f64::from(most) <= (bound * (sent + 1) as f64 / 8.0).ceil(), "{most} of {sent}");
        }
    }
    let mut router = named(3, "session-affinity");
    send(&mut router, 0, 1, 0);
    send(&mut router, 2, 1, 0);
    assert_eq!(
        router.decide(&ask(&[]), &[], 0).map(|it| it.worker),
        Ok(worker(1)),
        "without a session, the least loaded"
    );
}

#[test]
fn policies_are_found_by_name_and_unknown_names_are_refused() {
    for name in policy::NAMES {
        assert_eq!(policy::by_name(name).expect("built in").name(), name);
    }
    let error = policy::by_name("fastest").expect_err("no such policy").to_string();
    assert!(error.contains("\"fastest\"") && policy::NAMES.iter().all(|name| error.contains(name)), "{error}");
}

// --- candidates

#[test]
fn each_refusal_says_why() {
    let decide = |router: &mut Router| router.decide(&ask(&[1]), &[], 0).map(|it| it.worker);
    let mut router = router(0, CostBased::default());
    assert_eq!(decide(&mut router), Err(Refusal::NoWorkers));
    router.add_worker(worker(0));
    router.set_available(worker(0), false);
    assert_eq!(decide(&mut router), Err(Refusal::NoneAvailable));
    router.set_available(worker(0), true);
    assert_eq!(decide(&mut router), Ok(worker(0)));
    let nobody = router.mask(|_| false);
    let request = Request { among: Some(&nobody), ..Request::default() };
    assert_eq!(router.decide(&request, &[], 0), Err(Refusal::NoCandidate));
    assert_eq!(nobody.iter().count(), 0);
    router.add_worker(worker(1));
    assert_eq!(router.decide(&request, &[], 0), Err(Refusal::StaleMask));
    let matches = Matches::new();
    let tiers = Refusal::TooManyTiers { answers: 2, tiers: 1 };
    assert_eq!(router.decide(&ask(&[]), &[&matches, &matches], 0), Err(tiers));
    assert!(!router.set_available(worker(7), false) && !router.remove_worker(worker(7)) && !router.cleared(worker(7)));
    assert!(!router.add_worker(worker(1)), "the worker is already known");
}

#[test]
fn a_worker_at_its_request_limit_is_no_candidate() {
    let builder = Router::builder().max_requests(2).policy(policy::by_name("longest-prefix").expect("built in"));
    let mut router = with_workers(2, builder.build().expect("valid"));
    let matches = answer(&[1], [(0, 1)]);
    let mut tickets = Vec::new();
    for expected in [0, 0, 1, 1] {
        let (decision, ticket) = router.route(&ask(&[1]), &[&matches], 0).expect("there is room");
        assert_eq!(decision.worker.id, expected);
        tickets.push(ticket);
    }
    assert_eq!(router.decide(&ask(&[1]), &[&matches], 0), Err(Refusal::NoCandidate));
    router.finish(tickets[1], 0);
    assert_eq!(router.decide(&ask(&[1]), &[&matches], 0).map(|it| it.worker), Ok(worker(0)));
}

#[test]
fn a_policy_cannot_choose_a_worker_that_is_no_candidate() {
    #[derive(Debug)]
    struct Stubborn(Option<usize>);
    impl Policy for Stubborn {
        fn name(&self) -> &'static str {
            "stubborn"
        }
        fn why(&self) -> &'static str {
            "its stubbornness"
        }
        fn choose(&mut self, _: &Request<'_>, _: &Candidates<'_>, _: &mut Random) -> Option<usize> {
            self.0
        }
    }
    for (choice, expected) in [(Some(1), Ok(1)), (Some(0), Err(())), (Some(9), Err(())), (None, Err(()))] {
        let mut router = router(2, Stubborn(choice));
        router.set_available(worker(0), false);
        let expected = expected.map(worker).map_err(|()| Refusal::Declined);
        assert_eq!(router.decide(&ask(&[]), &[], 0).map(|it| it.worker), expected);
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let error = |builder: kvleap::route::Builder| builder.build().expect_err("out of range");
    let prediction = Prediction::instead_of_events(0);
    assert_eq!(error(Router::builder().block_size(0)), ConfigError::Zero { name: "block_size" });
    assert_eq!(error(Router::builder().max_requests(0)), ConfigError::Zero { name: "max_requests" });
    let name = "prediction.blocks_per_worker";
    assert_eq!(error(Router::builder().prediction(Some(prediction))), ConfigError::Zero { name });
    assert_eq!(error(Router::builder().credits(vec![])), ConfigError::Zero { name: "tiers with credits" });
    for value in [-1.0, f32::INFINITY] {
        let error = CostBased::new(Weights { queue: value, ..Weights::default() }, 0.0).expect_err("out of range");
        assert_eq!(error, ConfigError::OutOfRange { name: "queue", value: value.into(), least: 0.0 });
        assert!(CostBased::new(Weights::default(), value).is_err());
    }
    assert!(SessionAffinity::new(0.9).is_err() && SessionAffinity::new(f64::NAN).is_err());
    for credit in [-1.0, f32::INFINITY] {
        assert_eq!(error(Router::builder().credits(vec![1.0, credit])), ConfigError::Credit { tier: 1, credit });
    }
}

proptest! {
    #[test]
    fn a_mask_is_a_set(members in prop::sample::select(vec![0.03, 0.5]).prop_flat_map(|share| {
        prop::collection::vec(prop::bool::weighted(share), 0..200)
    })) {
        let router = with_workers(members.len() as u64, Router::builder().build().expect("valid"));
        let mask = router.mask(|it| members[it.id as usize]);
        let set: Vec<_> = (0..members.len()).filter(|&seat| members[seat]).collect();
        prop_assert_eq!(mask.iter().collect::<Vec<_>>(), set.clone());
        prop_assert_eq!((mask.len(), mask.is_empty()), (set.len(), set.is_empty()));
        prop_assert!((0..300).all(|seat| mask.contains(seat) == set.contains(&seat)));
        prop_assert!((0..300).all(|n| mask.nth(n) == set.get(n).copied()));
        let next = |from: usize| set.iter().find(|&&seat| seat >= from).or(set.first()).copied();
        prop_assert!((0..300).all(|from| mask.next_from(from) == next(from)));
    }
}

// --- loads

#[derive(Clone, Copy, Debug)]
enum Step {
    Send { to: u64, tokens: u64 },
    FirstToken(usize),
    Tokens(usize, u64),
    Finish(usize),
    Leave(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0usize..40;
    let step = prop_oneof![
        4 => (0u64..4, 0u64..60).prop_map(|(to, tokens)| Step::Send { to, tokens }),
        2 => which.clone().prop_map(Step::FirstToken),
        4 => (which.clone(), 0u64..30).prop_map(|(it, tokens)| Step::Tokens(it, tokens)),
        2 => which.prop_map(Step::Finish),
        1 => (0u64..4).prop_map(Step::Leave),
        2 => (0u64..60).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..120)
}

/// A request, as the literal model keeps it.
#[derive(Clone, Debug)]
struct Sent {
    to: u64,
    prompt: u64,
    answer: u64,
    computed: bool,
    heard: u64,
    over: bool,
}

proptest! {
    /// This holds whatever happens in whatever order, and nothing stays behind.
    #[test]
    fn a_load_is_the_sum_over_the_requests_in_flight(steps in steps()) {
        let builder = Router::builder().block_size(BLOCK_SIZE).request_timeout_ns(100);
        let mut router = with_workers(4, builder.build().expect("valid"));
        let (mut model, mut tickets): (Vec<Sent>, Vec<Ticket>) = Default::default();
        let (mut now, mut lost) = (0, 0);
        for step in steps {
            let update = |model: &mut Vec<Sent>, it: usize, change: &dyn Fn(&mut Sent)| {
                let known = model.get_mut(it).filter(|sent| !sent.over);
                known.map(|sent| { sent.heard = now; change(sent) }).is_some()
            };
            match step {
                Step::Send { to, tokens } => {
                    tickets.push(send(&mut router, to, tokens, now));
                    model.push(Sent { to, prompt: tokens, answer: 0, computed: false, heard: now, over: false });
                }
                Step::FirstToken(it) if it < model.len() => {
                    let known = update(&mut model, it, &|sent| sent.computed = true);
                    prop_assert_eq!(router.first_token(tickets[it], now), known);
                }
                Step::Tokens(it, tokens) if it < model.len() => {
                    let known = update(&mut model, it, &|sent| sent.answer += tokens);
                    prop_assert_eq!(router.tokens(tickets[it], tokens, now), known);
                }
                Step::Finish(it) if it < model.len() => {
                    let known = update(&mut model, it, &|sent| sent.over = true);
                    prop_assert_eq!(router.finish(tickets[it], now), known);
                }
                Step::Leave(id) => {
                    prop_assert!(router.remove_worker(worker(id)) && router.add_worker(worker(id)));
                    model.iter_mut().filter(|sent| sent.to == id).for_each(|sent| sent.over = true);
                }
                Step::Wait(time) => {
                    now += time;
                    router.expire(now);
                    for sent in model.iter_mut().filter(|sent| !sent.over && sent.heard + 100 <= now) {
                        sent.over = true;
                        lost += 1;
                    }
                }
                _ => {}
            }
            let in_flight = || model.iter().filter(|sent| !sent.over);
            for id in 0..4 {
                let here = || in_flight().filter(|sent| sent.to == id);
                let expected = Load {
                    requests: here().count() as u32,
                    prefill_tokens: here().filter(|sent| !sent.computed).map(|sent| sent.prompt).sum(),
                    decode_blocks: here().map(|sent| (sent.prompt + sent.answer).div_ceil(u64::from(BLOCK_SIZE))).sum(),
                };
                prop_assert_eq!(router.load(worker(id)), Some(expected));
            }
            prop_assert_eq!((router.in_flight(), router.expired()), (in_flight().count(), lost));
        }
    }
}

#[test]
fn held_blocks_need_no_prefill() {
    let mut router = named(1, "cost");
    let prompt = [1, 2, 3];
    let matches = answer(&prompt, [(0, 2)]);
    let request = Request { tokens: 37, ..ask(&prompt) };
    router.route(&request, &[&matches], 0).expect("a candidate");
    assert_eq!(router.load(worker(0)), Some(Load { requests: 1, prefill_tokens: 17, decode_blocks: 4 }));
    // An answer about another, longer prompt makes no sense, but it breaks nothing.
    router.route(&ask(&prompt[..1]), &[&matches], 0).expect("a candidate");
    assert_eq!(router.load(worker(0)), Some(Load { requests: 2, prefill_tokens: 17, decode_blocks: 5 }));
}

// --- slots and seats

/// The index reuses slots and the router reuses seats, so the router has to match depths to workers by name.
#[test]
fn a_reused_slot_or_seat_confuses_no_worker_with_another() {
    let (mut writer, reader) = local_index();
    let prompt = [1, 2, 3];
    let mut router = named(3, "longest-prefix");
    let held = |router: &mut Router, matches: &Matches| -> BTreeMap<u64, u32> {
        let explained = router.explain(&ask(&prompt), &[matches], 0).expect("a candidate");
        explained.candidates.iter().map(|it| (it.worker.id, it.held)).collect()
    };
    store(&mut writer, 1, &prompt);
    store(&mut writer, 2, &prompt[..2]);
    let matches = look_up(&mut writer, &reader, &prompt);
    assert_eq!(held(&mut router, &matches), BTreeMap::from([(0, 0), (1, 3), (2, 2)]));

    // Worker 0 takes over worker 1's slot.
    writer.apply(&Event { worker: worker(1), id: 0, data: EventData::WorkerRemoved }).expect("known");
    store(&mut writer, 0, &prompt[..1]);
    let matches = look_up(&mut writer, &reader, &prompt);
    assert_eq!(held(&mut router, &matches), BTreeMap::from([(0, 1), (1, 0), (2, 2)]));

    // Worker 7, which the index does not know, takes over the seat of worker 2, which the index still knows.
    router.remove_worker(worker(2));
    assert_eq!(held(&mut router, &matches), BTreeMap::from([(0, 1), (1, 0)]));
    router.add_worker(worker(7));
    assert_eq!(held(&mut router, &matches), BTreeMap::from([(0, 1), (1, 0), (7, 0)]));

    // The router reads an answer of another index, and then again one of the first.
    let other = answer(&prompt, [(7, 3), (1, 1)]);
    assert_eq!(held(&mut router, &other), BTreeMap::from([(0, 0), (1, 1), (7, 3)]));
    assert_eq!(held(&mut router, &matches), BTreeMap::from([(0, 1), (1, 0), (7, 0)]));
}

/// An answer keeps the workers of a layer in words of 64, of which some are full here.
#[test]
fn a_prompt_that_nearly_everybody_holds_is_read_like_any_other() {
    let prompt = [1, 2, 3];
    let depth = |id: u64| if id % 150 == 70 { 3 } else { 2 };
    let mut router = named(300, "longest-prefix");
    let matches = answer(&prompt, (0..290).map(|id| (id, depth(id))));
    let explained = router.explain(&ask(&prompt), &[&matches], 0).expect("a candidate");
    for it in explained.candidates {
        let id = it.worker.id;
        assert_eq!(it.held as usize, if id < 290 { depth(id) } else { 0 }, "worker {id}");
    }
    assert_eq!(count(&mut router, &ask(&prompt), &[&matches], 100).keys().copied().collect::<Vec<_>>(), [70, 220]);
}

#[test]
fn an_answer_of_several_shards_is_read_like_one_of_a_single_shard() {
    let index = Index::builder().shards(3).build().expect("valid settings");
    let prompt: Vec<u64> = (1..=20).collect();
    let mut router = named(20, "cost");
    for id in 0..20 {
        let blocks = prompt[..id as usize].iter().map(|&local| Block { sequence: local, local }).collect::<Vec<_>>();
        if !blocks.is_empty() {
            let data = EventData::Stored { parent: None, blocks };
            index.send(Event { worker: worker(id), id: 1, data }).expect("open");
        }
    }
    index.flush().expect("open");
    let mut matches = Matches::new();
    index.find(&prompt, &mut matches);
    let explained = router.explain(&ask(&prompt), &[&matches], 0).expect("a candidate");
    assert!(explained.candidates.iter().all(|it| u64::from(it.held) == it.worker.id));
    assert_eq!(explained.decision.worker, worker(19));
}

#[test]
fn equal_seeds_choose_alike() {
    let choices = |seed| {
        let policy = policy::by_name("random").expect("built in");
        let mut router = with_workers(50, Router::builder().policy(policy).seed(seed).build().expect("valid"));
        (0..20).map(|_| router.decide(&ask(&[]), &[], 0).expect("a candidate").worker.id).collect::<Vec<_>>()
    };
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
}

// --- the fleet

/// Counts how often it is told of the fleet.
#[derive(Debug, Default)]
struct Told(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Policy for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn why(&self) -> &'static str {
        "the first"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, _: &mut Random) -> Option<usize> {
        candidates.iter().next()
    }

    fn fleet_changed(&mut self, workers: &mut dyn Iterator<Item = (usize, Worker)>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(workers.count() > 0);
    }
}

#[test]
fn a_policy_is_told_of_the_fleet_when_it_has_to_choose() {
    let policy = Told::default();
    let told = std::sync::Arc::clone(&policy.0);
    let told = || told.load(std::sync::atomic::Ordering::Relaxed);
    let mut router = router(1000, policy);
    assert_eq!(told(), 0, "nothing was chosen yet");
    for _ in 0..3 {
        router.decide(&ask(&[]), &[], 0).expect("a candidate");
        assert_eq!(told(), 1, "nothing has changed since");
    }
    router.remove_worker(worker(1));
    router.remove_worker(worker(2));
    assert!(!router.remove_worker(worker(2)) && !router.add_worker(worker(3)));
    router.explain(&ask(&[]), &[], 0).expect("a candidate");
    assert_eq!(told(), 2);
}

#[test]
fn a_session_goes_to_the_same_worker_whether_the_fleet_has_just_changed_or_not() {
    let mut router = router(40, SessionAffinity::default());
    for id in 0..60 {
        router.remove_worker(worker(id % 40));
        router.add_worker(worker(id % 40));
        (0..40).for_each(|of| {
            let load = Load { requests: (of * 7 + id) as u32 % 5, ..Load::default() };
            router.set_load(worker(of), load);
        });
        router.set_available(worker((id * 3) % 40), false);
        let request = Request { session: Some(id), ..Request::default() };
        let chosen: Vec<_> = (0..4).map(|_| router.decide(&request, &[], 0).expect("a candidate").worker).collect();
        assert!(chosen.iter().all(|&other| other == chosen[0]), "{chosen:?}");
        router.set_available(worker((id * 3) % 40), true);
    }
}
