//! The registry and the upstreams of several workers against each other, without a socket.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};

use ringway_config::{HealthCheck, OutlierDetection, Period, Probe, Target};

use super::*;
use crate::deadlines::Deadlines;
use crate::error::{ClientError, UpstreamError};
use crate::limits::CLOSED_AT_ONCE;

const NOW: Duration = Duration::from_secs(1);

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

fn target(port: u16, weight: u32) -> Target {
    Target { addr: format!("10.0.0.1:{port}").parse().unwrap(), weight }
}

/// Three failures in a row eject.
fn settings(targets: &[Target]) -> config::Upstream {
    let health = config::Health {
        check: Some(HealthCheck {
            probe: Probe::Tcp,
            interval: Period::from_secs(1),
            timeout: Period::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 2,
        }),
        outlier_detection: Some(OutlierDetection {
            consecutive_failures: 3,
            ..OutlierDetection::default()
        }),
        ..config::Health::default()
    };
    config::Upstream {
        targets: targets.to_vec(),
        health: Box::new(health),
        ..config::Upstream::default()
    }
}

fn plan(targets: &[Target]) -> Shared<Plan> {
    Shared::new(Plan { name: "pair".to_owned(), settings: settings(targets) })
}

fn addresses(targets: &[Target]) -> Addresses {
    targets.iter().map(|t| (t.addr.clone(), vec![address(t.addr.port)])).collect()
}

/// Two workers that share a registry.
struct Two {
    registry: Shared<Registry>,
    plan: Shared<Plan>,
    addresses: Addresses,
    workers: [Upstream; 2],
}

impl Two {
    fn over(targets: &[Target]) -> Two {
        let (plan, addresses) = (plan(targets), addresses(targets));
        let registry = Shared::new(Registry::new(2));
        registry.adopt(std::slice::from_ref(&plan), &addresses);
        let worker = |worker| {
            let seat = Seat::new(registry.clone(), worker);
            Upstream::new(plan.clone(), &addresses, seat, worker as u64, None)
        };
        let workers = [worker(0), worker(1)];
        Two { registry, plan, addresses, workers }
    }

    /// The ports that each worker picks, which are the same for both.
    #[track_caller]
    fn picks(&self) -> Vec<u16> {
        let [one, other] = self.workers.each_ref().map(|upstream| {
            let ports = (0..40).filter_map(|_| upstream.pick(None, &[], NOW));
            ports.map(|endpoint| endpoint.address.port()).collect::<BTreeSet<_>>()
        });
        assert_eq!(one, other);
        one.into_iter().collect()
    }

    /// The name stands for these ports from now on; what is picked then.
    #[track_caller]
    fn stand_for(&mut self, name: &config::Address, ports: &[u16]) -> Vec<u16> {
        let found = ports.iter().map(|port| address(*port)).collect();
        self.addresses.insert(name.clone(), found);
        self.registry.adopt(std::slice::from_ref(&self.plan), &self.addresses);
        self.workers.iter().for_each(|upstream| upstream.resolve(&self.addresses));
        self.picks()
    }

    fn endpoint(&self, worker: usize, port: u16) -> Rc<Endpoint> {
        let picks = std::iter::repeat_with(|| self.workers[worker].pick(None, &[], NOW).unwrap());
        picks.take(40).find(|endpoint| endpoint.address.port() == port).unwrap()
    }

    fn view(&self, port: u16) -> EndpointView {
        let all = self.registry.list();
        all.into_iter().find(|view| view.address == address(port)).unwrap()
    }
}

#[test]
fn what_is_set_reaches_every_worker_at_its_next_pick() {
    let two = Two::over(&[target(1, 1), target(2, 1), target(3, 0)]);
    assert_eq!(two.picks(), [1, 2]);
    two.registry.set("pair", address(1), None, Some(true)).unwrap();
    assert_eq!(two.picks(), [2]);
    assert_eq!((two.view(1).state, two.view(1).used), (Standing::Draining, false));
    two.registry.set("pair", address(3), Some(1_000_000), None).unwrap();
    two.registry.set("pair", address(2), Some(0), None).unwrap();
    assert_eq!(two.picks(), [3]);
    let view = two.view(3);
    assert_eq!((view.weight, view.set_weight, view.used), (0, Some(1_000_000), true));
    two.registry.set("pair", address(3), None, Some(true)).unwrap();
    assert_eq!(two.picks(), [0; 0], "who is drained gets nothing, even with nobody left");
    two.registry.set("pair", address(1), Some(5), Some(false)).unwrap();
    assert_eq!(two.picks(), [1]);
}

