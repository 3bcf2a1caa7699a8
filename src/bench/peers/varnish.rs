//! Varnish, told to pass everything on and to keep nothing.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Duty, Prepared, Setup};

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
    command.arg("-n").arg(setup.folder.join("work")).args(["-s", "default,64m", "-T", "none"]);
    command.args(["-p", "thread_pools=1", "-p", "thread_pool_max=2000"]);
    let lacks = match setup.duty {
        Duty::Proxy => "no request id, a thread a connection under way",
        Duty::Gateway => "no JWT check, rate limit, routes or metrics by route; no log file",
    };
    Ok(Prepared { command, file, lacks, reload: None })
}
