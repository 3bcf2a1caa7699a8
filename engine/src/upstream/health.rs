//! What is known of the endpoints of one upstream, and which of them are used: a state machine
//! without I/O or clock. Time comes with each call, counted from when the process began.
//!
//! Three things speak of an endpoint, each with a voice of its own. Checks say whether it answers
//! at all ([`Group::checked`]). The requests themselves say whether its answers are good
//! ([`Group::failing`]). Whoever runs the gateway may drain it or weigh it anew ([`Group::drain`],
//! [`Group::weigh`]); that is never overruled. And beside all of them each core passes an endpoint
//! over for a moment that has just refused it a connection (`endpoint.rs`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringway_config as config;

use crate::limits::{SLOW_START_STEP, SLOW_START_STEPS};

/// A weight is published in hundredths, so that a slow start can give less than a weight of one.
pub(crate) const WHOLE: u32 = 100;

/// What a slow start begins with, in hundredths of the weight.
const FIRST_SHARE: u32 = 10;

/// The health of one endpoint.
///
/// ```text
///           checks fail                      checks pass
///   ┌───────────────────────► Unhealthy ────────────────────┐
///   │                             ▲                         │
///   │                             │ checks fail             │
///   │     failures in a row       │          time is up     ▼
/// Healthy ────────────────────► Ejected ────────────────► Rising ──┐
///   ▲                             ▲                         │ │    │ checks fail:
///   │                             └─────failures in a row───┘ │    └─► Unhealthy
///   └─────────────────────slow start is over──────────────────┘
/// ```
///
/// Without a slow start, `Rising` is passed through at once. An endpoint begins as `Healthy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// Used by its weight.
    Healthy,
    /// Used again, by a share of its weight that grows.
    Rising {
        /// From when on.
        since: Duration,
    },
    /// Out, because too many of its answers in a row were faults.
    Ejected {
        /// Until then.
        until: Duration,
    },
    /// Out, because of its checks.
    Unhealthy,
}

/// What has become of an endpoint, to be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its checks fail.
    Unhealthy,
    /// Its checks pass again.
    Recovered,
    /// It is out for so long.
    Ejected(Duration),
    /// It is back from an ejection.
    Returned,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    /// The target that it is an address of, as the file has it.
    pub(crate) target: String,
    /// As the file has it.
    pub(crate) weight: u32,
    /// As somebody has set it since.
    pub(crate) set_weight: Option<u32>,
    /// Gets no new requests, whatever its health.
    pub(crate) draining: bool,
    pub(crate) health: Health,
    /// Why it is unhealthy: what was wrong with the last check. Empty while it is not.
    pub(crate) why: String,
    /// Whether a check has spoken since there are checks: the first one needs no second.
    checked: bool,
    /// Checks in a row that contradict its health.
    contrary: u32,
    /// Ejections, each soon after the one before.
    ejections: u32,
    /// How long the last ejection was, and when it ended.
    ejected_for: Duration,
    returned: Duration,
}

/// An endpoint that there shall be: its address, its target, its weight in the file.
pub(crate) type Wanted = (SocketAddr, String, u32);

/// The endpoints of one upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    settings: config::Health,
    pub(crate) members: Vec<Member>,
}

impl Member {
    fn new((address, target, weight): Wanted) -> Member {
        Member {
            address,
            target,
            weight,
            set_weight: None,
            draining: false,
            health: Health::Healthy,
            why: String::new(),
            checked: false,
            contrary: 0,
            ejections: 0,
            ejected_for: Duration::ZERO,
            returned: Duration::ZERO,
        }
    }

    /// The weight that counts when it is healthy.
    pub(crate) fn full_weight(&self) -> u32 {
        self.set_weight.unwrap_or(self.weight)
    }

    /// Whether it would be used if it were healthy.
    fn is_wanted(&self) -> bool {
        !self.draining && self.full_weight() > 0
    }

