//! Caddy.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;

use super::{Duty, Prepared, ROUTES, Reload, Setup, free_port};

pub(super) fn prepare(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let Setup { listen, origin, folder, .. } = setup;
    let proxy = format!(
        "reverse_proxy {origin} {{\n      transport http {{\n        keepalive_idle_conns_per_host \
         4096\n      }}\n      header_up X-Real-IP {{remote_host}}\n      header_up X-Request-ID \
         {{http.request.uuid}}\n    }}"
    );
    let log = setup.log().map_or_else(String::new, |log| {
        format!("  log {{\n    output file {}\n  }}\n", log.display())
    });
    let (mut metrics, mut routes) = ("", String::new());
    if setup.duty == Duty::Gateway {
        metrics = "  metrics\n";
        for route in 0..ROUTES {
            let _ = writeln!(
                routes,
                "  handle_path /service-{route}/* {{\n    request_header X-Gateway caddy\n    \
                 header X-Frame-Options DENY\n    {proxy}\n  }}"
            );
        }
    }
    let admin = if setup.reloads { free_port()?.to_string() } else { "off".to_owned() };
    let text = format!(
        "{{\n  admin {admin}\n  auto_https off\n{metrics}}}\nhttp://:{port} {{\n  bind {ip}\n{log}\
         {routes}  handle {{\n    {proxy}\n  }}\n}}\n",
        port = listen.port(),
        ip = listen.ip(),
    );
    let file = setup.write("Caddyfile", &text)?;
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
    command.env("GOMAXPROCS", setup.workers().to_string());
    command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder).env("HOME", folder);
    let lacks = match setup.duty {
        Duty::Proxy => "",
        Duty::Gateway => "no JWT check and no rate limit without plugins",
    };
    // Without force it does nothing about a file that is the same.
    let (program, config) = (program.display().to_string(), file.display().to_string());
    let reload = [&program, "reload", "--force", "--adapter", "caddyfile", "--config", &config];
    let reload = setup.reloads.then(|| Reload::Command(reload.map(str::to_owned).to_vec()));
    Ok(Prepared { command, file, lacks, reload })
}
