//! What the stages of serving an exchange hand to each other.

use crate::adopted::Adopted;
use crate::downstream::After;
use crate::error::Error;
use crate::filter::Chain;
use crate::snapshot::Rules;
use crate::worker::Worker;

/// What an exchange is served by: the core, its snapshot, and the filters that take part.
#[derive(Clone, Copy)]
pub(crate) struct Course<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) adopted: &'a Adopted,
    pub(crate) chain: &'a Chain,
    /// How many filters the request has passed; so many shall see the response.
    pub(crate) passed: usize,
}

impl Course<'_> {
    pub(crate) fn rules(&self) -> &Rules {
        &self.adopted.snapshot.rules
    }
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The status that was sent, 0 for none.
    pub(crate) status: u16,
    /// What went wrong.
    pub(crate) error: Option<Error>,
    /// What becomes of the client's connection.
    pub(crate) after: After,
}
