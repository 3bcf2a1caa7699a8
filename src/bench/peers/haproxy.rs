//! HAProxy, with as many threads and connections to the origin that are kept and shared.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::{Duty, Prepared, ROUTES, Reload, SECRET, Setup};

pub(super) fn prepare(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let first = setup.cores.first().copied().unwrap_or(0);
    let last = setup.cores.last().copied().unwrap_or(first);
    let mut frontend = String::new();
    if setup.log().is_some() {
        frontend += "  log stdout format raw local0\n  option httplog\n";
    }
    if setup.duty == Duty::Gateway {
        let mut map = String::new();
        for route in 0..ROUTES {
            let _ = writeln!(map, "/service-{route}/ service-{route}");
        }
        let map = setup.write("routes.map", &map)?;
        let _ = write!(
            frontend,
            "  http-request set-var(txn.route) path,map_beg({map})
  http-request set-var(txn.token) http_auth_bearer
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(\"HS256\",\"{SECRET}\") 1 }}
  http-request set-header X-User-ID %[var(txn.token),jwt_payload_query('$.sub')]
  stick-table type string size 100k expire 10s store http_req_rate(1s)
  http-request track-sc0 var(txn.route)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 10000000 }}
  http-request replace-path /service-[0-9]+(/.*) \\1
  http-request set-header X-Gateway haproxy
  http-response set-header X-Frame-Options DENY
",
            map = map.display()
        );
    }
    let text = format!(
        "global
  nbthread {threads}
  cpu-map auto:1/1-{threads} {first}-{last}
  maxconn {most}
  tune.bufsize 16384
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend all
  bind {listen} backlog 4096
{frontend}  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Real-IP %[src]
  unique-id-format %{{+X}}o%ci%cp%rt%pid
  unique-id-header X-Request-ID
  default_backend origin
backend origin
  server origin {origin} pool-max-conn 4096
",
        // It refuses to start with more than its descriptors suffice for, two a connection.
        most = setup.descriptors.saturating_sub(200) / 2,
        threads = setup.workers(),
        listen = setup.listen,
        origin = setup.origin,
    );
    let file = setup.write("haproxy.cfg", &text)?;
    let mut command = Command::new(program);
    command.arg("-W").arg("-db").arg("-f").arg(&file);
    let lacks = match setup.duty {
        Duty::Proxy => "",
        Duty::Gateway => {
            "its log goes through standard output; metrics only by frontend and server"
        }
    };
    Ok(Prepared { command, file, lacks, reload: Some(Reload::Signal(Signal::USR2)) })
}
