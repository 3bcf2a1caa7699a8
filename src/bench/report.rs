//! The report: tables for people, the same as JSON, and a chart a row.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use plotters::prelude::*;
use serde::Serialize;

use super::measure::{DIRECT, Entry, Figures};
use super::rows::Row;

/// Below this share of its cores a gateway was not what limited a closed loop.
const SATURATED: f64 = 0.95;

/// Behind the name of a gateway that was not the bottleneck.
const MARK: &str = "*";

/// Everything that was measured, and on what.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) host: Host,
    /// How long each gateway was measured in each round.
    pub(super) seconds: f64,
    pub(super) rounds: usize,
    /// Whether all wrote an access log, in rows that do not say so.
    pub(super) access_log: bool,
    pub(super) gateways: Vec<Gateway>,
    /// Those that are not installed.
    pub(super) missing: Vec<&'static str>,
    pub(super) rows: Vec<RowReport>,
}

/// The machine.
#[derive(Debug, Serialize)]
pub(super) struct Host {
    pub(super) date: String,
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) gateway_cores: Vec<usize>,
    pub(super) load_core: usize,
    /// Of the load and the origin: `io_uring` or `epoll`.
    pub(super) load_driver: &'static str,
    /// Processes that wanted a core when the comparison began, over the minute before.
    pub(super) load_average: f64,
}

/// One that took part.
#[derive(Debug, Serialize)]
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) version: String,
}

/// One row of the comparison.
#[derive(Debug, Serialize)]
pub(super) struct RowReport {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) summaries: Vec<Summary>,
    pub(super) entries: Vec<Entry>,
}

/// What came of one gateway's rounds.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) name: String,
    /// The median of each figure; none where it could not take part.
    pub(super) median: Option<Figures>,
    /// The fewest and the most requests a second of a round.
    pub(super) spread: (f64, f64),
    /// Ringway's requests a second beside its own, the median of the pairs of each round.
    pub(super) ringway_to_it: Option<f64>,
    /// Microseconds over the direct path, half of the requests and 99 of 100.
    pub(super) added_us: Option<(i64, i64)>,
    /// False where a closed loop left the gateway idle: the load or the origin was the bottleneck.
    pub(super) saturated: bool,
    pub(super) notes: Vec<String>,
}

impl RowReport {
    pub(super) fn new(row: &Row, entries: Vec<Entry>) -> RowReport {
        let closed = row.work.is_closed_loop();
        let summaries = entries.iter().map(|entry| Summary::of(entry, &entries, closed)).collect();
        RowReport { name: row.name.clone(), what: row.what.clone(), summaries, entries }
    }

    /// The row as a table, for a terminal or for Markdown.
    fn table(&self) -> Table {
        let lines = self.summaries.iter().filter_map(Summary::line).collect();
        let notes = self.summaries.iter().filter(|summary| !summary.notes.is_empty());
        let notes = notes
            .map(|summary| format!("{}: {}", summary.name, summary.notes.join("; ")))
            .collect();
        Table { lines, notes }
    }

    /// The row for a terminal.
    pub(super) fn text(&self) -> String {
        format!("{} ({})\n{}", self.what, self.name, self.table().text())
    }

    /// A bar for each gateway's requests a second.
    fn chart(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xeb);
        const THEIRS: RGBColor = RGBColor(0x8c, 0x95, 0x9f);
        const BAR: i32 = 28;
        let gateways = self.summaries.iter().filter(|summary| summary.name != DIRECT);
        let bars = gateways.filter_map(|summary| {
            Some((summary.name.as_str(), summary.median.as_ref()?.requests_per_second))
        });
        let bars: Vec<(&str, f64)> = bars.collect();
        let most = bars.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
        let height = 52 + BAR.unsigned_abs() * bars.len() as u32;
        let area = SVGBackend::new(path, (760, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let title = format!("Requests a second: {}", self.what);
        area.draw(&Text::new(title, (12, 12), ("sans-serif", 16).into_font()))?;
        for (top, (name, rate)) in (44..).step_by(BAR.unsigned_abs() as usize).zip(&bars) {
            let end = 150 + (rate / most * 520.0) as i32;
            let colour = if name.starts_with("ringway") { OURS } else { THEIRS };
            area.draw(&Text::new(*name, (12, top + 3), ("sans-serif", 14).into_font()))?;
            area.draw(&Rectangle::new([(150, top), (end, top + 20)], colour.filled()))?;
            let number = number(*rate);
            area.draw(&Text::new(number, (end + 6, top + 3), ("sans-serif", 14).into_font()))?;
        }
        area.present()?;
        Ok(())
    }
}

impl Summary {
    fn of(entry: &Entry, all: &[Entry], closed: bool) -> Summary {
        let median = Figures::median(&entry.rounds);
        let beside = |name: &str| all.iter().find(|entry| entry.name == name);
        let direct = beside(DIRECT).and_then(|direct| Figures::median(&direct.rounds));
        let gateway = entry.name != DIRECT;
        let added = |of: fn(&Figures) -> u64| {
            let (with, without) = (median.as_ref()?, direct.as_ref()?);
            gateway.then(|| of(with) as i64 - of(without) as i64)
        };
        let rates: Vec<f64> = entry.rounds.iter().map(|round| round.requests_per_second).collect();
        let busy = median.as_ref().and_then(|figures| figures.busy);
        let saturated = !gateway || !closed || busy.is_none_or(|busy| busy >= SATURATED);
        let ringway = beside("ringway").filter(|_| gateway);
        Summary {
            name: entry.name.clone(),
            spread: (rates.iter().copied().fold(f64::INFINITY, f64::min), most(&rates)),
            ringway_to_it: ringway.and_then(|ringway| ringway.ratio_to(entry)),
            added_us: added(|f| f.p50_us).zip(added(|f| f.p99_us)),
            saturated,
            notes: notes(entry, median.as_ref(), saturated),
            median,
        }
    }

