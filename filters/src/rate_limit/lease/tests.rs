//! Simulated cores, each with its own clients, and one bucket.

use proptest::prelude::*;
use ringway_engine::balance::Rng;
use ringway_engine::shared::SharedKeys;

use super::super::Taking;
use super::*;

/// A limit and the cores that share it.
struct House {
    shared: SharedKeys,
    algorithm: Algorithm,
    terms: LeaseTerms,
    cores: Vec<Lease>,
    interval: u64,
    burst: u64,
    /// Ticks by which the requests that passed are more than the rate alone allows; never more
    /// than the burst.
    debt: u64,
    last: u64,
    passed: u64,
    /// How often the bucket itself was asked.
    asked: u64,
}

impl House {
    fn new(cores: usize, rate: u64, burst: u64) -> House {
        let interval = SECOND.div_ceil(rate);
        let bucket = Algorithm::TokenBucket { interval, depth: burst * interval };
        let (algorithm, terms) = leased(bucket);
        let terms = terms.expect("a limit that is high enough for leases");
        House {
            shared: SharedKeys::new(1),
            algorithm,
            terms,
            cores: vec![Lease::default(); cores],
            interval,
            burst,
            debt: 0,
            last: 0,
            passed: 0,
            asked: 0,
        }
    }

    /// A request to this core; true when it may pass. Fails when it must not.
    fn request(&mut self, core: usize, now: u64) -> bool {
        let House { shared, algorithm, terms, cores, asked, .. } = self;
        let taken = cores[core].take(now, terms.span, terms.most, |want| {
            *asked += 1;
            shared.change(1, &Taking { algorithm: *algorithm, now, want }).answer
        });
        if taken.credits == 0 {
            assert!(taken.wait > 0);
            return false;
        }
        self.debt = self.debt.saturating_sub(now - self.last) + self.interval;
        self.last = now;
        self.passed += 1;
        let most = self.burst * self.interval;
        assert!(self.debt <= most, "{} over after {}", self.debt - most, self.passed);
        true
    }

    /// What may pass in this time, starting from a full bucket.
    fn most(&self, time: u64) -> u64 {
        self.burst + time / self.interval
    }
}

/// Clients of one core: a request every so many ticks on average, at random.
#[derive(Debug, Clone, Copy)]
struct Clients {
    every: u64,
    next: u64,
}

/// Lets all clients send until the end, or until so many requests were made, and tells when.
fn run(
    clients: &mut [Clients],
    rng: &mut Rng,
    end: u64,
    count: usize,
    mut request: impl FnMut(usize, u64),
) -> u64 {
    for _ in 0..count {
        let soonest = (0..clients.len()).min_by_key(|&core| clients[core].next);
        let Some(core) = soonest.filter(|&core| clients[core].next < end) else { return end };
        let now = clients[core].next;
        request(core, now);
        clients[core].next = now + 1 + rng.below(2 * clients[core].every);
    }
    clients.iter().map(|clients| clients.next).min().unwrap_or(end)
}

const START: u64 = 1_000 * SECOND;

#[test]
fn one_core_is_granted_nearly_all_and_asks_seldom() {
    let mut house = House::new(1, 100_000, 100_000);
    for request in 0..300_000_u64 {
        house.request(0, START + request * (SECOND / 200_000));
    }
    let most = house.most(3 * SECOND / 2);
    assert!(house.passed * 100 >= most * 98, "{} of {most}", house.passed);
    assert!(house.asked * 2 < house.passed, "asked {} for {}", house.asked, house.passed);
}

