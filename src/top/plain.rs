//! What `--once` prints: the same as the screen, as text in columns for pipes and scripts.

use std::fmt::Write;

use ringway_engine::status::Status;

use super::ask::Told;
use super::screen::{self, Sort};
use super::view::{age, error_row, per_wait, reuse, route_row, state_name};
use crate::check::counted;

/// All of it, with a line end after the last line.
pub(super) fn text(told: &Told, sort: Sort) -> String {
    let status = &told.status;
    let mut text = format!(
        "ringway {}  {}  {}  up {}  {}\n",
        status.version,
        state_name(status.state),
        status.driver,
        age(status.uptime_seconds),
        counted(status.routes, "route")
    );
    if let Some(failure) = &status.reloads.failure {
        let _ = writeln!(text, "the last reload failed: {}", failure.lines().next().unwrap_or(""));
    }
    workers(&mut text, status, sort);
    endpoints(&mut text, status, sort);
    let rows = told.routes.routes.iter().map(|route| route_row(route).map(clean)).collect();
    columns(&mut text, ["ROUTE", "TAKES", "DOES", "FILTERS"], rows, 4);
    let rows = told.errors.errors.iter().map(|error| error_row(error).map(clean)).collect();
    columns(&mut text, ["UTC", "REQUEST", "STATUS", "WHAT HAPPENED", "WHERE"], rows, 5);
    text
}

fn workers(text: &mut String, status: &Status, sort: Sort) {
    let mut rows: Vec<_> = status.workers.iter().map(|worker| (worker, None)).collect();
    screen::sort_workers(&mut rows, sort);
    let rows = rows.iter().map(|(worker, _)| {
        [
            worker.id.to_string(),
            worker.connections.to_string(),
            worker.requests.to_string(),
            worker.errors.to_string(),
            worker.handed_over.to_string(),
            per_wait(worker),
        ]
    });
    let names = ["WORKER", "CONNECTIONS", "REQUESTS", "ERRORS", "HANDED OVER", "COMPLETIONS/WAIT"];
    columns(text, names, rows.collect(), 0);
}

fn endpoints(text: &mut String, status: &Status, sort: Sort) {
    let rows = screen::endpoints(status, sort).into_iter().map(|(upstream, endpoint)| {
        [
            clean(upstream.to_owned()),
            clean(endpoint.address.clone()),
            endpoint.state.clone(),
            endpoint.set_weight.unwrap_or(endpoint.weight).to_string(),
            endpoint.requests.to_string(),
            endpoint.failures.to_string(),
            endpoint.in_flight.to_string(),
            reuse(endpoint),
        ]
    });
    let names =
        ["UPSTREAM", "ENDPOINT", "STATE", "WEIGHT", "REQUESTS", "FAILED", "IN FLIGHT", "REUSE"];
    columns(text, names, rows.collect(), 3);
}

/// A table after an empty line: the first `left` columns begin at the left, the others end at the
/// right.
fn columns<const N: usize>(
    text: &mut String,
    names: [&str; N],
    rows: Vec<[String; N]>,
    left: usize,
) {
    let names = names.map(str::to_owned);
    let all = || std::iter::once(&names).chain(&rows);
    let wide: [usize; N] = std::array::from_fn(|at| {
        all().map(|row| row[at].chars().count()).max().unwrap_or_default()
    });
    text.push('\n');
    for row in all() {
        let cells = row.iter().zip(wide).enumerate().map(|(at, (cell, wide))| match at < left {
            true => format!("{cell:<wide$}"),
            false => format!("{cell:>wide$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// A control character in a name must not steer the terminal.
fn clean(text: String) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::screen::tests::told;

    #[test]
    fn columns_stand_below_each_other() {
        let text = text(&told([100, 20], 3700.0), Sort::Requests);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ringway 1.2.3  ready  epoll  up 1 h 1 min  1 route");
        let head = "WORKER  CONNECTIONS  REQUESTS  ERRORS  HANDED OVER  COMPLETIONS/WAIT";
        assert_eq!(lines[2], head);
        assert_eq!(
            lines[3],
            "     0           10       100       0            0               1.5"
        );
        assert_eq!(
            lines[4],
            "     1            9        20       1            0                 –"
        );
        let head = "UPSTREAM  ENDPOINT     STATE    WEIGHT  REQUESTS  FAILED  IN FLIGHT  REUSE";
        assert_eq!(lines[6], head);
        assert_eq!(
            lines[7],
            "shop      10.0.0.2:80  ejected       1         7       3          0   75 %"
        );
        assert_eq!(lines[11], "all    prefix /  forward shop  -");
        assert_eq!(lines[14], "00:00:00  GET /lost  502     the endpoint refused");
    }
}
