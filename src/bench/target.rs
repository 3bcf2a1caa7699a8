//! `ringway bench --target`: the load alone, at a gateway that runs already.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringway_engine::url::Target;
use serde::Serialize;

use super::load::{Load, Outcome, Pattern};
use super::report::number;

/// What is asked, and how.
pub(super) struct Drive {
    load: Load,
    time: Duration,
}

/// What came of it; times are microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    seconds: f64,
    pub(super) answers: u64,
    requests_per_second: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    errors: u64,
    pub(super) first_error: Option<String>,
}

impl Drive {
    /// A GET of `url` on each of so many connections, as fast as answers come, or so many a second.
    ///
    /// # Errors
    /// When the URL is none of plain HTTP, or leads away from this machine.
    pub(super) fn new(
        url: &str,
        connections: u16,
        rate: Option<u32>,
        seconds: f64,
    ) -> Result<Drive, String> {
        let target = Target::parse(url).map_err(|error| format!("--target: {error}"))?;
        if target.tls {
            return Err(format!("--target {url}: the load speaks plain HTTP only; write http://"));
        }
        let to = address(&target.host).ok_or_else(|| {
            format!("--target {url}: write an address of this machine, like http://127.0.0.1:8080/")
        })?;
        let Target { host, path_and_query, .. } = target;
        if path_and_query.contains(|c: char| c == ' ' || c.is_control()) {
            return Err(format!("--target {url:?}: a space in a URL is written %20"));
        }
        let request = format!(
            "GET {path_and_query} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringway-bench\r\n\
             Accept: */*\r\n\r\n"
        );
        let pattern = rate.map_or(Pattern::KeepAlive, |rate| Pattern::Rate(f64::from(rate)));
        let request = Rc::from(request.as_bytes());
        let connections = usize::from(connections);
        let load = Load { to, pattern, connections, request, answer: None };
        Ok(Drive { load, time: Duration::from_secs_f64(seconds) })
    }

    /// Asks for that long, after a moment that does not count.
    pub(super) async fn run(self) -> Told {
        let running = self.load.start();
        running.wait(super::measure::WARM_UP).await;
        let outcome = running.measure(self.time).await;
        running.stop().await;
        Told::from(&outcome)
    }
}

/// An address of this machine, with port 80 where none is written. Names other than `localhost` are
/// not looked up, because that alone would leave it.
fn address(host: &str) -> Option<SocketAddr> {
    let rest = host.strip_prefix("localhost");
    let local = rest.filter(|rest| rest.is_empty() || rest.starts_with(':'));
    let host = local.map_or_else(|| host.to_owned(), |port| format!("127.0.0.1{port}"));
    let alone = || host.trim_matches(['[', ']']).parse::<IpAddr>();
    let address = host.parse().or_else(|_| alone().map(|ip| SocketAddr::new(ip, 80)));
    address.ok().filter(|address| address.ip().is_loopback())
}

impl Told {
    fn from(outcome: &Outcome) -> Told {
        let seconds = outcome.elapsed.as_secs_f64();
        let at = |quantile: f64| outcome.latency.value_at_quantile(quantile);
        Told {
            seconds,
            answers: outcome.answers,
            requests_per_second: outcome.answers as f64 / seconds,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            errors: outcome.errors,
            first_error: outcome.first_error.clone(),
        }
    }

    /// The same for a terminal.
    pub(super) fn text(&self) -> String {
        let error = self.first_error.iter().map(|error| format!(", the first: {error}"));
        format!(
            "{} requests/s, {} errors{}\nlatency p50 {}, p90 {}, p99 {}, p99.9 {} µs\n",
            number(self.requests_per_second),
            self.errors,
            error.collect::<String>(),
            number(self.p50_us as f64),
            number(self.p90_us as f64),
            number(self.p99_us as f64),
            number(self.p999_us as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_has_an_address() {
        let is = |host: &str| address(host).map(|address| address.to_string());
        assert_eq!(is("127.0.0.1:8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(is("localhost:1").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(is("localhost").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(is("[::1]").as_deref(), Some("[::1]:80"));
        for away in ["192.0.2.1:80", "example.com", "localhost.example:80", "", "127.0.0.1:x"] {
            assert_eq!(is(away), None, "{away}");
        }
    }
}
