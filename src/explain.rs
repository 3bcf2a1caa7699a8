//! `ringway explain`: which route would take a request, and why no other, answered by the same code
//! that serves.

use std::net::{IpAddr, Ipv4Addr};

use ringway_engine::explain::{Outcome, Query};
use ringway_engine::url::{Target, is_token};

use crate::Exit;
use crate::file::FileArgument;
use crate::paint::{Paint, err, out, out_json};

/// Arguments of `ringway explain`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "ringway explain [OPTIONS] [METHOD] URL",
    after_help = "\
Examples:
  ringway explain http://localhost:8080/api/v1/users/7
  ringway explain POST http://shop.example.com/orders?dry=1 -H 'X-Env: canary' --from 10.0.0.5

Nothing is sent: the answer comes from the file alone. A URL that starts with `/` has no host.

No filter is run, so that what one of them may refuse is not told; only of a CORS preflight the
filter that answers it is.

Exit codes: 0 a route takes the request, or it is a preflight that a filter answers; 1 the file has
errors; 2 the request cannot be understood; 3 the gateway would refuse it: no route takes it, or it
is malformed."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: FileArgument,
    /// METHOD (GET if left out) and URL of the request
    #[arg(value_name = "METHOD> <URL", num_args = 1..=2, required = true)]
    request: Vec<String>,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// The address that the client connects from
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// Print one JSON object for a script instead of text for a person
    #[arg(long)]
    json: bool,
}

/// Explains what would happen to the request.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let (method, url) = match &arguments.request[..] {
        [method, url] => (method.as_str(), url.as_str()),
        [url] => ("GET", url.as_str()),
        // clap lets neither none nor three pass.
        _ => return Exit::Failed,
    };
    let target = match Target::parse(url) {
        Ok(target) => target,
        Err(message) => return not_understood(&message),
    };
    if !is_token(method) {
        return not_understood(&format!("{method:?} is not a method, such as GET or POST"));
    }
    let opened = match arguments.file.open() {
        Ok(opened) => opened,
        Err(trouble) => {
            if arguments.json {
                let diagnostics = trouble.diagnostics();
                out_json(&serde_json::json!({ "diagnostics": diagnostics }));
            } else {
                trouble.tell();
            }
            return Exit::Failed;
        }
    };
    if target.tls {
        let warning = Paint::stderr().warning("warning");
        err(format_args!("{warning}: there is no TLS listener yet; explained as for http\n"));
    }
    let explanation = opened.snapshot.explain(&Query {
        method: method.to_owned(),
        host: target.host,
        target: target.path_and_query,
        headers: arguments.headers.clone(),
        client: arguments.from,
    });
    if arguments.json {
        out_json(&explanation);
    } else {
        out(format_args!("{}\n", explanation.to_string().trim_end()));
    }
    match explanation.action {
        Outcome::Refuse { .. } => Exit::Refused,
        Outcome::Answered { .. }
        | Outcome::Forward(_)
        | Outcome::Respond { .. }
        | Outcome::Redirect { .. } => Exit::Done,
    }
}

fn not_understood(message: &str) -> Exit {
    err(format_args!("{}: {message}\n", Paint::stderr().bad("error")));
    Exit::Usage
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `Name: value`")?;
    if !is_token(name) {
        return Err(format!("`{name}` is not the name of a header"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let parsed = parse_header("X-Env:  canary: yes ");
        assert_eq!(parsed, Ok(("X-Env".to_owned(), "canary: yes".to_owned())));
        assert!(parse_header("X-Env").is_err());
        assert!(parse_header("X Env: a").is_err());
    }
}