    fn is_used(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Rising { .. })
    }

    /// In again.
    fn rise(&mut self, now: Duration, slow_start: Duration) {
        self.contrary = 0;
        self.why.clear();
        self.health = match slow_start.is_zero() {
            true => Health::Healthy,
            false => Health::Rising { since: now },
        };
    }

    /// Out for a time that doubles with each ejection that comes soon after the last.
    fn eject(&mut self, now: Duration, rules: &config::OutlierDetection) -> Duration {
        if now.saturating_sub(self.returned) >= self.ejected_for {
            self.ejections = 0;
        }
        let time = rules.ejection_time.0.saturating_mul(1 << self.ejections.min(16));
        let time = time.min(rules.max_ejection_time.0);
        self.ejections += 1;
        self.ejected_for = time;
        self.health = Health::Ejected { until: now + time };
        time
    }

    /// How much of its weight it has now, in hundredths.
    fn share(&self, now: Duration, slow_start: Duration) -> u32 {
        match self.health {
            Health::Healthy => WHOLE,
            Health::Rising { since } => {
                let passed = now.saturating_sub(since).as_secs_f64() / slow_start.as_secs_f64();
                let grown = f64::from(WHOLE - FIRST_SHARE) * passed.min(1.0);
                FIRST_SHARE + grown as u32
            }
            Health::Ejected { .. } | Health::Unhealthy => 0,
        }
    }
}

impl Group {
    /// Takes new settings and endpoints in. Endpoints that stay keep what is known of them; what
    /// was set for one stays set while its weight in the file is the same. What is no longer asked
    /// about is forgotten: nobody would ever say otherwise.
    pub(crate) fn adopt(&mut self, settings: &config::Health, wanted: Vec<Wanted>) {
        let other_check = settings.check != self.settings.check;
        let known = std::mem::take(&mut self.members).into_iter();
        let mut known: HashMap<_, _> = known.map(|member| (member.address, member)).collect();
        for wanted in wanted {
            let Some(mut member) = known.remove(&wanted.0) else {
                self.members.push(Member::new(wanted));
                continue;
            };
            if member.weight != wanted.2 {
                member.set_weight = None;
            }
            (_, member.target, member.weight) = wanted;
            if other_check {
                (member.checked, member.contrary) = (false, 0);
            }
            let forgotten = match member.health {
                Health::Unhealthy => settings.check.is_none(),
                Health::Ejected { .. } => settings.outlier_detection.is_none(),
                Health::Rising { .. } => settings.slow_start.is_zero(),
                Health::Healthy => false,
            };
            if forgotten {
                member.health = Health::Healthy;
                member.why.clear();
            }
            self.members.push(member);
        }
        self.settings = settings.clone();
    }

    /// A check of an endpoint has passed, or failed for this reason.
    pub(crate) fn checked(
        &mut self,
        address: SocketAddr,
        verdict: Result<(), String>,
        now: Duration,
    ) -> Option<Change> {
        let slow_start = self.settings.slow_start.0;
        let rules = self.settings.check.as_ref()?;
        let member = self.members.iter_mut().find(|member| member.address == address)?;
        let was_out = member.health == Health::Unhealthy;
        let needed = match (member.checked, was_out) {
            (false, _) => 1,
            (true, true) => rules.healthy_after,
            (true, false) => rules.unhealthy_after,
        };
        member.checked = true;
        member.contrary = if verdict.is_ok() == was_out { member.contrary + 1 } else { 0 };
        let enough = member.contrary >= needed;
        match verdict {
            Ok(()) if was_out && enough => {
                member.rise(now, slow_start);
                return Some(Change::Recovered);
            }
            Ok(()) => {}
            Err(why) if was_out || enough => {
                member.why = why;
                member.health = Health::Unhealthy;
            }
            Err(_) => {}
        }
        if was_out || member.health != Health::Unhealthy {
            return None;
        }
        member.contrary = 0;
        Some(Change::Unhealthy)
    }

    /// An endpoint has failed as often in a row as the settings allow.
    pub(crate) fn failing(&mut self, address: SocketAddr, now: Duration) -> Option<Change> {
        let rules = self.settings.outlier_detection.as_ref()?;
        let wanted = self.members.iter().filter(|member| member.is_wanted()).count();
        let is_out = |member: &&Member| matches!(member.health, Health::Ejected { .. });
        let out = self.members.iter().filter(is_out).count();
        if (out + 1) * 100 > wanted * rules.max_ejected as usize {
            return None;
        }
        let member = self.members.iter_mut().find(|member| member.address == address)?;
        let able = member.is_used() && member.is_wanted();
        able.then(|| Change::Ejected(member.eject(now, rules)))
    }

    /// Time has passed: ejections and slow starts may be over.
    pub(crate) fn advance(&mut self, now: Duration) -> Vec<(SocketAddr, Change)> {
        let slow_start = self.settings.slow_start.0;
        let mut changes = Vec::new();
        for member in &mut self.members {
            match member.health {
                Health::Ejected { until } if until <= now => {
                    member.returned = now;
                    member.rise(now, slow_start);
                    changes.push((member.address, Change::Returned));
                }
                Health::Rising { since } if since + slow_start <= now => {
                    member.health = Health::Healthy;
                }
                _ => {}
            }
        }
        changes
    }

