//! How health is found out: bounds, and what would never do anything.

use super::route::OWN_FIELDS;
use super::value::{check_field_name, check_field_value};
use crate::address::{host_name, split_port};
use crate::findings::Findings;
use crate::health::{Health, HealthCheck, HttpProbe, OutlierDetection, Probe};
use crate::units::Period;
use crate::upstream::Target;

/// The shortest time between two checks of an endpoint, and the shortest ejection.
const MIN_INTERVAL: Period = Period::from_millis(100);

/// The most checks in a row that a verdict may need.
const MAX_IN_A_ROW: u32 = 100;

/// The most failures in a row that may be allowed.
const MAX_FAILURES: u32 = 10_000;

/// The longest text to look for in a body, in bytes.
const MAX_EXPECTED: usize = 1024;

/// The longest path of a check, in bytes.
const MAX_PATH: usize = 8192;

pub(super) fn check(health: &Health, targets: &[Target], path: &str, findings: &mut Findings<'_>) {
    if let Some(check) = &health.check {
        check_check(check, &format!("{path}.health_check"), findings);
    }
    if let Some(outliers) = &health.outlier_detection {
        check_outliers(outliers, targets, &format!("{path}.outlier_detection"), findings);
    }
    check_number(health.panic_threshold, 0..=100, format!("{path}.panic_threshold"), findings);
}

fn check_check(check: &HealthCheck, path: &str, findings: &mut Findings<'_>) {
    if check.interval < MIN_INTERVAL {
        findings.error(
            format!("{path}.interval"),
            format!("a check every `{}` is too often", check.interval),
            format!("write at least `{MIN_INTERVAL}`"),
        );
    } else if check.timeout > check.interval {
        findings.error(
            format!("{path}.timeout"),
            format!("a check of `{}` is not over when the next one begins", check.timeout),
            format!("write at most the interval, `{}`", check.interval),
        );
    }
    super::check_period(check.timeout, format!("{path}.timeout"), findings);
    let rows = [("healthy_after", check.healthy_after), ("unhealthy_after", check.unhealthy_after)];
    for (field, number) in rows {
        check_number(number, 1..=MAX_IN_A_ROW, format!("{path}.{field}"), findings);
    }
    if let Probe::Http(http) = &check.probe {
        check_http(http, path, findings);
    }
}

fn check_http(http: &HttpProbe, path: &str, findings: &mut Findings<'_>) {
    let field = |name: &str| format!("{path}.{name}");
    if !http.path.starts_with('/') {
        let help = format!("write `/{}`", http.path.trim_start());
        findings.error(
            field("path"),
            format!("`{}` does not begin with `/`", http.path.escape_debug()),
            help,
        );
    } else if !http.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        findings.error(
            field("path"),
            format!("`{}` cannot be asked for as it stands", http.path.escape_debug()),
            "write path and query as they stand in a URL: a space is `%20`",
        );
    } else if http.path.len() > MAX_PATH {
        let help = format!("write at most {MAX_PATH} bytes");
        findings.error(field("path"), format!("a path of {} bytes", http.path.len()), help);
    }
    if let Some(host) = &http.host {
        let (name, port) = split_port(host);
        if host_name(name).is_none() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            findings.error(
                field("host"),
                format!("`{}` is not a host", host.escape_debug()),
                "write a name such as `api.internal`, with a port if it has one",
            );
        }
    }
    for (name, value) in &http.headers {
        let place = format!("{path}.headers.{}", crate::reader::quote_key(name));
        if check_field_name(name, &place, findings) {
            check_own(name, &place, findings);
        }
        check_field_value(value, &place, findings);
    }
    if http.expect_status.is_empty() {
        findings.error(
            field("expect_status"),
            "the list is empty, so no answer is healthy",
            "name a status, or remove the field",
        );
    }
    if http.expect_body.len() > MAX_EXPECTED {
        findings.error(
            field("expect_body"),
            format!("a text of {} bytes", http.expect_body.len()),
            format!("write at most {MAX_EXPECTED} bytes"),
        );
    }
}

fn check_own(name: &str, path: &str, findings: &mut Findings<'_>) {
    let lower = name.to_ascii_lowercase();
    if lower == "host" {
        findings.error(path, "`Host` has a field of its own", "write `host: …` beside `headers`");
    } else if OWN_FIELDS.contains(&lower.as_str()) {
        findings.error(
            path,
            format!("`{name}` is written by Ringway itself"),
            "remove it: a check is a GET without a body, on a connection of its own",
        );
    }
}

fn check_outliers(
    outliers: &OutlierDetection,
    targets: &[Target],
    path: &str,
    findings: &mut Findings<'_>,
) {
    let failures = outliers.consecutive_failures;
    check_number(failures, 1..=MAX_FAILURES, format!("{path}.consecutive_failures"), findings);
    if outliers.ejection_time < MIN_INTERVAL {
        findings.error(
            format!("{path}.ejection_time"),
            format!("an ejection of `{}` is too short", outliers.ejection_time),
            format!("write at least `{MIN_INTERVAL}`"),
        );
    } else if outliers.max_ejection_time < outliers.ejection_time {
        findings.error(
            format!("{path}.max_ejection_time"),
            format!(
                "the longest ejection, `{}`, is shorter than the first",
                outliers.max_ejection_time
            ),
            format!("write at least `ejection_time`, `{}`", outliers.ejection_time),
        );
    }
    let place = format!("{path}.max_ejected");
    check_number(outliers.max_ejected, 1..=100, place, findings);
    // What a name resolves to may be any number of endpoints.
    let known = targets.iter().all(|target| target.addr.host.parse::<std::net::IpAddr>().is_ok());
    let share = targets.len() * outliers.max_ejected as usize;
    if known && (1..100).contains(&share) {
        findings.warn(
            path,
            format!(
                "no endpoint is ever ejected: one of {} is more than {} per cent",
                targets.len(),
                outliers.max_ejected
            ),
            "raise `max_ejected`, or remove `outlier_detection`",
        );
    }
}

fn check_number(
    number: u32,
    bounds: std::ops::RangeInclusive<u32>,
    path: String,
    findings: &mut Findings<'_>,
) {
    if !bounds.contains(&number) {
        findings.error(
            path,
            format!("`{number}` is out of bounds"),
            format!("write a number from {} to {}", bounds.start(), bounds.end()),
        );
    }
}
