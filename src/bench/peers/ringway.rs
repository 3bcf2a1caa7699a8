//! Ringway itself.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::{Duty, Prepared, ROUTES, Reload, SECRET, Setup};

pub(super) fn prepare(program: &Path, setup: &Setup, driver: &str) -> io::Result<Prepared> {
    let cores: Vec<_> = setup.cores.iter().map(usize::to_string).collect();
    let mut yaml = format!(
        "workers: {{count: {}, cores: \"{}\", driver: {driver}}}\n\
         server: {{listen: [\"{}\"]}}\n\
         log: {{level: warn}}\n\
         upstreams:\n  origin:\n    targets: [{{addr: \"http://{}\"}}]\n",
        setup.workers(),
        cores.join(","),
        setup.listen,
        setup.origin
    );
    if let Some(log) = setup.log() {
        let log = log.display();
        let _ = write!(
            yaml,
            "global_filters:\n  - logging: {{format: json, output: {{file: \"{log}\"}}}}\n"
        );
    }
    if setup.duty == Duty::Gateway {
        yaml += "  - metrics: {enabled: true}\n";
    }
    yaml += "routes:\n";
    if setup.duty == Duty::Gateway {
        for route in 0..ROUTES {
            let _ = write!(
                yaml,
                "  - name: service-{route}\n    prefix: /service-{route}\n    strip_prefix: true\n\
                 \x20   upstream: origin\n    filters:\n      \
                 - auth:\n          {{type: jwt, secret: \"{SECRET}\", \
                 claims_to_headers: {{sub: X-User-ID}}}}\n      \
                 - rate_limit: {{qps: 10000000}}\n      \
                 - headers: {{request: {{set: {{X-Gateway: ringway}}}}, \
                 response: {{set: {{X-Frame-Options: DENY}}}}}}\n"
            );
        }
    }
    yaml += "  - {name: all, prefix: /, upstream: origin}\n";
    let file = setup.write("ringway.yaml", &yaml)?;
    let mut command = Command::new(program);
    command.args(["run", "-c"]).arg(&file);
    Ok(Prepared { command, file, lacks: "", reload: Some(Reload::Signal(Signal::HUP)) })
}