#[test]
fn what_cannot_be_set_changes_nothing() {
    let two = Two::over(&[target(1, 1), target(2, 1)]);
    let set = |upstream, port, weight| two.registry.set(upstream, address(port), weight, None);
    assert_eq!(set("none", 1, None).unwrap_err(), "there is no upstream `none`");
    let error = set("pair", 9, Some(1)).unwrap_err();
    assert_eq!(error, "the upstream `pair` has no endpoint 10.0.0.1:9");
    let error = set("pair", 9, None).unwrap_err();
    assert_eq!(error, "the upstream `pair` has no endpoint 10.0.0.1:9");
    let error = set("pair", 1, Some(1_000_001)).unwrap_err();
    assert_eq!(error, "a weight of 1000001 is out of bounds: at most 1000000");
    assert_eq!(two.view(1).set_weight, None);
}

#[test]
fn failures_of_all_workers_count_together() {
    let two = Two::over(&[target(1, 1), target(2, 1)]);
    let mut failing = two.registry.failed().unwrap();
    assert!(two.registry.failed().is_none(), "one looks after them");
    let endpoints = [two.endpoint(0, 1), two.endpoint(1, 1)];
    endpoints[0].answered(500);
    endpoints[1].met(&UpstreamError::Closed(address(1)).into());
    endpoints[0].answered(404);
    endpoints[0].answered(503);
    endpoints[1].answered(599);
    endpoints[1].met(&ClientError::HeadTimeout.into());
    assert!(failing.try_recv().is_err(), "two in a row, and what the client is to blame for");
    endpoints[1].failed();
    let state = failing.try_recv().unwrap();
    assert_eq!(state.address, address(1));
    two.registry.failing(&state);
    assert_eq!(two.picks(), [2]);
    let view = two.view(1);
    assert_eq!((view.state, view.counts.failures), (Standing::Ejected, 5));
    assert!(view.ejected_for_ms.is_some_and(|left| (9_000..=10_000).contains(&left)));
    assert!(two.registry.advance().is_some_and(|wait| wait <= Duration::from_secs(10)));
}

#[test]
fn checks_speak_to_every_worker() {
    let two = Two::over(&[target(1, 1), target(2, 1)]);
    two.registry.checked("pair", address(1), Err("it answered 503".to_owned()));
    assert_eq!(two.picks(), [2]);
    let view = two.view(1);
    assert_eq!((view.state, view.why.as_str()), (Standing::Unhealthy, "it answered 503"));
    two.registry.checked("pair", address(2), Err("it answered 503".to_owned()));
    assert_eq!(two.picks(), [1, 2], "none is healthy, so all are used");
    assert_eq!((two.view(1).state, two.view(1).used), (Standing::Unhealthy, true));
    two.registry.checked("none", address(1), Ok(()));
    two.registry.checked("pair", address(9), Ok(()));
}

#[test]
fn another_snapshot_keeps_those_that_stay() {
    let targets = [target(1, 1), target(2, 1)];
    let two = Two::over(&targets);
    two.registry.set("pair", address(1), None, Some(true)).unwrap();
    two.endpoint(0, 2).begun();
    let before = two.registry.adopted();
    // Somewhere else in the file, beside others, with another target.
    let other = Shared::new(Plan { name: "other".to_owned(), ..(*two.plan).clone() });
    let targets = [target(3, 1), target(2, 1), target(1, 1)];
    let (plan, addresses) = (plan(&targets), addresses(&targets));
    two.registry.adopt(&[other, plan.clone()], &addresses);
    assert_ne!(two.registry.adopted(), before);
    let seat = Seat::new(two.registry.clone(), 0);
    let new = Upstream::new(plan.clone(), &addresses, seat, 0, Some(&two.workers[0]));
    let picks = (0..40).filter_map(|_| new.pick(None, &[], NOW));
    let ports: BTreeSet<_> = picks.map(|endpoint| endpoint.address.port()).collect();
    assert_eq!(ports, BTreeSet::from([2, 3]), "the drain goes on");
    let list = two.registry.list();
    let of_pair: Vec<_> = list.iter().filter(|view| view.upstream == "pair").collect();
    assert_eq!((list.len(), of_pair.len()), (5, 3));
    assert_eq!(of_pair[1].counts.requests, 1, "and so do the counts");
    let of_other = list.iter().find(|view| view.upstream == "other" && view.address == address(1));
    assert_eq!(of_other.unwrap().state, Standing::Healthy, "which is another entry");
    assert_eq!(two.registry.checks().len(), 5);
    let members = two.registry.members("pair");
    two.registry.adopt(std::slice::from_ref(&plan), &addresses);
    assert!(Shared::same(&members, &two.registry.members("pair")), "nothing is new");
    two.registry.adopt(&[], &Addresses::new());
    assert!(two.registry.list().is_empty() && two.registry.checks().is_empty());
}

