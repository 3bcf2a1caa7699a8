//! What the screen shows and how it is turned: the last two answers, the order of the rows, the
//! page. It knows no terminal.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use ratatui::crossterm::event::KeyCode;
use ringway_engine::status::{EndpointStatus, Status, WorkerStatus};

use super::ask::Told;

/// Rates that are remembered: as many as a wide terminal has columns.
const KEPT: usize = 240;

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// As they come: workers by number, endpoints in the order of the file
    Order,
    /// The busiest first
    Requests,
    /// Those with the most errors first
    Errors,
    /// Those with the most connections, or attempts under way, first
    Connections,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Order => "order",
            Sort::Requests => "requests",
            Sort::Errors => "errors",
            Sort::Connections => "connections",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Order => Sort::Requests,
            Sort::Requests => Sort::Errors,
            Sort::Errors => Sort::Connections,
            Sort::Connections => Sort::Order,
        }
    }
}

/// Which page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Load,
    Routes,
    Errors,
}

/// A worker, and its requests a second as far as they are known.
pub(super) type WorkerRow<'a> = (&'a WorkerStatus, Option<f64>);

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) url: String,
    pub(super) told: Told,
    /// Why the last answer is not the newest.
    pub(super) trouble: Option<String>,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) paused: bool,
    pub(super) page: Page,
    /// Rows left out at the top.
    pub(super) scrolled: usize,
    /// Requests a second, the newest last.
    pub(super) rates: VecDeque<u64>,
    before: Option<(Status, Instant)>,
    at: Option<Instant>,
}

impl Screen {
    pub(super) fn new(url: String, sort: Sort) -> Screen {
        Screen {
            url,
            told: Told::default(),
            trouble: None,
            sort,
            reversed: false,
            paused: false,
            page: Page::Load,
            scrolled: 0,
            rates: VecDeque::new(),
            before: None,
            at: None,
        }
    }

