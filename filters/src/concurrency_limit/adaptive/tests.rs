//! A simulated origin that works on so many requests at once and queues the rest, and clients that
//! send more, or less, than it can bear.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use ringway_engine::balance::Rng;

use super::*;

const SECOND: u64 = 1_000_000_000;

struct World {
    adaptive: Adaptive,
    rng: Rng,
    now: u64,
    /// Requests that the origin can work on at once.
    workers: usize,
    /// When it is done with those it works on, and when each of these was sent.
    working: BinaryHeap<Reverse<(u64, u64)>>,
    queue: VecDeque<u64>,
    crowded: bool,
}

/// What was seen in a stretch of time.
#[derive(Debug)]
struct Report {
    /// Requests a second.
    rate: f64,
    /// Seconds a request.
    time: f64,
    shed: u64,
    limits: (u64, u64),
}

impl World {
    fn new(workers: usize) -> World {
        World {
            adaptive: Adaptive::new(4, 10_000),
            rng: Rng::new(1),
            now: 0,
            workers,
            working: BinaryHeap::new(),
            queue: VecDeque::new(),
            crowded: false,
        }
    }

    /// A random time with this mean: exponential, as of requests that know nothing of each other.
    fn random(&mut self, mean: f64) -> u64 {
        let unit = (self.rng.below(1 << 53) + 1) as f64 / (1_u64 << 53) as f64;
        (-unit.ln() * mean * SECOND as f64) as u64
    }

    /// Half of the work of a request is the same for each, half is random.
    fn work(&mut self, mean: f64) -> u64 {
        (mean / 2.0 * SECOND as f64) as u64 + self.random(mean / 2.0)
    }

    /// So many seconds, with so many requests a second, each of which takes so long.
    fn run(&mut self, seconds: u64, demand: f64, work: f64) -> Report {
        let end = self.now + seconds * SECOND;
        let mut next = self.now + self.random(1.0 / demand);
        let (mut done, mut time, mut shed, mut limits) = (0, 0, 0, (u64::MAX, 0));
        loop {
            let ready = self.working.peek().map_or(u64::MAX, |first| first.0.0);
            self.now = ready.min(next);
            if self.now >= end {
                self.now = end;
                break;
            }
            if ready <= next {
                let Some(Reverse((_, sent))) = self.working.pop() else { unreachable!() };
                done += 1;
                time += self.now - sent;
                let crowded = std::mem::take(&mut self.crowded);
                let seen = Finished { count: 1, time: self.now - sent, crowded };
                let limit = self.adaptive.finished(self.now, seen);
                limits = (limits.0.min(limit), limits.1.max(limit));
                if let Some(sent) = self.queue.pop_front() {
                    let until = self.now + self.work(work);
                    self.working.push(Reverse((until, sent)));
                }
                continue;
            }
            next = self.now + 1 + self.random(1.0 / demand);
            let under_way = (self.working.len() + self.queue.len()) as u64;
            self.crowded |= under_way + 1 >= self.adaptive.limit();
            if under_way >= self.adaptive.limit() {
                shed += 1;
            } else if self.working.len() < self.workers {
                let until = self.now + self.work(work);
                self.working.push(Reverse((until, self.now)));
            } else {
                self.queue.push_back(self.now);
            }
        }
        let rate = done as f64 / seconds as f64;
        Report { rate, time: time as f64 / done.max(1) as f64 / SECOND as f64, shed, limits }
    }
}

/// After it has settled: nearly all that the origin can do is done, and nobody waits for long.
#[track_caller]
fn check(world: &mut World, seconds: u64, work: f64) {
    let capacity = world.workers as f64 / work;
    let report = world.run(seconds, 2.0 * capacity, work);
    assert!(report.rate >= 0.85 * capacity, "{report:?}, of {capacity} a second");
    assert!(report.time <= 2.0 * work, "{report:?}, of {work} s");
    assert!(report.shed > 0, "{report:?}");
}

#[test]
fn it_finds_what_an_origin_bears() {
    for (workers, work) in [(10, 0.02), (50, 0.1), (400, 0.05), (64, 0.002)] {
        let mut world = World::new(workers);
        let capacity = workers as f64 / work;
        world.run(5, 2.0 * capacity, work);
        check(&mut world, 10, work);
    }
}

#[test]
fn it_follows_an_origin_that_becomes_slower_and_faster() {
    let mut world = World::new(40);
    for work in [0.02, 0.1, 0.01, 0.05, 0.2, 0.02] {
        let capacity = 40.0 / work;
        // On the way there it does not collapse either.
        let report = world.run(8, 2.0 * capacity, work);
        assert!(report.rate >= 0.5 * capacity, "{report:?}, of {capacity} a second");
        check(&mut world, 10, work);
    }
}

#[test]
fn it_follows_an_origin_that_loses_and_gains_workers() {
    let mut world = World::new(100);
    for workers in [100, 20, 200] {
        world.workers = workers;
        let capacity = workers as f64 / 0.02;
        world.run(15, 2.0 * capacity, 0.02);
        check(&mut world, 10, 0.02);
    }
}

#[test]
fn it_stays_open_while_little_is_asked_for() {
    let mut world = World::new(50);
    world.run(10, 10_000.0, 0.01);
    let before = world.adaptive.limit();
    let report = world.run(60, 50.0, 0.01);
    assert_eq!(report.shed, 0);
    assert!(report.limits.0 * 2 >= before, "{report:?} after {before}");
    check(&mut world, 10, 0.01);
}

#[test]
fn it_keeps_to_its_bounds() {
    let mut adaptive = Adaptive::new(8, 16);
    assert_eq!(adaptive.limit(), 16);
    for turn in 1..100 {
        let count = turn % 7 * 1_000;
        let seen = Finished { count, time: count * turn * 1_000_000, crowded: true };
        let limit = adaptive.finished(turn * SECOND, seen);
        assert!((8..=16).contains(&limit), "{limit}");
    }
}