#[test]
fn an_upstream_that_has_left_serves_what_it_began() {
    let two = Two::over(&[target(1, 1), target(2, 0)]);
    two.registry.adopt(&[], &Addresses::new());
    assert_eq!(two.picks(), [1], "as long as somebody still has it");
    two.workers.iter().for_each(|upstream| upstream.resolve(&two.addresses));
    assert_eq!(two.picks(), [1]);
}

#[test]
fn a_name_may_come_to_stand_for_others() {
    let name: config::Address = "users:80".parse().unwrap();
    let targets = [Target { addr: name.clone(), weight: 1 }];
    let mut two = Two::over(&targets);
    assert_eq!(two.stand_for(&name, &[1, 2]), [1, 2]);
    two.registry.set("pair", address(2), None, Some(true)).unwrap();
    assert_eq!(two.stand_for(&name, &[2, 3, 4]), [3, 4], "the drain of one that stays goes on");
    assert_eq!(two.stand_for(&name, &[4]), [4]);
    assert_eq!(two.stand_for(&name, &[2, 4]), [2, 4], "who was away is new");
}

/// True when the other end has closed the connection, false while it is open and silent.
fn is_closed(peer: &mut TcpStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    match peer.read(&mut [0; 1]) {
        Ok(0) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    }
}

/// An upstream on one core with one endpoint, which is this listener.
fn listening() -> (TcpListener, Shared<Registry>, Rc<Unwanted>, Upstream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let targets = [Target { addr: address.to_string().parse().unwrap(), weight: 1 }];
    let addresses = Addresses::from([(targets[0].addr.clone(), vec![address])]);
    let (plan, registry) = (plan(&targets), Shared::new(Registry::new(1)));
    registry.adopt(std::slice::from_ref(&plan), &addresses);
    let seat = Seat::new(registry.clone(), 0);
    let unwanted = seat.unwanted.clone();
    (listener, registry, unwanted, Upstream::new(plan, &addresses, seat, 0, None))
}

#[test]
fn a_drain_closes_what_waits_and_lets_finish_what_is_under_way() {
    let (listener, registry, unwanted, upstream) = listening();
    let address = listener.local_addr().unwrap();
    let driver = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
    driver.build().unwrap().block_on(async {
        let (pool, deadlines) = (config::Pool::default(), Rc::<Deadlines>::default());
        let endpoint = upstream.pick(None, &[], NOW).unwrap();
        let lease = || checkout(endpoint.clone(), &pool, NOW, true, &deadlines);
        let (waiting, under_way) = (lease().await.unwrap(), lease().await.unwrap());
        let [mut idle, mut busy] = [listener.accept().unwrap().0, listener.accept().unwrap().0];
        waiting.give_back(&pool, NOW);
        upstream.sweep(NOW);
        assert!(!is_closed(&mut idle) && !is_closed(&mut busy));
        registry.set("pair", address, None, Some(true)).unwrap();
        upstream.sweep(NOW);
        unwanted.sweep();
        assert!(is_closed(&mut idle) && !is_closed(&mut busy));
        assert_eq!(registry.list()[0].counts.in_flight, 1);
        under_way.give_back(&pool, NOW);
        assert!(is_closed(&mut busy), "there is nothing to keep it for");
        let counts = registry.list()[0].counts;
        assert_eq!((counts.requests, counts.connects, counts.in_flight), (2, 2, 0));
    });
}

/// When their endpoint leaves, and there is nothing else to do with them.
#[test]
fn many_connections_are_closed_a_few_at_a_time() {
    const MANY: usize = CLOSED_AT_ONCE * 2 + 1;
    let (listener, _registry, unwanted, upstream) = listening();
    let driver = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
    driver.build().unwrap().block_on(async {
        let (pool, deadlines) = (config::Pool::default(), Rc::<Deadlines>::default());
        let endpoint = upstream.pick(None, &[], NOW).unwrap();
        let mut peers = Vec::new();
        let mut leases = Vec::new();
        for _ in 0..MANY {
            leases.push(checkout(endpoint.clone(), &pool, NOW, true, &deadlines).await.unwrap());
            peers.push(listener.accept().unwrap().0);
        }
        leases.into_iter().for_each(|lease| lease.give_back(&pool, NOW));
        drop((endpoint, upstream));
        let mut closed =
            || peers.iter_mut().filter_map(|peer| is_closed(peer).then_some(())).count();
        assert_eq!(closed(), 0);
        for so_far in [CLOSED_AT_ONCE, 2 * CLOSED_AT_ONCE, MANY, MANY] {
            unwanted.sweep();
            assert_eq!(closed(), so_far);
        }
    });
}
