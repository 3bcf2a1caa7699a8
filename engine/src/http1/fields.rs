//! The one walk over the fields of a head: where they are, which they are, and what those say
//! that frame and route the message.

use super::error::HeadError;
use super::list;
use crate::message::{ConnectionOptions, Field, FieldName, Span, TransferEncoding};

/// `Connection` options of a head, at most. Each is compared with every field name, so the bound
/// keeps that work small; real messages list one to three.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// The largest `Content-Length`, in bytes: many peers keep lengths in signed 64-bit numbers, and
/// one that wraps there would be read differently here and there (rule 2).
const MAX_CONTENT_LENGTH: u64 = i64::MAX as u64;

/// What the fields of one head say.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) content_length: Option<u64>,
    pub(super) transfer_encoding: TransferEncoding,
    pub(super) connection: ConnectionOptions,
    /// The value of the last `Host`.
    pub(super) host: Span,
    /// How many `Host` fields there are.
    pub(super) hosts: usize,
    pub(super) expect_continue: bool,
    /// Whether anything but one `100-continue` is expected.
    pub(super) expect_other: bool,
    /// Whether `Authorization` or `Content-Type` is there more than once.
    pub(super) repeated: bool,
    authorization: bool,
    content_type: bool,
    /// Options seen in all `Connection` fields.
    options: usize,
    /// Whether one of them nominates a field by name.
    nominates: bool,
}

/// Records the lexed fields, the first of which begins at `at`, and collects what they say. None
/// may be a line of more than `max_line` bytes.
///
/// Between the parts there may be a colon, white space around the value, and CRLF; and after the
/// last field the empty line and nothing more.
pub(super) fn walk(
    bytes: &[u8],
    mut at: usize,
    max_line: usize,
    lexed: &[httparse::Header<'_>],
    fields: &mut Vec<Field>,
    facts: &mut Facts,
) -> Result<(), HeadError> {
    for header in lexed {
        let name = Span::from(at..at + header.name.len());
        at = name.end();
        if bytes.get(at) != Some(&b':') {
            return Err(HeadError::FieldName);
        }
        at = skip_white_space(bytes, at + 1);
        let value = Span::from(at..at + header.value.len());
        at = skip_white_space(bytes, value.end());
        at = skip_crlf(bytes, at)?;
        if at - 2 - name.start as usize > max_line {
            return Err(HeadError::FieldTooLong);
        }
        let id = FieldName::from_bytes(header.name.as_bytes());
        fields.push(Field { name, value, id, nominated: false });
        facts.note(id, value, bytes)?;
    }
    if skip_crlf(bytes, at)? != bytes.len() {
        return Err(HeadError::Incomplete);
    }
    if facts.nominates {
        nominate(bytes, fields);
    }
    Ok(())
}

#[inline]
fn skip_white_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

#[inline]
fn skip_crlf(bytes: &[u8], at: usize) -> Result<usize, HeadError> {
    match bytes.get(at..at + 2) {
        Some(b"\r\n") => Ok(at + 2),
        Some([b'\n', _]) => Err(HeadError::BareLf),
        _ => Err(HeadError::FieldValue),
    }
}

impl Facts {
    /// Takes note of one field.
    #[inline]
    fn note(&mut self, id: FieldName, value: Span, bytes: &[u8]) -> Result<(), HeadError> {
        match id {
            FieldName::Host => {
                self.host = value;
                self.hosts += 1;
            }
            FieldName::Connection => self.connection(value.of(bytes))?,
            FieldName::ContentLength => self.content_length(value.of(bytes))?,
            FieldName::TransferEncoding => self.transfer_encoding(value.of(bytes)),
            FieldName::Expect => self.expect(value.of(bytes)),
            FieldName::Authorization => {
                self.repeated |= std::mem::replace(&mut self.authorization, true);
            }
            FieldName::ContentType => {
                self.repeated |= std::mem::replace(&mut self.content_type, true);
            }
            _ => {}
        }
        Ok(())
    }

    /// Rule 2: digits only; several values only when they are all the same.
    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for item in value.split(|byte| *byte == b',') {
            let length = decimal(list::trim(item)).ok_or(HeadError::ContentLength)?;
            if self.content_length.is_some_and(|earlier| earlier != length) {
                return Err(HeadError::ContentLength);
            }
            self.content_length = Some(length);
        }
        Ok(())
    }

    /// Rule 3: one field with the one coding `chunked`, or it is not supported.
    fn transfer_encoding(&mut self, value: &[u8]) {
        let first = self.transfer_encoding == TransferEncoding::Absent;
        self.transfer_encoding = if first && value.eq_ignore_ascii_case(b"chunked") {
            TransferEncoding::Chunked
        } else {
            TransferEncoding::Unsupported
        };
    }

    fn expect(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"100-continue") && !self.expect_continue {
            self.expect_continue = true;
        } else {
            self.expect_other = true;
        }
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in list::items(value) {
            self.options += 1;
            if self.options > MAX_CONNECTION_OPTIONS {
                return Err(HeadError::ConnectionOptions);
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.connection.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.connection.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection.upgrade = true;
            } else {
                self.nominates |= may_be_nominated(option);
            }
        }
        Ok(())
    }
}

/// Marks the fields that the `Connection` fields list (rule 14).
fn nominate(bytes: &[u8], fields: &mut [Field]) {
    for at in 0..fields.len() {
        if fields[at].id != FieldName::Connection {
            continue;
        }
        let options = fields[at].value;
        for option in list::items(options.of(bytes)).filter(|option| may_be_nominated(option)) {
            for field in fields.iter_mut() {
                field.nominated |= field.name.of(bytes).eq_ignore_ascii_case(option);
            }
        }
    }
}

/// Whether a `Connection` field may name this field as its own. An end-to-end field that is
/// listed would be taken from the upstream, with it a client's address or a login
/// (CVE-2024-45410, CVE-2022-31813); what is hop-by-hop anyway needs no nomination.
fn may_be_nominated(name: &[u8]) -> bool {
    const FORWARDED: &[u8] = b"x-forwarded-";
    let forwarded = name.get(..FORWARDED.len());
    FieldName::from_bytes(name) == FieldName::Other
        && !forwarded.is_some_and(|start| start.eq_ignore_ascii_case(FORWARDED))
}

/// A number of bytes: digits only, at least one, no more than [`MAX_CONTENT_LENGTH`].
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (number <= MAX_CONTENT_LENGTH).then_some(number)
}