/// Seven cores fall silent with credits in hand; the eighth has the whole rate within a moment,
/// and after a rest the whole burst is there again, as far as it is not kept for leases.
#[test]
fn what_idle_cores_hold_comes_back() {
    let mut house = House::new(8, 50_000, 50_000);
    let mut rng = Rng::new(8);
    let mut clients = [Clients { every: SECOND / 20_000, next: START }; 8];
    let mut end = START + 2 * SECOND;
    run(&mut clients, &mut rng, end, usize::MAX, |core, now| {
        house.request(core, now);
    });
    house.passed = 0;
    for now in (end..end + SECOND).step_by((SECOND / 100_000) as usize) {
        house.request(0, now);
    }
    assert!(house.passed * 100 >= 50_000 * 98, "{} with seven idle cores", house.passed);
    end += 3 * SECOND;
    house.passed = 0;
    while house.request(3, end) {}
    assert!(house.passed >= 49_500, "{} after a rest", house.passed);
}

/// Many cores fall silent with credits in hand; when the bucket has filled up they come back all at
/// once, and get no more than the burst: `request` sees to it.
#[test]
fn what_was_held_for_too_long_is_void() {
    let mut house = House::new(32, 1_000_000, 1_000_000);
    for request in 0..300_000_u64 {
        house.request(request as usize % 32, START + request * (SECOND / 30_000_000));
    }
    let held: u64 = house.cores.iter().map(|lease| lease.credits).sum();
    assert!(held * house.interval > house.terms.span, "{held} credits prove nothing");
    (0..32).for_each(|core| while house.request(core, START + 5 * SECOND) {});
}

#[test]
fn a_small_limit_is_not_leased() {
    for (rate, burst) in [(1, 5), (1_000, 1_000), (1_000_000, 100)] {
        let interval = SECOND.div_ceil(rate);
        let bucket = Algorithm::TokenBucket { interval, depth: burst * interval };
        assert_eq!(leased(bucket), (bucket, None), "{rate} {burst}");
    }
}

proptest! {
    // Each case is a long story, and so is shrinking one.
    #![proptest_config(ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(12) })]

    /// Whatever clients do, no stretch of time sees more than burst and rate together: `request`
    /// checks each.
    #[test]
    fn never_more_than_burst_and_rate(
        cores in 1..65_usize,
        rate in 4_000..60_000_u64,
        seconds in 1..4_u64,
        seed in any::<u64>(),
    ) {
        let mut house = House::new(cores, rate, rate * seconds);
        let (mut rng, mut now) = (Rng::new(seed), START);
        // Waves of all kinds: storms, trickles, silence, on one core and on many.
        for _ in 0..40 {
            let mut client = || Clients {
                every: 1 << (14 + rng.below(20)),
                next: now + rng.below(1 << 24),
            };
            let mut clients: Vec<_> = (0..cores).map(|_| client()).collect();
            let end = now + (1 << (22 + rng.below(9)));
            let request = |core, now| {
                house.request(core, now);
            };
            now = run(&mut clients, &mut rng, end, 2_000, request);
            let silence = 20 + rng.below(14);
            now += rng.below(1 << silence);
        }
        prop_assert!(house.passed > 0);
    }

    /// Where all cores together are asked for more than the limit, nearly all of it is granted,
    /// however unevenly the clients are spread.
    #[test]
    fn nearly_all_of_it_is_granted_under_steady_overload(
        cores in 1..9_usize,
        rate in 4_000..40_000_u64,
        shares in prop::collection::vec(1..100_u64, 8),
        overload in 11..30_u64,
        seed in any::<u64>(),
    ) {
        let mut house = House::new(cores, rate, rate);
        let total: u64 = shares[..cores].iter().sum();
        let mut clients: Vec<_> = shares[..cores]
            .iter()
            .map(|share| Clients {
                every: (SECOND * total * 10 / (rate * overload * share)).max(1),
                next: START,
            })
            .collect();
        // With one and a tenth of the rate the burst is used up after ten seconds.
        let time = SECOND * 10 / (overload - 10) + SECOND;
        let request = |core, now| {
                house.request(core, now);
            };
        run(&mut clients, &mut Rng::new(seed), START + time, usize::MAX, request);
        let most = house.most(time);
        prop_assert!(house.passed * 100 >= most * 98, "{} of {most}", house.passed);
    }
}
