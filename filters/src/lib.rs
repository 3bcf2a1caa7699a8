//! The policy of Ringway: one file a filter, and this registry of them.
//!
//! A filter is added with one file, whose parts come in the same order as in the others, and with
//! one line below. The file says at its top, under these headings, what the filter is (*Settings*,
//! with an example that a test loads), how it answers (*Answers*), and what it remembers, per core
//! or shared (*State*). Then come `Settings` with a `build` that refuses what cannot be meant, the
//! blueprint that all cores read, the instance of one core with its `impl Filter`, and tests.
//!
//! *Architecture invariant*: a filter sees the data of an exchange, never a socket, a runtime or
//! another filter.

#![forbid(unsafe_code)]

use ringway_engine::exchange::Edits;
use ringway_engine::filter::{self, Blueprint, SettingsError};
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

/// Makes a module, a variant and an arm of each line.
macro_rules! registry {
    ($($module:ident $Variant:ident,)*) => {
        $(mod $module;)*

        /// The settings of one filter, under its name: `- headers: {…}`. Every filter that can
        /// stand in `filters` or `global_filters` is one of these.
        #[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[allow(
            clippy::large_enum_variant,
            reason = "settings live in one list for as long as it takes to build a snapshot"
        )]
        pub enum FilterSettings {
            $(
                #[doc = concat!("`", stringify!($module), "`.")]
                $Variant($module::Settings),
            )*
        }

        impl filter::Settings for FilterSettings {
            fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
                match self {
                    $(FilterSettings::$Variant(settings) => {
                        settings.build().map_err(|error| below(stringify!($module), error))
                    })*
                }
            }
        }

        /// Name and source of each filter.
        #[cfg(test)]
        const SOURCES: &[(&str, &str)] = &[
            $((stringify!($module), include_str!(concat!(stringify!($module), ".rs"))),)*
        ];
    };
}

// What several filters stand on.
mod alias;
mod cause;
mod excluded;
mod percent;
mod values;

registry! {
    auth Auth,
    authorize Authorize,
    body_limit BodyLimit,
    circuit_breaker CircuitBreaker,
    compress Compress,
    concurrency_limit ConcurrencyLimit,
    cors Cors,
    fallback Fallback,
    fault Fault,
    forward_auth ForwardAuth,
    headers Headers,
    ip_access IpAccess,
    logging Logging,
    metrics Metrics,
    mirror Mirror,
    rate_limit RateLimit,
    redirect Redirect,
    request_id RequestId,
    retry Retry,
    rewrite Rewrite,
    security_headers SecurityHeaders,
    timeout Timeout,
    trace Trace,
}

pub use auth::{hash_key, random_key};

/// Names the filter in front of the field that is wrong: its settings stand below its name.
fn below(name: &str, error: SettingsError) -> SettingsError {
    let dot = if error.field.is_empty() { "" } else { "." };
    SettingsError { field: format!("{name}{dot}{}", error.field), ..error }
}

/// A filter's plan, ready to be read from every core.
fn plan(plan: impl Blueprint + 'static) -> Shared<dyn Blueprint> {
    let plan: Box<dyn Blueprint> = Box::new(plan);
    plan.into()
}

/// Something wrong with a field, and what to write instead.
fn wrong(field: impl Into<String>, message: impl Into<String>, help: &str) -> SettingsError {
    let help = (!help.is_empty()).then(|| help.to_owned());
    SettingsError { field: field.into(), message: message.into(), help }
}

/// The header shall have this value. Names and values of settings were checked while building, and
/// what arrived has been parsed.
fn set(edits: &mut Edits, name: &str, value: &[u8]) {
    edits.set(name, value).expect("invariant: checked while building, or parsed");
}

/// The header shall not be there.
fn remove(edits: &mut Edits, name: &str) {
    edits.remove(name).expect("invariant: checked while building, or parsed");
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::rc::Rc;

    use ringway_config::{Config, load_str};
    use ringway_engine::filter::{Core, Job, Settings as _, Waiting};

    use super::*;

    /// A core of which there are `count`. What is given away is done at once.
    pub(crate) struct TestCore {
        pub(crate) id: usize,
        pub(crate) count: usize,
    }

    impl Core for TestCore {
        fn id(&self) -> usize {
            self.id
        }

        fn count(&self) -> usize {
            self.count
        }

        fn spawn(&self, _: Waiting<()>) {
            panic!("nothing runs beside a test")
        }

        fn compute(&self, job: Job) -> Waiting<Option<Box<dyn Any + Send>>> {
            Box::pin(std::future::ready(Some(job())))
        }
    }

    /// The only core.
    pub(crate) fn core() -> Rc<dyn Core> {
        Rc::new(TestCore { id: 0, count: 1 })
    }

    /// Reads one entry of `filters:`, which may have several lines.
    pub(crate) fn read(filter: &str) -> Result<FilterSettings, String> {
        let entry = filter.trim().replace('\n', "\n  ");
        let text = format!("global_filters:\n  {entry}\nroutes: [{{name: a, respond: {{}}}}]\n");
        let loaded = load_str::<FilterSettings>("example.yaml", &text, &|_| None);
        let Config { mut global_filters, .. } = loaded.map_err(|errors| errors.to_string())?.config;
        assert_eq!(global_filters.len(), 1, "{text}");
        Ok(global_filters.remove(0))
    }

    /// Reads one entry and builds it.
    pub(crate) fn build(filter: &str) -> Result<Shared<dyn Blueprint>, SettingsError> {
        read(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).build()
    }

    /// The field is refused, with words that hold `part`.
    #[track_caller]
    pub(crate) fn refused(filter: &str, field: &str, part: &str) {
        let Err(error) = build(filter) else { panic!("{filter} is taken") };
        assert_eq!(error.field, field, "{}", error.message);
        let words = format!("{} {}", error.message, error.help.unwrap_or_default());
        assert!(words.contains(part), "{words}");
    }

    /// What stands above the first item of a file.
    fn docs(source: &str) -> String {
        let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
        lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
    }

    #[test]
    fn every_filter_says_the_same_things_about_itself() {
        for (name, source) in SOURCES {
            let docs = docs(source);
            let headings: Vec<_> = docs.lines().filter(|line| line.starts_with("# ")).collect();
            assert_eq!(headings, ["# Settings", "# Answers", "# State"], "{name}");
        }
    }

    #[test]
    fn every_example_is_read_and_built() {
        for (name, source) in SOURCES {
            let docs = docs(source);
            let examples: Vec<_> = docs.split("```yaml\n").skip(1).collect();
            assert!(!examples.is_empty(), "{name} has no example");
            for example in examples {
                let (example, _) = example.split_once("```").unwrap();
                let built = build(example).unwrap_or_else(|error| panic!("{name}: {error:?}"));
                assert_eq!(&built.name(), name);
                assert!(!built.summary().contains('\n'));
            }
        }
    }

    #[test]
    fn filters_stand_in_the_order_of_the_alphabet() {
        assert!(SOURCES.is_sorted());
    }

    #[test]
    fn an_unknown_filter_is_an_error_with_a_suggestion() {
        let error = read("- header: {}").unwrap_err();
        assert!(error.contains("header") && error.contains("did you mean `headers`"), "{error}");
        assert!(read("- fault: {dely: {time: 1s}}").unwrap_err().contains("delay"));
    }
}
