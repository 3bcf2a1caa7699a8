//! No text panics the reader, and no text makes it grow beyond its bounds.

mod common;

use proptest::prelude::*;

/// Pieces of real files, which random text would hardly hit.
const WORDS: [&str; 40] = [
    "server:",
    "routes:",
    "upstreams:",
    "global_filters:",
    "workers:",
    "log:",
    "name:",
    "prefix:",
    "targets:",
    "addr:",
    "filters:",
    "respond:",
    "split:",
    "headers:",
    "secret:",
    "listen:",
    "port:",
    "\n",
    "\n  ",
    "\n    ",
    "\n  - ",
    "\n    - ",
    " ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "&a ",
    "*a",
    "${PORT}",
    "${x}",
    "$${",
    "a",
    "8080",
    "5s",
    "é",
    ": |\n ",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_panics_the_reader(text in "\\PC{0,200}") {
        let _ = common::load(&text).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_mixture_of_words_panics_the_reader(
        words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..60),
    ) {
        let _ = common::load(&words.concat()).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_damage_to_a_good_file_panics_the_reader(at in 0usize..2000, with in "\\PC{0,3}") {
        let mut text = include_str!("../examples/full.yaml").to_owned();
        let at = text.char_indices().map(|(at, _)| at).nth(at).unwrap_or(0);
        text.replace_range(at..text[at..].chars().next().map_or(at, |c| at + c.len_utf8()), &with);
        let _ = common::load(&text).map_err(|errors| errors.to_string());
    }

    #[test]
    fn an_error_points_into_the_text(
        words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..60),
    ) {
        let text = words.concat();
        if let Err(errors) = common::load(&text) {
            for error in errors.0 {
                prop_assert!(error.line <= text.lines().count() + 1, "{error}");
                prop_assert!(!error.message.is_empty() && error.help.is_some(), "{error}");
            }
        }
    }

    #[test]
    fn what_came_from_the_environment_is_never_shown(
        words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..60),
    ) {
        let env = |_: &str| Some("swordfish".to_owned());
        let text = words.concat();
        let loaded = ringway_config::load_str::<common::ToyFilter>("gateway.yaml", &text, &env);
        let said = match loaded {
            Ok(loaded) => loaded.warnings.to_string(),
            Err(errors) => errors.to_string(),
        };
        prop_assert!(!said.contains("swordfish"), "{said}");
    }
}

#[track_caller]
fn refuses(text: &str, message: &str) {
    let errors = common::load(text).err().map(|errors| errors.to_string()).unwrap_or_default();
    assert!(errors.contains(message), "{}", &errors[..errors.len().min(2000)]);
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    refuses(&"# comment\n".repeat(2_000_000), "more than 16777216 bytes");
}

#[test]
fn a_list_that_is_too_long_is_refused() {
    let thousand = "a,".repeat(1_000);
    let text = format!("a: &a [{thousand}]\nroutes: [{}]", "*a ,".repeat(1_000));
    refuses(&text, "more than 1000000 values");
}

#[test]
fn nesting_that_is_too_deep_is_refused() {
    refuses(&"[".repeat(100_000), "nested more than 32 levels deep");
    refuses(&"- ".repeat(100_000), "nested more than 32 levels deep");
    let nested: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refuses(&nested, "nested more than 32 levels deep");
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        text.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}]\n"));
    }
    refuses(&text, "more than 1000000 values, its aliases written out");
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..40 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    refuses(&text, "nested more than 32 levels deep");
}

#[test]
fn ten_thousand_routes_load() {
    let mut text =
        "upstreams:\n  main:\n    targets: [{addr: 127.0.0.1:8081}]\nroutes:\n".to_owned();
    for index in 0..10_000 {
        text.push_str(&format!(
            "  - name: r{index}\n    prefix: /api/v{index}\n    methods: [GET]\n    \
             upstream: main\n    filters:\n      - headers: {{request: {{set: {{X-A: b}}}}}}\n"
        ));
    }
    let started = std::time::Instant::now();
    let loaded = common::load(&text);
    println!("10,000 routes in {:?}", started.elapsed());
    assert_eq!(loaded.map(|loaded| loaded.config.routes.len()), Ok(10_000));
    // A large file is read in pieces, but what is wrong in any of them has its place.
    let wrong = text.replace("name: r7777\n", "name: r7777\n    prefx: /\n");
    let errors = common::load(&wrong).map(|_| ()).unwrap_err().0;
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(
        (error.path.as_str(), error.line),
        ("routes[7777].prefx", 4 + 7777 * 6 + 2),
        "{error}"
    );
    let twice = text.replace("name: r7777\n", "name: r5\n");
    let errors = common::load(&twice).map(|_| ()).unwrap_err().0;
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!((error.path.as_str(), error.line), ("routes[7777].name", 4 + 7777 * 6 + 1));
}
