//! Every shipped example is loaded. The binary's own tests load them with the real filters.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use ringway_config::{Action, Forward, PathMatch};

/// Any filter with any settings: the file of the first release names filters that come later.
type AnyFilter = std::collections::BTreeMap<String, serde_json::Value>;

fn examples() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_example_loads_without_a_warning() {
    for file in examples() {
        // What stands in a filter, templates and bare words included, is for the filter to read.
        match ringway_config::load::<serde::de::IgnoredAny>(&file, &common::env) {
            Ok(loaded) => assert_eq!(loaded.warnings.to_string(), "", "{}", file.display()),
            Err(errors) => panic!("{}:\n{errors}", file.display()),
        }
    }
}

#[test]
fn the_filters_that_do_not_exist_are_the_only_errors_of_the_first_file() {
    let file = examples().into_iter().find(|file| file.ends_with("mini-gateway.yaml")).unwrap();
    let errors = ringway_config::load::<common::ToyFilter>(&file, &common::env).unwrap_err();
    let messages: BTreeSet<&str> = errors.0.iter().map(|error| error.message.as_str()).collect();
    let expected = ["auth", "circuit_breaker", "cors", "logging", "metrics", "rate_limit", "retry"];
    assert_eq!(messages, expected.map(|name| &*format!("unknown filter `{name}`").leak()).into());
}

#[test]
fn the_first_file_means_what_it_says() {
    let file = examples().into_iter().find(|file| file.ends_with("mini-gateway.yaml")).unwrap();
    let config = ringway_config::load::<AnyFilter>(&file, &common::env).unwrap().config;
    assert_eq!(config.server.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(config.global_filters.len(), 3);
    let [users, orders] = config.routes.as_slice() else { panic!("two routes") };
    assert_eq!(users.matching.path, PathMatch::Prefix("/api/v1/users".to_owned()));
    assert!(users.strip_prefix && !orders.strip_prefix);
    assert_eq!(orders.matching.methods, ["GET", "POST"]);
    assert_eq!(users.filters[1]["auth"]["secret"], "correct-horse-battery-staple");
    let Action::Forward(Forward::Targets(upstream)) = &users.action else { panic!("targets") };
    let targets: Vec<_> =
        upstream.targets.iter().map(|target| (target.addr.to_string(), target.weight)).collect();
    assert_eq!(targets, [("127.0.0.1:8081".to_owned(), 3), ("127.0.0.1:8082".to_owned(), 1)]);
}

/// The names of all fields of the file, filters apart.
fn fields(schema: &serde_json::Value, fields: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                if key == "properties" {
                    fields.extend(value.as_object().unwrap().keys().cloned());
                }
                self::fields(value, fields);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|item| self::fields(item, fields)),
        _ => {}
    }
}

#[test]
fn the_full_example_has_every_field() {
    let mut all = BTreeSet::new();
    fields(&ringway_config::schema::<AnyFilter>(), &mut all);
    let full = include_str!("../examples/full.yaml");
    let missing: Vec<_> = all.iter().filter(|field| !full.contains(field.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(all.len() > 50, "{all:?}");
}
