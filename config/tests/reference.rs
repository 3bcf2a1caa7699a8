//! The reference and the schema. Whether `config/REFERENCE.md` is stale is tested where the real
//! filters are known.

mod common;

use common::ToyFilter;

#[test]
fn every_setting_is_described() {
    let reference = ringway_config::reference::<ToyFilter>();
    for line in reference.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = line.split(" | ").collect();
        assert_eq!(columns.len(), 4, "{line}");
        assert!(columns.iter().all(|column| !column.trim_matches(['|', ' ']).is_empty()), "{line}");
    }
    for heading in ["## `workers`", "## `routes`", "### Route", "### Limits", "### `fault`"] {
        assert!(reference.contains(&format!("\n{heading}\n")), "{heading} in:\n{reference}");
    }
}

#[test]
fn the_reference_tells_the_defaults() {
    let reference = ringway_config::reference::<ToyFilter>();
    for row in ["| `read_timeout` | period | `30s` |", "| `addr` | address | required |"] {
        assert!(reference.contains(row), "{row} in:\n{reference}");
    }
}

#[test]
fn the_schema_refuses_unknown_fields() {
    let schema = ringway_config::schema::<ToyFilter>();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["$defs"]["Server"]["additionalProperties"], false);
    assert_eq!(schema["$defs"]["Route"]["required"], serde_json::json!(["name"]));
}

#[test]
fn the_schema_lets_a_filter_without_settings_be_a_word() {
    let schema = ringway_config::schema::<ToyFilter>();
    let filters = schema["$defs"]["ToyFilter"]["oneOf"].as_array().expect("one of several");
    let words = filters.iter().find(|filter| filter["enum"].is_array()).expect("words");
    assert_eq!(words["enum"], serde_json::json!(["headers", "fault"]));
}

#[test]
fn the_schema_lets_a_variable_be_a_number() {
    let schema = ringway_config::schema::<ToyFilter>();
    let port = &schema["$defs"]["Server"]["properties"]["port"];
    assert_eq!(port["type"], serde_json::json!(["integer", "null", "string"]));
}
