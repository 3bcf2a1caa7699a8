//! Traefik, by its file provider.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;

use super::{Duty, Prepared, ROUTES, Setup};

pub(super) fn prepare(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let Setup { listen, origin, .. } = setup;
    let gateway = setup.duty == Duty::Gateway;
    let mut routers = String::from(
        "    all:\n      rule: \"PathPrefix(`/`)\"\n      service: origin\n      \
         entryPoints: [web]\n",
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
    let dynamic = setup.write("dynamic.yaml", &dynamic)?;
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
         providers: {{file: {{filename: \"{}\", watch: false}}}}\n\
         global: {{checkNewVersion: false, sendAnonymousUsage: false}}\n\
         log: {{level: ERROR}}\n",
        dynamic.display()
    );
    let file = setup.write("traefik.yaml", &text)?;
    let mut command = Command::new(program);
    command.arg(format!("--configfile={}", file.display()));
    command.env("GOMAXPROCS", setup.workers().to_string());
    let lacks = if gateway { "no JWT check in the free edition" } else { "no request id" };
    Ok(Prepared { command, file, lacks, reload: None })
}