    /// When [`Group::advance`] is to be called next; `None` while nothing waits for time to pass.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        let slow_start = self.settings.slow_start.0;
        let step = (slow_start / SLOW_START_STEPS).max(SLOW_START_STEP);
        let due = |member: &Member| match member.health {
            Health::Ejected { until } => Some(until),
            Health::Rising { since } => Some((since + slow_start).min(now + step)),
            Health::Healthy | Health::Unhealthy => None,
        };
        self.members.iter().filter_map(due).min()
    }

    /// Begins or ends a drain; false when there is no such endpoint. After a drain an endpoint
    /// begins slowly, as after any other absence.
    pub(crate) fn drain(&mut self, address: SocketAddr, drain: bool, now: Duration) -> bool {
        let slow_start = self.settings.slow_start.0;
        let Some(member) = self.members.iter_mut().find(|member| member.address == address) else {
            return false;
        };
        if member.draining && !drain && member.is_used() {
            member.rise(now, slow_start);
        }
        member.draining = drain;
        true
    }

    /// Sets a weight instead of the file's; false when there is no such endpoint.
    pub(crate) fn weigh(&mut self, address: SocketAddr, weight: u32) -> bool {
        let member = self.members.iter_mut().find(|member| member.address == address);
        member.map(|member| member.set_weight = Some(weight)).is_some()
    }

    /// True when so few endpoints are healthy that all are used.
    pub(crate) fn panics(&self) -> bool {
        let wanted = self.members.iter().filter(|member| member.is_wanted());
        let (all, used) = wanted
            .fold((0, 0), |(all, used), member| (all + 1, used + usize::from(member.is_used())));
        used < all && used * 100 < all * self.settings.panic_threshold as usize
    }

    /// What each endpoint counts for now, in hundredths of a weight; 0 is not used.
    pub(crate) fn weights(&self, now: Duration) -> impl Iterator<Item = (&Member, u32)> {
        let (slow_start, panics) = (self.settings.slow_start.0, self.panics());
        self.members.iter().map(move |member| {
            let share = match (member.is_wanted(), panics) {
                (false, _) => 0,
                (true, true) => WHOLE,
                (true, false) => member.share(now, slow_start),
            };
            (member, member.full_weight().saturating_mul(share))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_config::{HealthCheck, OutlierDetection, Period, Probe};

    const SECOND: Duration = Duration::from_secs(1);

    fn address(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 8000 + n as u16))
    }

    fn check() -> HealthCheck {
        HealthCheck {
            probe: Probe::Tcp,
            interval: Period::from_secs(1),
            timeout: Period::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }

    /// Ten seconds, twenty, at most thirty; at most half of the endpoints.
    fn outliers() -> OutlierDetection {
        OutlierDetection {
            consecutive_failures: 5,
            ejection_time: Period::from_secs(10),
            max_ejection_time: Period::from_secs(30),
            max_ejected: 50,
        }
    }

    fn settings() -> config::Health {
        config::Health {
            check: Some(check()),
            outlier_detection: Some(outliers()),
            slow_start: Period::default(),
            panic_threshold: 0,
        }
    }

    fn wanted(weights: &[u32]) -> Vec<Wanted> {
        let of = |(n, &weight): (usize, &u32)| (address(n), format!("target-{n}"), weight);
        weights.iter().enumerate().map(of).collect()
    }

    fn group(settings: &config::Health, weights: &[u32]) -> Group {
        let mut group = Group::default();
        group.adopt(settings, wanted(weights));
        group
    }

    fn weights(group: &Group, now: Duration) -> Vec<u32> {
        group.weights(now).map(|(_, weight)| weight).collect()
    }

    fn fail(group: &mut Group, n: usize) -> Option<Change> {
        group.checked(address(n), Err("503".to_owned()), SECOND)
    }

    fn pass(group: &mut Group, n: usize, now: Duration) -> Option<Change> {
        group.checked(address(n), Ok(()), now)
    }

    #[test]
    fn an_endpoint_is_used_until_its_first_check_has_failed() {
        let mut group = group(&settings(), &[1, 3]);
        assert_eq!(weights(&group, SECOND), [100, 300]);
        assert_eq!(pass(&mut group, 0, SECOND), None);
        assert_eq!(fail(&mut group, 1), Some(Change::Unhealthy));
        assert_eq!(weights(&group, SECOND), [100, 0]);
        assert_eq!(group.members[1].why, "503");
    }

    #[test]
    fn checks_need_to_agree_before_anything_changes() {
        let mut group = group(&settings(), &[1]);
        for verdict in [true, false, false, true, false, false] {
            let change = if verdict { pass(&mut group, 0, SECOND) } else { fail(&mut group, 0) };
            assert_eq!(change, None);
        }
        assert_eq!(fail(&mut group, 0), Some(Change::Unhealthy), "the third in a row");
        assert_eq!(fail(&mut group, 0), None, "told once");
        assert_eq!(pass(&mut group, 0, SECOND), None);
        assert_eq!(fail(&mut group, 0), None);
        assert_eq!(pass(&mut group, 0, SECOND), None, "the row was broken");
        assert_eq!(pass(&mut group, 0, SECOND), Some(Change::Recovered));
        assert_eq!(group.members[0].why, "");
        assert_eq!(pass(&mut group, 0, SECOND), None, "told once");
    }

    #[test]
    fn an_ejection_grows_and_is_forgotten_after_good_conduct() {
        let mut group = group(&settings(), &[1, 1]);
        let mut now = SECOND;
        for seconds in [10, 20, 30, 30] {
            let time = SECOND * seconds;
            assert_eq!(group.failing(address(0), now), Some(Change::Ejected(time)));
            assert_eq!(group.failing(address(0), now), None, "it is out already");
            assert_eq!(weights(&group, now), [0, 100]);
            assert_eq!(group.due(now), Some(now + time));
            assert_eq!(group.advance(now + time - SECOND), []);
            now += time;
            assert_eq!(group.advance(now), [(address(0), Change::Returned)]);
            assert_eq!((weights(&group, now), group.due(now)), (vec![100, 100], None));
            now += SECOND * 9;
        }
        now += SECOND * 21;
        assert_eq!(group.failing(address(0), now), Some(Change::Ejected(SECOND * 10)));
    }

    #[test]
    fn no_more_than_the_share_is_ejected() {
        for (count, percent, most) in
            [(1, 50, 0), (2, 50, 1), (3, 50, 1), (4, 50, 2), (10, 10, 1), (3, 100, 3), (9, 10, 0)]
        {
            let mut settings = settings();
            settings.outlier_detection.as_mut().unwrap().max_ejected = percent;
            let mut group = group(&settings, &vec![1; count]);
            let ejected = (0..count).filter(|n| group.failing(address(*n), SECOND).is_some());
            assert_eq!(ejected.count(), most, "{percent} % of {count}");
        }
    }

    #[test]
    fn what_is_out_for_another_reason_is_not_ejected() {
        let mut group = group(&settings(), &[1, 1, 0, 1]);
        assert_eq!(fail(&mut group, 0), Some(Change::Unhealthy));
        assert!(group.drain(address(1), true, SECOND));
        for n in 0..3 {
            assert_eq!(group.failing(address(n), SECOND), None, "{n}");
        }
        assert!(group.failing(address(3), SECOND).is_some());
        assert_eq!(group.failing(address(9), SECOND), None, "there is none of this address");
    }

    #[test]
    fn checks_overrule_an_ejection() {
        let mut group = group(&settings(), &[1, 1]);
        assert_eq!(pass(&mut group, 0, SECOND), None);
        assert!(group.failing(address(0), SECOND).is_some());
        assert_eq!(pass(&mut group, 0, SECOND), None, "a check does not end an ejection");
        assert_eq!(weights(&group, SECOND), [0, 100]);
        assert_eq!((fail(&mut group, 0), fail(&mut group, 0)), (None, None));
        assert_eq!(fail(&mut group, 0), Some(Change::Unhealthy));
        assert_eq!(group.advance(SECOND * 100), [], "time alone brings nobody back");
        assert_eq!(pass(&mut group, 0, SECOND), None);
        assert_eq!(pass(&mut group, 0, SECOND), Some(Change::Recovered));
    }

    #[test]
    fn a_slow_start_grows_from_a_tenth_to_all() {
        let settings = config::Health { slow_start: Period::from_secs(20), ..settings() };
        let mut group = group(&settings, &[1, 1000]);
        assert_eq!(weights(&group, SECOND), [100, 100_000], "not at the beginning");
        assert!(fail(&mut group, 1).is_some());
        assert_eq!(pass(&mut group, 1, SECOND), None);
        assert_eq!(pass(&mut group, 1, SECOND), Some(Change::Recovered));
        let mut grown = Vec::new();
        let mut now = SECOND;
        while let Some(due) = group.due(now) {
            grown.push(weights(&group, now)[1]);
            assert!(due > now && due <= now + SECOND, "a step is a twentieth");
            now = due;
            assert_eq!(group.advance(now), []);
        }
        assert_eq!((grown[0], grown[10], grown.len()), (10_000, 55_000, 20));
        assert!(grown.is_sorted());
        assert_eq!((now, weights(&group, now)[1]), (SECOND * 21, 100_000));
    }

    #[test]
    fn all_ways_back_start_slowly() {
        let settings = config::Health { slow_start: Period::from_secs(20), ..settings() };
        let mut group = group(&settings, &[1, 1]);
        assert!(group.failing(address(0), SECOND).is_some());
        assert_eq!(group.advance(SECOND * 11), [(address(0), Change::Returned)]);
        assert_eq!(weights(&group, SECOND * 11), [10, 100]);
        assert!(group.drain(address(1), true, SECOND * 11));
        assert_eq!(weights(&group, SECOND * 21), [55, 0]);
        assert!(group.drain(address(1), false, SECOND * 21));
        assert_eq!(weights(&group, SECOND * 21), [55, 10]);
    }

    #[test]
    fn too_few_healthy_ones_are_none() {
        let settings = config::Health { panic_threshold: 50, ..settings() };
        let mut group = group(&settings, &[1, 2, 3, 0, 4]);
        assert!(group.drain(address(4), true, SECOND));
        assert!(fail(&mut group, 0).is_some());
        assert!(!group.panics(), "two of three");
        assert!(fail(&mut group, 1).is_some());
        assert!(group.panics(), "one of three");
        assert_eq!(weights(&group, SECOND), [100, 200, 300, 0, 0], "never what is drained");
        assert!(pass(&mut group, 1, SECOND).is_none());
        assert!(pass(&mut group, 1, SECOND).is_some());
        assert_eq!(weights(&group, SECOND), [0, 200, 300, 0, 0]);
    }

    #[test]
    fn a_threshold_of_zero_never_uses_unhealthy_ones() {
        let mut group = group(&settings(), &[1]);
        assert!(fail(&mut group, 0).is_some());
        assert_eq!((weights(&group, SECOND), group.panics()), (vec![0], false));
    }

    #[test]
    fn what_was_set_survives_what_leaves_it_as_it_is() {
        let mut group = group(&settings(), &[1, 2, 3]);
        assert!(group.weigh(address(0), 7) && group.weigh(address(1), 0));
        assert!(group.drain(address(2), true, SECOND));
        assert!(!group.weigh(address(9), 7) && !group.drain(address(9), true, SECOND));
        let mut back = wanted(&[1, 2, 3, 4]);
        back.reverse();
        group.adopt(&settings(), back);
        assert_eq!(weights(&group, SECOND), [400, 0, 0, 700]);
        group.adopt(&settings(), wanted(&[1, 5, 3]));
        assert_eq!(weights(&group, SECOND), [700, 500, 0], "the file has another weight now");
        group.adopt(&settings(), wanted(&[1, 5]));
        group.adopt(&settings(), wanted(&[1, 5, 3]));
        assert_eq!(weights(&group, SECOND), [700, 500, 300], "who was away is new");
    }

    #[test]
    fn what_nobody_asks_about_any_more_is_healthy() {
        let mut group = group(&settings(), &[1, 1, 1, 1]);
        assert!(fail(&mut group, 0).is_some());
        assert!(group.failing(address(1), SECOND).is_some());
        let mut other = settings();
        other.check.as_mut().unwrap().probe = Probe::Tcp;
        group.adopt(&other, wanted(&[1, 1, 1, 1]));
        assert_eq!(weights(&group, SECOND), [0, 0, 100, 100]);
        other.check.as_mut().unwrap().healthy_after = 9;
        group.adopt(&other, wanted(&[1, 1, 1, 1]));
        assert_eq!(weights(&group, SECOND), [0, 0, 100, 100], "until it is asked");
        assert_eq!(pass(&mut group, 0, SECOND), Some(Change::Recovered), "the first is enough");
        assert!(fail(&mut group, 2).is_some());
        let none = config::Health { panic_threshold: 0, ..config::Health::default() };
        group.adopt(&none, wanted(&[1, 1, 1, 1]));
        assert_eq!(weights(&group, SECOND), [100; 4]);
        assert_eq!((fail(&mut group, 0), group.failing(address(0), SECOND)), (None, None));
    }
}
