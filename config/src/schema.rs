//! The JSON Schema of the file, for editors.

use indexmap::IndexMap;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::admin::AdminWritten;
use crate::log::Log;
use crate::reload::Reload;
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
    /// When the file is read again while Ringway runs. SIGHUP and `ringway reload` always have it
    /// read again. `workers`, `admin.listen` and `log.format` cannot change without a restart: such
    /// a file is refused.
    #[schemars(default)]
    reload: Reload,
    /// The admin API, which is there only where this is written.
    #[schemars(default)]
    admin: AdminWritten,
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
pub fn schema<F: JsonSchema>() -> Value {
    let mut schema = long_forms::<F>();
    let bare = bare_words(&schema);
    allow_bare_words(&mut schema, &bare);
    schema
}

/// The same without the bare words that may stand for a name with nothing behind it.
pub(crate) fn long_forms<F: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<FileWritten<F>>().to_value();
    allow_variables(&mut schema);
    schema
}

/// The names of types all of whose fields may be left out.
fn bare_words(schema: &Value) -> Vec<String> {
    let types = schema["$defs"].as_object().into_iter().flatten();
    let optional = |of: &Value| of.get("properties").is_some() && of.get("required").is_none();
    types.filter(|(_, of)| optional(of)).map(|(name, _)| format!("#/$defs/{name}")).collect()
}

/// Where `{name: {…}}` may stand and all within may be left out, the name alone may.
fn allow_bare_words(schema: &mut Value, bare: &[String]) {
    let values: Vec<&mut Value> = match schema {
        Value::Object(fields) => fields.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => return,
    };
    values.into_iter().for_each(|value| allow_bare_words(value, bare));
    let Some(Value::Array(choices)) = schema.get_mut("oneOf") else { return };
    let names = choices.iter().filter_map(|choice| {
        let [name] = choice.get("required")?.as_array()?.as_slice() else { return None };
        let settings = &choice["properties"][name.as_str()?]["$ref"];
        bare.iter().any(|bare| settings == bare).then(|| name.clone())
    });
    let names: Vec<Value> = names.collect();
    if !names.is_empty() {
        choices.push(serde_json::json!({ "type": "string", "enum": names }));
    }
}

/// Where a number or a truth value may stand, `${NAME}` may.
fn allow_variables(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let bare = |name: &Value| {
                name.as_str().is_some_and(|name| ["integer", "number", "boolean"].contains(&name))
            };
            let types = match fields.get("type") {
                Some(Value::Array(types)) if types.iter().any(bare) => Some(types.clone()),
                Some(name) if bare(name) => Some(vec![name.clone()]),
                _ => None,
            };
            if let Some(mut types) = types {
                types.push("string".into());
                fields.insert("type".to_owned(), types.into());
                fields.insert("pattern".to_owned(), VARIABLE.into());
            }
            fields.values_mut().for_each(allow_variables);
        }
        Value::Array(items) => items.iter_mut().for_each(allow_variables),
        _ => {}
    }
}

/// A variable of the environment, as far as an editor can tell.
const VARIABLE: &str = r"\$\{[A-Z_][A-Z0-9_]*(:-.*)?\}";
