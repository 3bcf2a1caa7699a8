//! What the gateway answers by itself.

/// An answer of the gateway's own, by a route or a filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers beside those that every answer has.
    pub headers: Vec<(String, String)>,
    /// What it says.
    pub body: AnswerBody,
}

/// The body of an [`Answer`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AnswerBody {
    /// The house's JSON with this message: `{"code":…,"message":…,"data":null,"request_id":…}`.
    Message(String),
    /// These bytes as they are.
    Bytes(Vec<u8>),
    /// Nothing.
    #[default]
    Empty,
}

impl Answer {
    /// An answer with the house's JSON body.
    pub fn message(status: u16, message: impl Into<String>) -> Self {
        Answer { status, headers: Vec::new(), body: AnswerBody::Message(message.into()) }
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}
