//! Varnish, told to pass everything on and to keep nothing.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Duty, NUMBER, Prepared, Reload, Setup};

/// Loads the file under a new name, and has requests go by it from then on.
const RELOAD: &str = r#"varnishadm -n "$1" vcl.load "reload$3" "$2" &&
    varnishadm -n "$1" vcl.use "reload$3""#;

pub(super) fn prepare(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let (host, port) = (setup.origin.ip(), setup.origin.port());
    let text = format!(
        "vcl 4.1;
backend origin {{ .host = \"{host}\"; .port = \"{port}\"; }}
sub vcl_recv {{
  if (req.http.Upgrade ~ \"(?i)websocket\") {{ return (pipe); }}
  return (pass);
}}
sub vcl_pipe {{
  if (req.http.Upgrade) {{
    set bereq.http.Upgrade = req.http.Upgrade;
    set bereq.http.Connection = req.http.Connection;
  }}
}}
"
    );
    let file = setup.write("varnish.vcl", &text)?;
    let mut command = Command::new(program);
    // Without a jail: as root it would read its file as a user who may not see a private folder.
    command.args(["-j", "none", "-F"]).arg("-a").arg(setup.listen.to_string()).arg("-f").arg(&file);
    let work = setup.folder.join("work");
    command.arg("-n").arg(&work).args(["-s", "default,64m"]);
    // Who is told to reload is told so through its command line interface, at any port of loopback.
    command.args(["-T", if setup.reloads { "127.0.0.1:0" } else { "none" }]);
    command.args(["-p", "thread_pools=1", "-p", "thread_pool_max=2000"]);
    let lacks = match setup.duty {
        Duty::Proxy => "no request id, a thread a connection under way",
        Duty::Gateway => "no JWT check, rate limit, routes or metrics by route; no log file",
    };
    let (work, vcl) = (work.display().to_string(), file.display().to_string());
    let reload = ["sh", "-c", RELOAD, "sh", &work, &vcl, NUMBER].map(str::to_owned);
    let reload = setup.reloads.then(|| Reload::Command(reload.to_vec()));
    Ok(Prepared { command, file, lacks, reload })
}
