//! The JSON Schema of the file, for editors.

use indexmap::IndexMap;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use crate::log::Log;
use crate::route::RouteWritten;
use crate::server::ServerWritten;
use crate::upstream::UpstreamWritten;
use crate::workers::Workers;

/// The file of Ringway, an API gateway: where it listens, what it routes where, and through which
/// filters.
#[derive(JsonSchema)]
#[schemars(rename = "Ringway", deny_unknown_fields)]
#[expect(dead_code, reason = "its shape is what counts: the sections are read one by one")]
struct FileWritten<F> {
    /// How many cores serve, which ones, and through which driver.
    #[schemars(default)]
    workers: Workers,
    /// Where Ringway listens and what it grants a client.
    #[schemars(default)]
    server: ServerWritten,
    /// What Ringway says about itself, on standard error.
    #[schemars(default)]
    log: Log,
    /// Named sets of endpoints, which routes point to.
    #[schemars(default)]
    upstreams: IndexMap<String, UpstreamWritten>,
    /// Which requests are taken, and what is done with them.
    #[schemars(default)]
    routes: Vec<RouteWritten<F>>,
    /// The filters that every request passes, before those of its route.
    #[schemars(default)]
    global_filters: Vec<F>,
}

/// The JSON Schema of the file (draft 2020-12). `F` is the settings of a filter.
pub fn schema<F: JsonSchema>() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<FileWritten<F>>().to_value()
}
