//! Traefik, by its file provider.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;

use super::{Duty, NUMBER, Prepared, ROUTES, Reload, Setup};

pub(super) fn prepare(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let Setup { listen, origin, .. } = setup;
    let gateway = setup.duty == Duty::Gateway;
    // What changes at a reload is the priority of the last route, which costs a request nothing.
    let priority =
        if setup.reloads { format!("      priority: {NUMBER}\n") } else { String::new() };
    let mut routers = format!(
        "    all:\n      rule: \"PathPrefix(`/`)\"\n      service: origin\n      \
         entryPoints: [web]\n{priority}",
    );
    let mut middlewares = String::new();
    if gateway {
        middlewares += "  middlewares:
    limit: {rateLimit: {average: 10000000, burst: 10000000}}
    change:
      headers:
        customRequestHeaders: {X-Gateway: traefik}
        customResponseHeaders: {X-Frame-Options: DENY}
";
        for route in 0..ROUTES {
            let _ = writeln!(
                middlewares,
                "    strip-{route}: {{stripPrefix: {{prefixes: [\"/service-{route}\"]}}}}"
            );
            let _ = write!(
                routers,
                "    service-{route}:\n      rule: \"PathPrefix(`/service-{route}/`)\"\n      \
                 service: origin\n      entryPoints: [web]\n      \
                 middlewares: [limit, change, strip-{route}]\n"
            );
        }
    }
    let dynamic = format!(
        "http:\n  routers:\n{routers}{middlewares}  services:\n    origin:\n      loadBalancer:\n\
         \x20       servers: [{{url: \"http://{origin}\"}}]\n        serversTransport: kept\n  \
         serversTransports:\n    kept: {{maxIdleConnsPerHost: 4096}}\n"
    );
    let file = setup.write_watched("dynamic.yaml", &dynamic)?;
    // Every second is more often than it looks, unless told so.
    let often = if setup.reloads { "providersThrottleDuration: 100ms, " } else { "" };
    let watch = setup.reloads;
    let provider = format!("{often}file: {{filename: \"{}\", watch: {watch}}}", file.display());
    let reload = setup.reloads.then_some(Reload::File(file, dynamic));
    let mut log = setup.log().map_or_else(String::new, |log| {
        let log = log.display();
        format!("accessLog: {{filePath: \"{log}\", format: json, bufferingSize: 1000}}\n")
    });
    if gateway {
        log += "metrics: {prometheus: {addRoutersLabels: true, entryPoint: metrics}}\n";
    }
    let metrics = if gateway { "  metrics: {address: \"127.0.0.1:0\"}\n" } else { "" };
    let text = format!(
        "entryPoints:\n  web: {{address: \"{listen}\"}}\n{metrics}{log}\
         providers: {{{provider}}}\n\
         global: {{checkNewVersion: false, sendAnonymousUsage: false}}\n\
         log: {{level: ERROR}}\n",
    );
    let file = setup.write("traefik.yaml", &text)?;
    let mut command = Command::new(program);
    command.arg(format!("--configfile={}", file.display()));
    command.env("GOMAXPROCS", setup.workers().to_string());
    let lacks = if gateway { "no JWT check in the free edition" } else { "no request id" };
    Ok(Prepared { command, file, lacks, reload })
}
