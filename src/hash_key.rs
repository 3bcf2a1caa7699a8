//! `ringway hash-key`: a key for a client, and what of it goes into the file.

use std::io::Read;

use crate::Exit;
use crate::paint::{Paint, err, out};

/// Arguments of `ringway hash-key`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints a new random key, which is shown this once and kept nowhere, and the line for the file:

  ringway hash-key --name billing

A key that clients have already is read from standard input, so that it is in no history of a shell:

  ringway hash-key --stdin < key.txt

The hash is plain SHA-256, which is enough for keys of random bytes and for nothing that a person
thought up: `auth: {type: basic}` is for passwords.")]
pub(crate) struct Arguments {
    /// Read the key from the first line of standard input instead of making one
    #[arg(long)]
    stdin: bool,
    /// Whose key it is: the name under which limits, logs and the upstream know the client
    #[arg(long, value_name = "NAME", default_value = "CLIENT", value_parser = parse_name)]
    name: String,
}

/// The longest key that is read, in bytes: what a line of a head may hold.
const MAX_KEY: u64 = 8 * 1024;

/// Prints a key, if it is a new one, and its hash.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let key = if arguments.stdin { read() } else { made() };
    match key {
        Err(message) => {
            err(format_args!("{}: {message}\n", Paint::stderr().bad("error")));
            Exit::Failed
        }
        Ok(key) => {
            // Quoted as JSON, which YAML understands whatever the name is.
            let name = serde_json::Value::from(arguments.name.as_str());
            out(format_args!("- name: {name}\n  key_hash: {}\n", ringway_filters::hash_key(&key)));
            Exit::Done
        }
    }
}

/// The file takes no other names.
fn parse_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("write a name without line breaks and the like".to_owned());
    }
    Ok(text.to_owned())
}

fn made() -> Result<String, String> {
    let key = ringway_filters::random_key().map_err(str::to_owned)?;
    out(format_args!("key: {key}\n\n# under `consumers:` of `auth: {{type: api_key}}`\n"));
    Ok(key)
}

fn read() -> Result<String, String> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_KEY + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("the key cannot be read: {error}"))?;
    let key = text.lines().next().unwrap_or_default();
    match key {
        "" => Err("there is no key on standard input".to_owned()),
        // What was read of it would have another hash.
        key if key.len() as u64 > MAX_KEY => {
            Err(format!("the key is longer than {MAX_KEY} bytes, which no header should be"))
        }
        key if key.trim() != key || key.contains(char::is_control) => {
            Err("no header can hold this key: it has white space around it or control characters \
                 in it"
                .to_owned())
        }
        key => Ok(key.to_owned()),
    }
}
