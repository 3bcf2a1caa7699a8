//! All that is counted, as Prometheus reads it. Names and units follow its conventions.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::carried::{Carried, OwnedLabels, of_route};
use crate::filter::{Histogram, Measure};
use crate::live::Live;
use crate::metrics::{Kind, Shard, Text, process};
use crate::shared::SharedCount;
use crate::snapshot::Snapshot;
use crate::upstream::{EndpointView, Standing};
use crate::worker::Common;

/// Everything that is counted now. Takes no lock that a worker waits for.
pub(crate) fn encode(common: &Common) -> String {
    let mut text = Text::default();
    gateway(&mut text, common);
    workers(&mut text, common);
    failures(&mut text, common);
    endpoints(&mut text, &common.registry.list());
    logs(&mut text, common);
    filters(&mut text, &common.live);
    process_usage(&mut text, common);
    text.finish()
}

fn seconds(time: Option<SystemTime>) -> f64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.unwrap_or_default().as_millis() as f64 / 1000.0
}

fn gateway(text: &mut Text, common: &Common) {
    text.family(
        "ringway_build_info",
        Kind::Gauge,
        "Always 1, with what was built and how it runs.",
    );
    let driver = if common.io_uring { "io_uring" } else { "epoll" };
    text.sample(&[("version", env!("CARGO_PKG_VERSION")), ("driver", driver)], 1);
    let reloads = common.live.reloads();
    text.family("ringway_config_reloads_total", Kind::Counter, "Reloads of the file by result.");
    text.sample(&[("result", "success")], reloads.good);
    text.sample(&[("result", "failure")], reloads.failed);
    text.single(
        "ringway_config_last_reload_successful",
        Kind::Gauge,
        "Whether the last reload was adopted; 1 before the first.",
        u8::from(reloads.failure.is_none()),
    );
    text.single(
        "ringway_config_last_reload_success_timestamp_seconds",
        Kind::Gauge,
        "When the running configuration was adopted.",
        seconds(reloads.last_good.or(Some(common.live.started))),
    );
    let (routes, upstreams, _) = common.live.snapshot().counts();
    text.single("ringway_routes", Kind::Gauge, "Routes of the running configuration.", routes);
    text.single("ringway_upstreams", Kind::Gauge, "Upstreams of it.", upstreams);
}

/// A number of each worker: its name, kind, help, place in the shard, and how many of its units
/// are one.
type OfWorker = (&'static str, Kind, &'static str, fn(&Shard) -> &SharedCount, f64);

const OF_WORKERS: [OfWorker; 17] = [
    (
        "ringway_connections",
        Kind::Gauge,
        "Connections of clients that are open.",
        |shard| &shard.connections,
        1.0,
    ),
    (
        "ringway_connections_accepted_total",
        Kind::Counter,
        "Connections of clients that were accepted or taken over.",
        |shard| &shard.accepted,
        1.0,
    ),
    (
        "ringway_connections_handed_over_total",
        Kind::Counter,
        "Connections that were handed to a worker with fewer.",
        |shard| &shard.handed_over,
        1.0,
    ),
    (
        "ringway_worker_requests_active",
        Kind::Gauge,
        "Requests under way.",
        |shard| &shard.active,
        1.0,
    ),
    (
        "ringway_worker_requests_total",
        Kind::Counter,
        "Requests that have ended, refused ones included.",
        |shard| &shard.requests,
        1.0,
    ),
    (
        "ringway_worker_failed_requests_total",
        Kind::Counter,
        "Requests that ended with an error.",
        |shard| &shard.errors,
        1.0,
    ),
    (
        "ringway_request_body_bytes_total",
        Kind::Counter,
        "Bytes of request bodies that were received.",
        |shard| &shard.bytes_in,
        1.0,
    ),
    (
        "ringway_response_body_bytes_total",
        Kind::Counter,
        "Bytes of response bodies that were sent.",
        |shard| &shard.bytes_out,
        1.0,
    ),
    (
        "ringway_upstream_connects_total",
        Kind::Counter,
        "Connections made to upstreams.",
        |shard| &shard.connects,
        1.0,
    ),
    (
        "ringway_upstream_reuses_total",
        Kind::Counter,
        "Attempts that found a connection in the pool.",
        |shard| &shard.reuses,
        1.0,
    ),
    (
        "ringway_panics_total",
        Kind::Counter,
        "Connections that were lost to a panic.",
        |shard| &shard.panics,
        1.0,
    ),
    (
        "ringway_worker_cpu_seconds_total",
        Kind::Counter,
        "Processor time of the worker.",
        |shard| &shard.load.cpu,
        1e6,
    ),
    (
        "ringway_worker_waits_total",
        Kind::Counter,
        "How often the worker waited for events: its turns with nothing left to do.",
        |shard| &shard.load.waits,
        1.0,
    ),
    (
        "ringway_worker_preemptions_total",
        Kind::Counter,
        "How often another thread took the worker's core while it had something to do.",
        |shard| &shard.load.preemptions,
        1.0,
    ),
    (
        "ringway_worker_stalls_total",
        Kind::Counter,
        "How often the worker's heartbeat came more than 10 ms late.",
        |shard| &shard.load.stalls,
        1.0,
    ),
    (
        "ringway_worker_stalled_seconds_total",
        Kind::Counter,
        "By how much it came late then, together.",
        |shard| &shard.load.stalled,
        1e6,
    ),
    (
        "ringway_worker_longest_stall_seconds",
        Kind::Gauge,
        "By how much it came late at most since the start.",
        |shard| &shard.load.longest_stall,
        1e6,
    ),
];

