//! nginx, with as many workers, `reuseport`, and connections to the origin that are kept.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::{Duty, Prepared, ROUTES, Reload, Setup};

pub(super) fn prepare(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let folder = setup.folder.display();
    let log = match setup.log() {
        None => "access_log off;".to_owned(),
        Some(log) => format!("access_log {} combined buffer=64k flush=1s;", log.display()),
    };
    let mut locations = String::new();
    if setup.duty == Duty::Gateway {
        for route in 0..ROUTES {
            let _ = writeln!(
                locations,
                "      location /service-{route}/ {{ limit_req zone=all burst=1000 nodelay; \
                 proxy_set_header X-Gateway nginx; {FORWARDING} \
                 add_header X-Frame-Options DENY; proxy_pass http://origin/; }}"
            );
        }
    }
    // A worker is pinned to the core of its number, counted from the right.
    let masks: Vec<_> = setup.cores.iter().map(|&core| format!("{:b}", 1_u64 << core)).collect();
    // Started by root it gives its workers to a user who may have no way into this folder, and
    // breaks off what it has to put into a file there.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let text = format!(
        "daemon off;
{user}worker_processes {workers};
worker_cpu_affinity {masks};
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 32768; }}
http {{
  {log}
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  proxy_request_buffering off;
  limit_req_zone $server_name zone=all:1m rate=1000000r/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream origin {{
    server {origin};
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} reuseport backlog=4096;
    location / {{ {FORWARDING} proxy_pass http://origin; }}
{locations}  }}
}}
",
        workers = setup.workers(),
        masks = masks.join(" "),
        origin = setup.origin,
        listen = setup.listen,
    );
    let file = setup.write("nginx.conf", &text)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&setup.folder).arg("-e").arg(setup.folder.join("error.log"));
    command.arg("-c").arg(&file);
    let lacks = match setup.duty {
        Duty::Proxy => "",
        Duty::Gateway => "no JWT check and no metrics by route in the free edition",
    };
    Ok(Prepared { command, file, lacks, reload: Some(Reload::Signal(Signal::HUP)) })
}

const FORWARDING: &str = "proxy_http_version 1.1; proxy_set_header Host $host; \
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; \
    proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr; \
    proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-ID $request_id;";
