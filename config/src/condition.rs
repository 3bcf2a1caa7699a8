//! What a route asks of a request: host, path, method, header fields, query and client address.

use crate::address::Cidr;

/// Which requests a route takes: those that satisfy every condition. Without any, all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Matching {
    /// Host names in lower case without a port, exact or `*.example.com`; one must fit. Empty takes
    /// any.
    pub hosts: Vec<String>,
    /// What the normalised path must be.
    pub path: PathMatch,
    /// Methods in upper case; one must fit. Empty takes any.
    pub methods: Vec<String>,
    /// Tests on header fields, whose names are in lower case; all must hold.
    pub headers: Vec<ValueMatch>,
    /// Tests on query parameters; all must hold.
    pub query: Vec<ValueMatch>,
    /// Ranges of client addresses; one must fit. Empty takes any.
    pub clients: Vec<Cidr>,
    /// Ranks above everything else; the higher goes first. Default 0.
    pub priority: i32,
}

/// What the normalised path must be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum PathMatch {
    /// Anything.
    #[default]
    Any,
    /// Exactly this.
    Exact(String),
    /// This, or something below it: `/api` takes `/api` and `/api/x`, never `/apix`.
    Prefix(String),
    /// This pattern: `:name` is one non-empty segment, `*name` at the end is the rest, which may be
    /// empty.
    Pattern(String),
    /// This regular expression, which must match the whole path.
    Regex(String),
}

/// A test on a header field or on a query parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueMatch {
    /// Its name; of a header field in lower case.
    pub name: String,
    /// What its value must be.
    pub test: ValueTest,
}

/// What a value must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueTest {
    /// Anything, as long as it is there.
    Present,
    /// Not there.
    Absent,
    /// Exactly this.
    Exact(String),
    /// Something that begins with this.
    Prefix(String),
    /// Something that matches this regular expression as a whole.
    Regex(String),
}
