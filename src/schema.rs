//! `ringway schema`: the JSON Schema of the file, for editors.

use ringway_filters::FilterSettings;

use crate::Exit;
use crate::paint::out_json;

/// Arguments of `ringway schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An editor with a YAML language server completes and checks the file with it:

  ringway schema > ringway.schema.json

and as the first line of the file:

  # yaml-language-server: $schema=ringway.schema.json")]
pub(crate) struct Arguments {}

/// Prints the schema.
pub(crate) fn run(_: &Arguments) -> Exit {
    out_json(&ringway_config::schema::<FilterSettings>());
    Exit::Done
}