    /// Takes an answer in, or that there was none.
    pub(super) fn hear(&mut self, told: Result<Told, String>, at: Instant) {
        if self.paused {
            return;
        }
        match told {
            Ok(told) => {
                let same = told.status.uptime_seconds >= self.told.status.uptime_seconds;
                let old = std::mem::replace(&mut self.told, told).status;
                // Another process answers by now when its time is the shorter one.
                self.before = self.at.filter(|_| same).map(|at| (old, at));
                self.at = Some(at);
                self.trouble = None;
                if let Some(rate) = self.rate() {
                    self.rates.push_back(rate.round() as u64);
                    if self.rates.len() > KEPT {
                        self.rates.pop_front();
                    }
                }
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// Does what a key stands for.
    pub(super) fn press(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('1') => self.turn_to(Page::Load),
            KeyCode::Char('2') => self.turn_to(Page::Routes),
            KeyCode::Char('3') => self.turn_to(Page::Errors),
            KeyCode::Tab => self.turn_to(match self.page {
                Page::Load => Page::Routes,
                Page::Routes => Page::Errors,
                Page::Errors => Page::Load,
            }),
            KeyCode::Down => self.scrolled = self.scrolled.saturating_add(1),
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled = self.scrolled.saturating_add(10),
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(10),
            KeyCode::Home => self.scrolled = 0,
            _ => {}
        }
    }

    fn turn_to(&mut self, page: Page) {
        self.page = page;
        self.scrolled = 0;
    }

    /// The sum of a number over all workers.
    pub(super) fn total(&self, of: fn(&WorkerStatus) -> u64) -> u64 {
        self.told.status.workers.iter().map(of).sum()
    }

    /// Requests a second over all workers, once two answers have come.
    pub(super) fn rate(&self) -> Option<f64> {
        let rates: Option<Vec<f64>> = self.workers().iter().map(|(_, rate)| *rate).collect();
        rates.map(|rates| rates.iter().sum())
    }

    /// The workers in their order on the screen.
    pub(super) fn workers(&self) -> Vec<WorkerRow<'_>> {
        let seconds = match (&self.before, self.at) {
            (Some((_, before)), Some(at)) => Some((at - *before).as_secs_f64()),
            _ => None,
        };
        let before: HashMap<usize, u64> = self
            .before
            .iter()
            .flat_map(|(status, _)| &status.workers)
            .map(|worker| (worker.id, worker.requests))
            .collect();
        let rate = |worker: &WorkerStatus| {
            let since = worker.requests.saturating_sub(*before.get(&worker.id)?) as f64;
            seconds.filter(|seconds| *seconds > 0.0).map(|seconds| since / seconds)
        };
        let mut rows: Vec<_> =
            self.told.status.workers.iter().map(|worker| (worker, rate(worker))).collect();
        sort_workers(&mut rows, self.sort);
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// The endpoints in their order on the screen, each with its upstream's name.
    pub(super) fn endpoints(&self) -> Vec<(&str, &EndpointStatus)> {
        let mut rows = endpoints(&self.told.status, self.sort);
        if self.reversed {
            rows.reverse();
        }
        rows
    }
}

/// Puts workers in order.
pub(super) fn sort_workers(rows: &mut [WorkerRow<'_>], sort: Sort) {
    match sort {
        Sort::Order => {}
        Sort::Requests => rows.sort_by(|(a, rate_a), (b, rate_b)| {
            rate_b
                .unwrap_or(0.0)
                .total_cmp(&rate_a.unwrap_or(0.0))
                .then(b.requests.cmp(&a.requests))
        }),
        Sort::Errors => rows.sort_by_key(|(worker, _)| std::cmp::Reverse(worker.errors)),
        Sort::Connections => rows.sort_by_key(|(worker, _)| std::cmp::Reverse(worker.connections)),
    }
}

/// All endpoints in order, each with its upstream's name.
pub(super) fn endpoints(status: &Status, sort: Sort) -> Vec<(&str, &EndpointStatus)> {
    let of = |upstream: &'_ ringway_engine::status::UpstreamStatus| upstream.endpoints.len();
    let mut rows = Vec::with_capacity(status.upstreams.iter().map(of).sum());
    for upstream in &status.upstreams {
        rows.extend(upstream.endpoints.iter().map(|endpoint| (upstream.name.as_str(), endpoint)));
    }
    let key = |endpoint: &EndpointStatus| match sort {
        Sort::Order => 0,
        Sort::Requests => endpoint.requests,
        Sort::Errors => endpoint.failures,
        Sort::Connections => endpoint.in_flight,
    };
    rows.sort_by_key(|(_, endpoint)| std::cmp::Reverse(key(endpoint)));
    rows
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use ringway_engine::status::UpstreamStatus;

    use super::*;

    pub(in crate::top) fn told(requests: [u64; 2], uptime: f64) -> Told {
        let worker = |id: usize| WorkerStatus {
            id,
            requests: requests[id],
            connections: 10 - id as u64,
            errors: id as u64,
            completions_per_wait: (id == 0).then_some(1.53),
            ..WorkerStatus::default()
        };
        let endpoint = |address: &str, requests: u64, state: &str| EndpointStatus {
            address: address.to_owned(),
            target: address.to_owned(),
            state: state.to_owned(),
            requests,
            failures: 3,
            weight: 1,
            reuse_rate: Some(0.75),
            ..EndpointStatus::default()
        };
        let endpoints =
            vec![endpoint("10.0.0.1:80", 5, "healthy"), endpoint("10.0.0.2:80", 7, "ejected")];
        let upstream =
            UpstreamStatus { name: "shop".to_owned(), endpoints, ..UpstreamStatus::default() };
        let route = ringway_engine::status::RouteStatus {
            name: "all".to_owned(),
            path: "prefix /".to_owned(),
            action: "forward".to_owned(),
            to: vec!["shop".to_owned()],
            ..Default::default()
        };
        let status = Status {
            version: "1.2.3".to_owned(),
            driver: "epoll".to_owned(),
            uptime_seconds: uptime,
            workers: vec![worker(0), worker(1)],
            upstreams: vec![upstream],
            routes: 1,
            ..Status::default()
        };
        let error = ringway_engine::status::ErrorStatus {
            method: "GET".to_owned(),
            path: "/lost".to_owned(),
            status: 502,
            message: "the endpoint refused".to_owned(),
            ..Default::default()
        };
        let errors = ringway_engine::status::RecentErrors { errors: vec![error] };
        let routes = ringway_engine::status::Routes { total: 1, routes: vec![route] };
        Told { status, routes, errors }
    }

    fn screen() -> (Screen, Instant) {
        (Screen::new("http://a".to_owned(), Sort::Order), Instant::now())
    }

    #[test]
    fn a_rate_needs_two_answers_of_one_process() {
        let (mut screen, start) = screen();
        let second = |n| start + Duration::from_secs(n);
        screen.hear(Ok(told([100, 200], 10.0)), second(0));
        assert_eq!(screen.rate(), None);
        screen.hear(Ok(told([150, 210], 12.0)), second(2));
        assert_eq!(screen.rate(), Some(30.0));
        screen.hear(Ok(told([1, 1], 0.5)), second(3));
        assert_eq!(screen.rate(), None, "another process has begun to count anew");
        screen.hear(Ok(told([2, 3], 1.5)), second(4));
        assert_eq!(screen.rate(), Some(3.0));
        assert_eq!(screen.rates, [30, 3]);
    }

    #[test]
    fn rows_are_sorted_and_turned() {
        let (mut screen, start) = screen();
        screen.hear(Ok(told([100, 200], 1.0)), start);
        let ids = |screen: &Screen| {
            screen.workers().iter().map(|(worker, _)| worker.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&screen), [0, 1]);
        screen.press(KeyCode::Char('s'));
        assert_eq!((screen.sort, ids(&screen)), (Sort::Requests, vec![1, 0]));
        assert_eq!(screen.endpoints()[0].1.address, "10.0.0.2:80");
        screen.press(KeyCode::Char('r'));
        assert_eq!(ids(&screen), [0, 1]);
        screen.press(KeyCode::Char('r'));
        screen.press(KeyCode::Char('s'));
        assert_eq!((screen.sort, ids(&screen)), (Sort::Errors, vec![1, 0]));
        screen.press(KeyCode::Char('s'));
        assert_eq!((screen.sort, ids(&screen)), (Sort::Connections, vec![0, 1]));
    }

    #[test]
    fn trouble_leaves_what_was_told_and_a_pause_everything() {
        let (mut screen, start) = screen();
        screen.hear(Ok(told([1, 1], 1.0)), start);
        screen.hear(Err("gone".to_owned()), start);
        assert_eq!(
            (screen.trouble.as_deref(), screen.told.status.workers.len()),
            (Some("gone"), 2)
        );
        screen.press(KeyCode::Char(' '));
        screen.hear(Ok(told([9, 9], 2.0)), start);
        assert_eq!(screen.told.status.workers[0].requests, 1);
        screen.press(KeyCode::Char(' '));
        screen.hear(Ok(told([9, 9], 3.0)), start);
        assert_eq!((screen.told.status.workers[0].requests, &screen.trouble), (9, &None));
    }
}
