//! Changes to headers: noted, and made when the head is written out.

use crate::http1::write::{is_safe_value, is_token};
use crate::message::{FieldName, Span};

/// Changes to the headers of a head, noted beside its raw bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Edits {
    list: Vec<Edit>,
    text: Vec<u8>,
    /// A bit for each length that a name in the list has: most names are seen not to be among them
    /// at a glance.
    lengths: u64,
}

/// The bit for names as long as this one; those beyond 64 bytes share bits with shorter ones.
fn length_bit(name: &[u8]) -> u64 {
    1 << (name.len() % 64)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edit {
    kind: EditKind,
    name: Span,
    value: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EditKind {
    Set,
    Add,
    Remove,
}

/// A header name or value that may not be written: it would end the line or the head
/// (HTTP_SAFETY rule 18), or it is a field that the gateway alone may write
/// ([`FieldName::is_framing`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a header name must be a token that is not about framing, and a value may hold no control \
     characters"
)]
pub struct BadHeader;

impl Edits {
    /// The header shall have this value and no other.
    ///
    /// # Errors
    /// [`BadHeader`]; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), BadHeader> {
        self.note(EditKind::Set, name, value)
    }

    /// The header shall have this value too.
    ///
    /// # Errors
    /// [`BadHeader`]; nothing is changed then.
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), BadHeader> {
        self.note(EditKind::Add, name, value)
    }

    /// The header shall not be there.
    ///
    /// # Errors
    /// [`BadHeader`]; nothing is changed then.
    pub fn remove(&mut self, name: &str) -> Result<(), BadHeader> {
        self.note(EditKind::Remove, name, b"")
    }

    fn note(&mut self, kind: EditKind, name: &str, value: &[u8]) -> Result<(), BadHeader> {
        let framing = FieldName::from_bytes(name.as_bytes()).is_framing();
        if framing || !is_token(name.as_bytes()) || !is_safe_value(value) {
            return Err(BadHeader);
        }
        let bit = length_bit(name.as_bytes());
        if kind != EditKind::Add && self.lengths & bit != 0 {
            let text = &self.text;
            self.list.retain(|e| !e.name.of(text).eq_ignore_ascii_case(name.as_bytes()));
        }
        self.lengths |= bit;
        let name = self.store(name.as_bytes());
        let value = self.store(value);
        self.list.push(Edit { kind, name, value });
        Ok(())
    }

    fn store(&mut self, text: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Span::from(start..self.text.len())
    }

    /// What came under `from` shall come under `to`, in place of what came under that. Nothing
    /// changes when nothing came under `from`. Of several values a field that may come once only
    /// takes the first.
    pub(super) fn rename<'a>(
        &mut self,
        from: &str,
        to: &str,
        arrived: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), BadHeader> {
        let most = match FieldName::from_bytes(to.as_bytes()).is_single() {
            true => 1,
            false => usize::MAX,
        };
        let mut arrived = arrived.take(if self.replaces(from.as_bytes()) { 0 } else { most });
        let first = arrived.next();
        if first.is_none() && self.values(from).next().is_none() {
            return Ok(());
        }
        // The edits of `from` go behind those that are made now.
        let before = self.list.len();
        self.note(EditKind::Remove, to, b"")?;
        let gone = before + 1 - self.list.len();
        let mut left = most;
        for value in first.into_iter().chain(arrived) {
            self.note(EditKind::Add, to, value)?;
            left -= 1;
        }
        let name = self.store(to.as_bytes());
        let mut at = 0;
        for _ in 0..before - gone {
            let edit = self.list[at];
            if !edit.name.of(&self.text).eq_ignore_ascii_case(from.as_bytes()) {
                at += 1;
                continue;
            }
            self.list.remove(at);
            if edit.kind != EditKind::Remove && left > 0 {
                self.list.push(Edit { kind: EditKind::Add, name, ..edit });
                left -= 1;
            }
        }
        self.note(EditKind::Remove, from, b"")
    }

    /// True when nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True when the header as it arrived is not to be written.
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        let replaces =
            |e: &Edit| e.kind != EditKind::Add && e.name.of(&self.text).eq_ignore_ascii_case(name);
        self.lengths & length_bit(name) != 0 && self.list.iter().any(replaces)
    }

    /// The names under which nothing that arrived is to be written.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = &[u8]> {
        let replaced = self.list.iter().filter(|e| e.kind != EditKind::Add);
        replaced.map(|e| e.name.of(&self.text))
    }

    /// True when what the gateway has to say under this name, from itself or as it arrived, is to
    /// be written.
    #[inline]
    pub fn keeps(&self, name: &[u8]) -> bool {
        !self.replaces(name)
    }

    /// The headers to be written beside those that arrived.
    pub fn written(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list
            .iter()
            .filter(|e| e.kind != EditKind::Remove)
            .map(|e| (e.name.of(&self.text), e.value.of(&self.text)))
    }

    /// The values that were set or added.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let of_name = move |(its, _): &(&[u8], &[u8])| its.eq_ignore_ascii_case(name.as_bytes());
        self.written().filter(of_name).map(|(_, value)| value)
    }

    /// The first value of a header, given the first that arrived.
    pub(super) fn first<'a>(
        &'a self,
        name: &str,
        arrived: impl FnOnce() -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        let value = |e: &Edit| e.value.of(&self.text);
        let mut edits = self
            .list
            .iter()
            .filter(|e| e.name.of(&self.text).eq_ignore_ascii_case(name.as_bytes()));
        match edits.next() {
            None => arrived(),
            // What arrived comes before what was added.
            Some(e) if e.kind == EditKind::Add => arrived().or(Some(value(e))),
            Some(e) if e.kind == EditKind::Remove => edits.next().map(value),
            Some(e) => Some(value(e)),
        }
    }

    /// Forgets all edits; the memory stays.
    pub fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
        self.lengths = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(edits: &Edits) -> Vec<(&str, &str)> {
        edits
            .written()
            .map(|(n, v)| (std::str::from_utf8(n).unwrap(), std::str::from_utf8(v).unwrap()))
            .collect()
    }

    #[test]
    fn the_last_edit_of_a_name_counts() {
        let mut edits = Edits::default();
        edits.add("X-A", b"1").unwrap();
        assert!(!edits.replaces(b"x-a"));
        edits.set("x-a", b"2").unwrap();
        edits.add("X-A", b"3").unwrap();
        assert_eq!(written(&edits), [("x-a", "2"), ("X-A", "3")]);
        assert!(edits.replaces(b"X-A"));
        edits.add("X-B", b"4").unwrap();
        assert!(edits.replaced().eq([b"x-a"]));
        edits.remove("x-b").unwrap();
        edits.remove("X-a").unwrap();
        assert!(edits.replaced().eq([b"x-b", b"X-a"]));
        assert_eq!(written(&edits), []);
        assert!(edits.replaces(b"x-A"));
    }

    #[test]
    fn the_first_value_is_the_one_that_will_be_written_first() {
        let mut edits = Edits::default();
        let first = |edits: &Edits, arrived: Option<&'static [u8]>| {
            edits.first("x-a", || arrived).map(<[u8]>::to_vec)
        };
        assert_eq!(first(&edits, Some(b"0")), Some(b"0".to_vec()));
        edits.add("X-A", b"1").unwrap();
        assert_eq!(first(&edits, Some(b"0")), Some(b"0".to_vec()));
        assert_eq!(first(&edits, None), Some(b"1".to_vec()));
        edits.remove("X-A").unwrap();
        assert_eq!(first(&edits, Some(b"0")), None);
        edits.add("X-A", b"2").unwrap();
        assert_eq!(first(&edits, Some(b"0")), Some(b"2".to_vec()));
        edits.set("X-A", b"3").unwrap();
        assert_eq!(first(&edits, Some(b"0")), Some(b"3".to_vec()));
    }

    #[test]
    fn a_header_can_go_on_under_another_name() {
        let renamed = |edits: &Edits, arrived: &'static [&'static [u8]], to: &str| {
            let mut edits = edits.clone();
            edits.rename("X-A", to, arrived.iter().copied()).unwrap();
            let written = written(&edits).into_iter().map(|(n, v)| format!("{n}={v}"));
            let mut all: Vec<_> = written.collect();
            for name in ["x-a", "x-b", "authorization"] {
                all.extend(edits.replaces(name.as_bytes()).then(|| format!("-{name}")));
            }
            all.join(" ")
        };
        let mut edits = Edits::default();
        assert_eq!(renamed(&edits, &[], "X-B"), "");
        assert_eq!(renamed(&edits, &[b"1", b"2"], "X-B"), "X-B=1 X-B=2 -x-a -x-b");
        assert_eq!(
            renamed(&edits, &[b"1", b"2"], "Authorization"),
            "Authorization=1 -x-a -authorization"
        );
        edits.set("X-B", b"old").unwrap();
        edits.add("x-a", b"3").unwrap();
        edits.add("X-C", b"c").unwrap();
        edits.add("X-A", b"4").unwrap();
        let all = "X-C=c X-B=1 X-B=3 X-B=4 -x-a -x-b";
        assert_eq!(renamed(&edits, &[b"1"], "X-B"), all);
        assert_eq!(renamed(&edits, &[], "Authorization"), {
            "X-B=old X-C=c Authorization=3 -x-a -x-b -authorization"
        });
        edits.set("X-A", b"5").unwrap();
        assert_eq!(renamed(&edits, &[b"1"], "X-B"), "X-C=c X-B=5 -x-a -x-b");
        edits.remove("X-A").unwrap();
        assert_eq!(renamed(&edits, &[b"1"], "X-B"), "X-B=old X-C=c -x-a -x-b");
        assert_eq!(edits.rename("X-B", "Host", [].into_iter()), Err(BadHeader));
    }

    #[test]
    fn nobody_edits_what_frames_a_message() {
        let mut edits = Edits::default();
        for name in ["content-length", "Transfer-Encoding", "Connection", "HOST", "Proxy-X", "Te"] {
            assert_eq!(edits.set(name, b"1"), Err(BadHeader), "{name}");
            assert_eq!(edits.remove(name), Err(BadHeader), "{name}");
        }
        assert!(edits.is_empty());
    }

    #[test]
    fn nothing_that_ends_a_line_is_written() {
        let mut edits = Edits::default();
        for value in [&b"a\r\nX: y"[..], b"a\nb", b"a\0b", b"\x7f"] {
            assert_eq!(edits.set("X-A", value), Err(BadHeader));
        }
        for name in ["", "a b", "a:", "a\r"] {
            assert_eq!(edits.set(name, b"v"), Err(BadHeader));
        }
        assert!(edits.is_empty());
    }
}
