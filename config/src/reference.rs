//! Writes REFERENCE.md out of the schema, whose words are the doc comments of the written forms.

use std::fmt::Write;

use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::schema::long_forms;
use crate::sections::SECTIONS;

const HEAD: &str = include_str!("reference.md");

/// The reference of the file in Markdown, complete and in its order. `F` is the settings of a
/// filter, which has a section of its own for each variant.
pub fn reference<F: JsonSchema>() -> String {
    let schema = long_forms::<F>();
    let empty = Map::new();
    let mut page = Page {
        definitions: schema["$defs"].as_object().unwrap_or(&empty),
        filter: F::schema_name().into_owned(),
        written: Vec::new(),
        text: HEAD.to_owned(),
    };
    for section in SECTIONS {
        page.section(section, &schema["properties"][section]);
    }
    page.filters();
    page.text
}

struct Page<'a> {
    definitions: &'a Map<String, Value>,
    /// The name of the definition of a filter, which is written last.
    filter: String,
    /// The definitions that have been written.
    written: Vec<&'a str>,
    text: String,
}

impl<'a> Page<'a> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // invariant: writing to a String cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    /// A section of the file: what it is, its fields, and below it the types that these have.
    fn section(&mut self, name: &str, schema: &'a Value) {
        self.line(format_args!("\n## `{name}`\n\n{}", description(schema)));
        let mut waiting = Vec::new();
        let below = ["items", "additionalProperties"].into_iter().find_map(|key| schema.get(key));
        match below {
            Some(below) => {
                self.line(format_args!("\nWritten as {}.", self.kind(schema)));
                self.refer(below, &mut waiting);
            }
            None => {
                let definition = self.resolve(schema);
                if let Some(name) = referred(schema) {
                    self.written.push(name);
                }
                self.body(definition, &mut waiting);
            }
        }
        self.types(waiting, "###");
    }

    /// The types that fields have, and then the types of their fields.
    fn types(&mut self, mut waiting: Vec<&'a str>, level: &str) {
        while !waiting.is_empty() {
            let mut next = Vec::new();
            for name in std::mem::take(&mut waiting) {
                if self.written.contains(&name) || name == self.filter {
                    continue;
                }
                self.written.push(name);
                let definitions = self.definitions;
                if let Some(definition) = definitions.get(name) {
                    self.line(format_args!("\n{level} {name}\n\n{}", description(definition)));
                    self.body(definition, &mut next);
                }
            }
            waiting = next;
        }
    }

    /// The fields of a type, or the values that it may have.
    fn body(&mut self, schema: &'a Value, waiting: &mut Vec<&'a str>) {
        if let Some(fields) = schema["properties"].as_object() {
            self.fields(fields, &schema["required"], waiting);
            return;
        }
        for way in alternatives(schema).into_iter().flatten() {
            match (&way["const"], way["enum"].as_array(), way["properties"].as_object()) {
                (Value::String(word), ..) => {
                    self.text.push_str(&format!("\n- `{word}`: {}", description(way)));
                }
                (_, Some(words), _) => {
                    for word in words.iter().filter_map(Value::as_str) {
                        self.text.push_str(&format!("\n- `{word}`"));
                    }
                }
                (.., Some(fields)) if fields.len() == 1 && !description(schema).is_empty() => {
                    for (name, below) in fields {
                        let kind = self.kind(below);
                        let what = description(way);
                        self.text.push_str(&format!("\n- `{name}: …` ({kind}): {what}"));
                        self.refer(below, waiting);
                    }
                }
                _ => {
                    let kind = self.kind(way);
                    self.text.push_str(&format!("\n- {kind}: {}", description(way)));
                    self.refer(way, waiting);
                }
            }
        }
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn fields(
        &mut self,
        fields: &'a Map<String, Value>,
        required: &Value,
        waiting: &mut Vec<&'a str>,
    ) {
        if fields.is_empty() {
            return;
        }
        self.line(format_args!(
            "\n| Field | Value | Default | Meaning |\n| --- | --- | --- | --- |"
        ));
        for (name, field) in fields {
            let needed = required.as_array().is_some_and(|names| names.iter().any(|n| n == name));
            let default = match (needed, field.get("default").and_then(inline)) {
                (true, _) => "required".to_owned(),
                (false, Some(default)) => format!("`{default}`"),
                (false, None) => "–".to_owned(),
            };
            let kind = self.kind(field);
            let what = description(field);
            self.line(format_args!("| `{name}` | {kind} | {default} | {what} |"));
            self.refer(field, waiting);
        }
    }

    /// Each filter with its settings.
    fn filters(&mut self) {
        let definitions = self.definitions;
        let Some(schema) = definitions.get(&self.filter) else { return };
        self.line(format_args!("\n## Filters\n\n{}", description(schema)));
        for way in alternatives(schema).into_iter().flatten() {
            if let Some(words) = way["enum"].as_array() {
                for word in words.iter().filter_map(Value::as_str) {
                    self.line(format_args!("\n### `{word}`"));
                }
            }
            if let Some(word) = way["const"].as_str() {
                self.line(format_args!("\n### `{word}`\n\n{}", description(way)));
            }
            for (name, settings) in way["properties"].as_object().into_iter().flatten() {
                let definition = self.resolve(settings);
                let what = match description(definition) {
                    text if text.is_empty() => description(way),
                    text => text,
                };
                self.line(format_args!("\n### `{name}`\n\n{what}"));
                let mut waiting = Vec::new();
                self.body(definition, &mut waiting);
                self.written.extend(referred(settings));
                self.types(waiting, "####");
            }
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        referred(schema).and_then(|name| self.definitions.get(name)).unwrap_or(schema)
    }

    /// Notes the types that a schema refers to.
    fn refer(&self, schema: &'a Value, waiting: &mut Vec<&'a str>) {
        waiting.extend(referred(schema));
        for key in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(key) {
                self.refer(below, waiting);
            }
        }
        for way in alternatives(schema).into_iter().flatten() {
            self.refer(way, waiting);
        }
    }

    /// What a value looks like, in a few words.
    fn kind(&self, schema: &Value) -> String {
        if let Some(name) = referred(schema) {
            let anchor: String = name.to_lowercase().chars().filter(|c| *c != '`').collect();
            return match name == self.filter {
                true => "[filter](#filters)".to_owned(),
                false => format!("[{name}](#{anchor})"),
            };
        }
        if let Some(format) = schema["format"].as_str().filter(|format| !is_number(format)) {
            return format.to_owned();
        }
        let names: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        match names.into_iter().find(|name| *name != "null") {
            Some("array") => match schema.get("items") {
                Some(items) => format!("list of {}", self.kind(items)),
                None => "list".to_owned(),
            },
            Some("object") => match schema.get("additionalProperties") {
                Some(below) if below.is_object() => format!("map of {} by name", self.kind(below)),
                _ => "map".to_owned(),
            },
            Some("string") => match schema["enum"].as_array() {
                Some(words) => {
                    let words = words.iter().filter_map(Value::as_str);
                    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
                }
                None => "text".to_owned(),
            },
            Some("integer" | "number") => "number".to_owned(),
            Some("boolean") => "`true` or `false`".to_owned(),
            _ => {
                let ways = alternatives(schema).into_iter().flatten();
                let ways = ways.filter(|way| way["type"] != "null").map(|way| self.kind(way));
                ways.collect::<Vec<_>>().join(" or ")
            }
        }
    }
}

/// The name of the definition that a schema refers to.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    ["oneOf", "anyOf"].into_iter().find_map(|key| schema[key].as_array())
}

/// Whether a format only says how wide a number is.
fn is_number(format: &str) -> bool {
    matches!(format.trim_start_matches(['u', 'i', 'n', 't']), "8" | "16" | "32" | "64" | "")
        || matches!(format, "float" | "double")
}

/// The words of a schema in one line, as a table needs them.
fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// A default as the file would have it; a whole section has none of its own.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) if text.is_empty() => Some("\"\"".to_owned()),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