fn workers(text: &mut Text, common: &Common) {
    completions(text, common);
    for (name, kind, help, of, unit) in OF_WORKERS {
        text.family(name, kind, help);
        for (worker, colleague) in common.colleagues.iter().enumerate() {
            let value = of(&colleague.shard).get() as f64 / unit;
            text.sample(&[("worker", &worker.to_string())], value);
        }
    }
}

/// Completions of the workers that have a ring; on epoll, the name without a number.
fn completions(text: &mut Text, common: &Common) {
    let help = "What the kernel completed in the worker's ring: accepts, reads, writes, timers.";
    text.family("ringway_worker_completions_total", Kind::Counter, help);
    for (worker, colleague) in common.colleagues.iter().enumerate() {
        if let Some(value) = colleague.shard.load.completions() {
            text.sample(&[("worker", &worker.to_string())], value);
        }
    }
}

/// Errors of all workers together, and those of request heads by themselves.
fn failures(text: &mut Text, common: &Common) {
    let mut sums = BTreeMap::<_, u64>::new();
    for colleague in &common.colleagues {
        for (words, count) in colleague.shard.failures.iter() {
            *sums.entry(words).or_default() += count;
        }
    }
    let help =
        "Requests that ended with an error, be it that a fallback hid it, by step and error.";
    text.family("ringway_errors_total", Kind::Counter, help);
    for ((phase, error), count) in &sums {
        text.sample(&[("phase", phase), ("error", error)], count);
    }
    let help = "Request heads that were refused, by reason.";
    text.family("ringway_rejected_heads_total", Kind::Counter, help);
    for ((_, reason), count) in sums.iter().filter(|((phase, _), _)| *phase == "request_head") {
        text.sample(&[("reason", reason)], count);
    }
}

/// A number of each endpoint.
type OfEndpoint = (&'static str, Kind, &'static str, fn(&EndpointView) -> u64);

const OF_ENDPOINTS: [OfEndpoint; 8] = [
    (
        "ringway_endpoint_up",
        Kind::Gauge,
        "Whether the endpoint is neither found unhealthy nor ejected.",
        |view| u64::from(!matches!(view.state, Standing::Unhealthy | Standing::Ejected)),
    ),
    (
        "ringway_endpoint_draining",
        Kind::Gauge,
        "Whether the endpoint gets no new requests because somebody said so.",
        |view| u64::from(matches!(view.state, Standing::Draining)),
    ),
    ("ringway_endpoint_weight", Kind::Gauge, "The endpoint's share beside the others'.", |view| {
        view.set_weight.unwrap_or(view.weight).into()
    }),
    (
        "ringway_endpoint_requests_active",
        Kind::Gauge,
        "Attempts under way at the endpoint.",
        |view| view.counts.in_flight,
    ),
    ("ringway_endpoint_requests_total", Kind::Counter, "Attempts begun at the endpoint.", |view| {
        view.counts.requests
    }),
    (
        "ringway_endpoint_failures_total",
        Kind::Counter,
        "Attempts that got no answer from the endpoint, a broken one, or one of 500 and above.",
        |view| view.counts.failures,
    ),
    (
        "ringway_endpoint_connects_total",
        Kind::Counter,
        "Connections made to the endpoint.",
        |view| view.counts.connects,
    ),
    (
        "ringway_endpoint_reuses_total",
        Kind::Counter,
        "Attempts that found a connection to the endpoint in the pool.",
        |view| view.counts.reuses,
    ),
];