    /// A cell for each of [`COLUMNS`]; none without figures.
    fn line(&self) -> Option<Vec<String>> {
        let figures = self.median.as_ref()?;
        let mark = if self.saturated { "" } else { MARK };
        let (p50, p99) = self
            .added_us
            .map_or_else(Default::default, |(p50, p99)| (p50.to_string(), p99.to_string()));
        let gateway = self.name != DIRECT;
        let only = |text: String| if gateway { text } else { String::new() };
        Some(vec![
            format!("{}{mark}", self.name),
            number(figures.requests_per_second),
            format!("{}–{}", number(self.spread.0), number(self.spread.1)),
            self.ringway_to_it.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            figures.cpu_us.filter(|_| gateway).map(|us| format!("{us:.1}")).unwrap_or_default(),
            number(figures.p50_us as f64),
            number(figures.p90_us as f64),
            number(figures.p99_us as f64),
            number(figures.p999_us as f64),
            p50,
            p99,
            only(format!("{:.1}", figures.peak_rss_bytes as f64 / (1024.0 * 1024.0))),
            only(figures.upstream_connections.to_string()),
            figures.errors.to_string(),
        ])
    }
}

fn most(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

/// What has to be known about a gateway in a row.
fn notes(entry: &Entry, median: Option<&Figures>, saturated: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &entry.cannot {
        notes.push(format!("left out: {why}"));
    }
    if let Some(why) = &entry.failed {
        notes.push(format!("failed: {why}"));
    }
    if let Some(figures) = median {
        if !saturated {
            let busy = figures.busy.unwrap_or_default() * 100.0;
            notes.push(format!("used {busy:.0} % of its cores, so was not the bottleneck"));
        }
        if let Some(error) = &figures.first_error {
            notes.push(format!("the first error: {error}"));
        }
        if let Some(even) = figures.evenness {
            notes.push(format!("the least busy worker had {:.0} % of the busiest", even * 100.0));
        }
        if let Some(bytes) = figures.bytes_per_connection.filter(|_| entry.name != DIRECT) {
            notes.push(format!("{:.2} KiB a connection", bytes / 1024.0));
        }
    }
    if !entry.lacks.is_empty() {
        notes.push(format!("lacks: {}", entry.lacks));
    }
    notes
}

/// A whole number with its thousands apart.
pub(super) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The head of every table.
const COLUMNS: [&str; 14] = [
    "gateway",
    "req/s",
    "spread",
    "Ringway to it",
    "CPU µs/req",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "added p50",
    "added p99",
    "peak MiB",
    "upstream",
    "errors",
];

struct Table {
    lines: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// With columns as wide as their widest cell.
    fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.lines.iter().map(|line| line[column].chars().count());
            cells.chain([COLUMNS[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            for (column, (cell, width)) in cells.zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                let fill = " ".repeat(width - cell.chars().count());
                let _ = match column {
                    0 => write!(text, "{cell}{fill}"),
                    _ => write!(text, "{gap}{fill}{cell}"),
                };
            }
            text.push('\n');
        };
        line(&mut COLUMNS.into_iter());
        for cells in &self.lines {
            line(&mut cells.iter().map(String::as_str));
        }
        self.notes.iter().for_each(|note| text += &format!("  {note}\n"));
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|{}\n", COLUMNS.join(" | "), "--:|".repeat(13));
        for cells in &self.lines {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        self.notes.iter().for_each(|note| text += &format!("- {note}\n"));
        text
    }
}

impl Report {
    /// What went wrong, and with whom: gateways that could not be started or did not answer, and
    /// requests that Ringway failed. Those that others failed are in the report and their own
    /// affair.
    pub(super) fn failures(&self) -> Vec<(&str, String)> {
        let rows = self.rows.iter();
        let each =
            rows.flat_map(|row| row.summaries.iter().zip(&row.entries).map(move |s| (row, s)));
        let failed = each.filter_map(|(row, (summary, entry))| {
            let errors = summary.median.as_ref().and_then(|figures| figures.first_error.clone());
            let ours = entry.name.starts_with("ringway");
            let why = entry.failed.clone().or(errors.filter(|_| ours))?;
            Some((entry.name.as_str(), format!("{}: {}: {why}", row.name, entry.name)))
        });
        failed.collect()
    }

    /// The whole report in Markdown.
    fn markdown(&self) -> String {
        let Host { date, kernel, processor, cores, gateway_cores, load_core, load_driver, .. } =
            &self.host;
        let log = if self.access_log { "on" } else { "off" };
        let mut text = format!(
            "# Ringway beside its peers\n\n\
             {date}; {processor}, {cores} cores, kernel {kernel}; gateways on core \
             {gateway_cores:?} (one worker on the first, where a row does not say otherwise), load \
             and origin on core {load_core} ({load_driver}); load average before the start \
             {average:.1}. {rounds} interleaved rounds of {seconds} s each; figures are medians of \
             the rounds, the spread is that of requests a second. *Ringway to it* is the median \
             of Ringway's requests a second divided by the other's in the same round: above 1, \
             Ringway is faster. Latencies are microseconds; *added* is what a gateway adds to the \
             direct path under the same load. *Upstream* counts connections opened to the origin, \
             *errors* requests that failed, in all rounds together. Access logs are {log} in rows \
             that do not say otherwise. A gateway marked {mark} used less than 95 % of its cores: \
             the load or the origin was the bottleneck, and its requests a second are a lower \
             bound.\n\n",
            average = self.host.load_average,
            rounds = self.rounds,
            seconds = self.seconds,
            mark = MARK.replace('*', "\\*"),
        );
        for Gateway { name, version } in &self.gateways {
            let _ = writeln!(text, "- {name} {version}");
        }
        if !self.missing.is_empty() {
            let _ = writeln!(text, "- not installed: {}", self.missing.join(", "));
        }
        for row in &self.rows {
            let (what, name, table) = (&row.what, &row.name, row.table().markdown());
            let _ = write!(text, "\n## {what}\n\n`{name}`\n\n{table}\n![{what}]({name}.svg)\n");
        }
        text
    }

    /// Writes report.md, report.json and the charts.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("report.md"), self.markdown())?;
        fs::write(folder.join("report.json"), serde_json::to_string_pretty(self)?)?;
        for row in &self.rows {
            let path = folder.join(format!("{}.svg", row.name));
            row.chart(&path).map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows;

    /// An entry whose rounds had these requests a second and used this share of a core.
    fn entry(name: &str, rounds: &[(f64, f64)]) -> Entry {
        let figures = |&(requests_per_second, busy): &(f64, f64)| Figures {
            requests_per_second,
            busy: Some(busy),
            p50_us: 100,
            p99_us: 900,
            ..Figures::default()
        };
        Entry { rounds: rounds.iter().map(figures).collect(), ..Entry::new(name) }
    }

    fn report(entries: Vec<Entry>) -> RowReport {
        let row = rows::all(rows::IDLE).into_iter().find(|row| row.name == "get-64").unwrap();
        RowReport::new(&row, entries)
    }

    #[test]
    fn ratios_are_of_pairs_and_not_of_medians() {
        let row = report(vec![
            entry(DIRECT, &[(9000.0, 0.0)]),
            entry("ringway", &[(100.0, 1.0), (300.0, 1.0), (200.0, 1.0)]),
            entry("nginx", &[(50.0, 1.0), (100.0, 1.0), (200.0, 1.0)]),
        ]);
        let [direct, ringway, nginx] = row.summaries.as_slice() else { panic!("three entries") };
        assert_eq!((direct.ringway_to_it, direct.added_us), (None, None));
        assert_eq!((ringway.ringway_to_it, ringway.spread), (Some(1.0), (100.0, 300.0)));
        assert_eq!((nginx.ringway_to_it, nginx.added_us), (Some(2.0), Some((0, 0))));
    }

    #[test]
    fn a_gateway_that_was_not_the_bottleneck_is_marked() {
        let row = report(vec![entry("ringway", &[(100.0, 0.99)]), entry("nginx", &[(9.0, 0.9)])]);
        assert!(row.summaries[0].saturated && row.summaries[0].notes.is_empty());
        assert!(row.text().contains("nginx*"), "{}", row.text());
        assert!(row.text().contains("nginx: used 90 % of its cores"), "{}", row.text());
    }

    #[test]
    fn one_that_could_not_take_part_is_told_with_the_reason() {
        let envoy = Entry { cannot: Some("no such route".to_owned()), ..entry("envoy", &[]) };
        let row = report(vec![entry("ringway", &[(1234.5, 1.0)]), envoy]);
        assert!(row.text().contains("envoy: left out: no such route"), "{}", row.text());
        assert!(row.text().contains("1,234"), "{}", row.text());
    }

    #[test]
    fn thousands_stand_apart() {
        let text = |value| number(value);
        assert_eq!(text(0.0), "0");
        assert_eq!(text(999.4), "999");
        assert_eq!(text(1000.0), "1,000");
        assert_eq!(text(1_234_567.0), "1,234,567");
    }
}
