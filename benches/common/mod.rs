//! What the benches of filters share: a core that stands for a worker's, and filters as a file
//! writes them.
#![allow(dead_code, reason = "not every bench needs all of it")]

use std::any::Any;
use std::rc::Rc;

use ringway_config::load_str;
use ringway_engine::clock;
use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, Job, Settings as _, Waiting};
use ringway_engine::shared::Shared;
use ringway_filters::FilterSettings;

/// One of several cores, with nothing beside it.
struct OneCore {
    id: usize,
    count: usize,
}

impl Core for OneCore {
    fn id(&self) -> usize {
        self.id
    }

    fn count(&self) -> usize {
        self.count
    }

    fn spawn(&self, _: Waiting<()>) {
        unreachable!("nothing runs beside what is measured")
    }

    fn compute(&self, _: Job) -> Waiting<Option<Box<dyn Any + Send>>> {
        unreachable!("nothing that is measured waits")
    }
}

/// Core `id` of `count`.
pub(crate) fn core(id: usize, count: usize) -> Rc<dyn Core> {
    Rc::new(OneCore { id, count })
}

/// What all cores share of a filter: of an entry of `global_filters:` in one line.
pub(crate) fn build(entry: &str) -> Shared<dyn Blueprint> {
    let text = format!("global_filters:\n  - {entry}\nroutes: [{{name: a, respond: {{}}}}]\n");
    let config = load_str::<FilterSettings>("bench.yaml", &text, &|_| None).unwrap().config;
    config.global_filters[0].build().unwrap()
}

/// The instance of a filter on the only core.
pub(crate) fn filter(entry: &str) -> Rc<dyn Filter> {
    build(entry).instance(&core(0, 1))
}

/// An exchange that has received a request with these fields, each with its line end.
pub(crate) fn exchange(fields: &str) -> Exchange {
    let head = format!("GET / HTTP/1.1\r\nHost: gateway.test\r\n{fields}\r\n");
    Exchange::with_request(head.as_bytes(), clock::now()).unwrap()
}