fn endpoints(text: &mut Text, views: &[EndpointView]) {
    for (name, kind, help, of) in OF_ENDPOINTS {
        text.family(name, kind, help);
        for view in views {
            let address = view.address.to_string();
            text.sample(&[("upstream", &view.upstream), ("endpoint", &address)], of(view));
        }
    }
}

fn logs(text: &mut Text, common: &Common) {
    let outputs = common.logs.list();
    let help = "Log records that were written.";
    text.family("ringway_log_records_total", Kind::Counter, help);
    for view in &outputs {
        text.sample(&[("output", &view.output)], view.written);
    }
    let help = "Log records that were dropped because their output did not keep up.";
    text.family("ringway_log_records_dropped_total", Kind::Counter, help);
    for view in &outputs {
        text.sample(&[("output", &view.output)], view.dropped);
    }
    text.family("ringway_log_output_up", Kind::Gauge, "Whether the output can be written to.");
    for view in &outputs {
        text.sample(&[("output", &view.output)], u8::from(!view.failing));
    }
}

/// What filters count, family by family, by name and with the route's.
#[derive(Default)]
struct Counted {
    measures: BTreeMap<&'static str, (Measure, BTreeMap<OwnedLabels, f64>)>,
    histograms: BTreeMap<&'static str, BTreeMap<OwnedLabels, Histogram>>,
}

/// Where several filters count under one name and labels, it is their sum, with what those before
/// a reload have counted; of a gauge, which may be a state or a bound, the largest.
fn count(snapshot: &Snapshot, carried: &Carried) -> Counted {
    let mut counted = Counted::default();
    let Counted { measures, histograms } = &mut counted;
    for (route, filter) in snapshot.filters() {
        let mut found = Vec::new();
        filter.measures(&mut found);
        for measure in found {
            let family = measures.entry(measure.name);
            let family = family.or_insert_with(|| (measure.clone(), BTreeMap::new()));
            let Measure { name, counter, labels, value, .. } = measure;
            let labels = of_route(route, labels);
            if counter {
                let begin = || carried.of(name, &labels);
                *family.1.entry(labels.clone()).or_insert_with(begin) += value;
            } else {
                let shown = family.1.entry(labels).or_insert(value);
                *shown = shown.max(value);
            }
        }
        let mut found = Vec::new();
        filter.histograms(&mut found);
        for histogram in found {
            let series = histograms.entry(histogram.name).or_default();
            series.entry(of_route(route, histogram.labels.clone())).or_insert(histogram);
        }
    }
    counted
}

/// What filters count, under the program's name.
fn filters(text: &mut Text, live: &Live) {
    let Counted { measures, histograms } = live.counted(count);
    for (name, (family, series)) in measures {
        let kind = if family.counter { Kind::Counter } else { Kind::Gauge };
        text.family(&format!("ringway_{name}"), kind, family.help);
        for (labels, value) in series {
            text.sample(&borrowed(&labels), value);
        }
    }
    for (name, series) in histograms {
        for (number, (labels, histogram)) in series.iter().enumerate() {
            if number == 0 {
                text.family(&format!("ringway_{name}"), Kind::Histogram, histogram.help);
            }
            let Histogram { bounds, counts, sum, .. } = histogram;
            text.histogram(&borrowed(labels), bounds, counts, *sum);
        }
    }
}

fn borrowed(labels: &OwnedLabels) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Under the names that every program has for these.
fn process_usage(text: &mut Text, common: &Common) {
    let used = process();
    let cpu = used.cpu.as_secs_f64();
    text.single("process_cpu_seconds_total", Kind::Counter, "Processor time.", cpu);
    let help = "Bytes in memory.";
    text.single("process_resident_memory_bytes", Kind::Gauge, help, used.resident);
    let help = "Bytes of address space.";
    text.single("process_virtual_memory_bytes", Kind::Gauge, help, used.virtual_memory);
    text.single("process_open_fds", Kind::Gauge, "Descriptors in use.", used.descriptors);
    let help = "The most descriptors that may be in use.";
    text.single("process_max_fds", Kind::Gauge, help, used.max_descriptors);
    text.single("process_threads", Kind::Gauge, "Threads.", used.threads);
    let started = seconds(Some(common.live.started));
    text.single("process_start_time_seconds", Kind::Gauge, "When it began to serve.", started);
}
