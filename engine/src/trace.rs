//! Which trace an exchange belongs to: the `traceparent` field of W3C Trace Context (level 2),
//! read and written. No I/O, no memory of its own.

/// Bytes of a `traceparent` value of version 00 (§3.2.2): `00-`, 32 digits, `-`, 16, `-`, 2.
pub const LENGTH: usize = 55;

/// Flag: the caller may have recorded the trace (§3.2.2.5.1).
pub const SAMPLED: u8 = 0x01;

/// Flag: the last seven bytes of the trace id are random (level 2, §3.2.2.5.2).
pub const RANDOM: u8 = 0x02;

/// The flags that this version knows; all others are sent on as zero (§3.2.2.5.3).
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;

/// What a `traceparent` says. Neither id is all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace, the same at every hop.
    pub id: [u8; 16],
    /// The hop that asks: another one on each way.
    pub parent: [u8; 8],
    /// [`SAMPLED`] and [`RANDOM`].
    pub flags: u8,
}

impl Trace {
    /// A trace that begins here, of three random numbers.
    pub fn new(random: [u64; 3], sampled: bool) -> Trace {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random[0].to_be_bytes());
        // The random part of an id is its end; an id may not be all zeros.
        id[8..].copy_from_slice(&random[1].max(1).to_be_bytes());
        let flags = RANDOM | if sampled { SAMPLED } else { 0 };
        Trace { id, parent: random[2].max(1).to_be_bytes(), flags }
    }

    /// The same trace with this hop as the one that asks.
    pub fn next_hop(self, random: u64) -> Trace {
        Trace { parent: random.max(1).to_be_bytes(), ..self }
    }

    /// Reads a value; `None` for one that is to be treated as if there were none (§4.3). A later
    /// version than 00 is read as far as 00 goes (§4.1).
    pub fn parse(value: &[u8]) -> Option<Trace> {
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let mut version = [0; 1];
        let mut flags = [0; 1];
        let mut trace = Trace { id: [0; 16], parent: [0; 8], flags: 0 };
        unhex(&head[..2], &mut version)?;
        unhex(&head[3..35], &mut trace.id)?;
        unhex(&head[36..52], &mut trace.parent)?;
        unhex(&head[53..], &mut flags)?;
        let dashes = [2, 35, 52].iter().all(|&at| head[at] == b'-');
        let ends = match version[0] {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|&byte| byte == b'-'),
        };
        trace.flags = flags[0] & KNOWN_FLAGS;
        let named = trace.id != [0; 16] && trace.parent != [0; 8];
        (dashes && ends && named).then_some(trace)
    }

    /// The value of version 00.
    pub fn write(&self) -> [u8; LENGTH] {
        let mut value = [b'-'; LENGTH];
        hex(&[0], &mut value[..2]);
        hex(&self.id, &mut value[3..35]);
        hex(&self.parent, &mut value[36..52]);
        hex(&[self.flags], &mut value[53..]);
        value
    }

    /// The id of the trace as text.
    pub fn id_text(&self) -> [u8; 32] {
        let mut text = [0; 32];
        hex(&self.id, &mut text);
        text
    }
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, digits) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Lower-case digits only (§3.2.2).
fn unhex(text: &[u8], out: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (digits, byte) in text.chunks_exact(2).zip(out) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written() {
        let trace = Trace::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(trace.flags, SAMPLED);
        assert_eq!(trace.write(), GOOD.as_bytes());
        assert_eq!(&trace.id_text(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        let next = trace.next_hop(0);
        assert_eq!((next.id, next.flags), (trace.id, trace.flags));
        assert!(next.parent != trace.parent && next.parent != [0; 8]);
    }

    #[test]
    fn what_is_made_can_be_read() {
        for random in [[0; 3], [u64::MAX; 3], [1, 2, 3]] {
            let trace = Trace::new(random, true);
            assert_eq!(Trace::parse(&trace.write()), Some(trace));
            assert_eq!(trace.flags, SAMPLED | RANDOM);
        }
        assert_eq!(Trace::new([1; 3], false).flags, RANDOM);
    }

    #[test]
    fn flags_that_nobody_knows_are_not_sent_on() {
        let trace = Trace::parse(GOOD.replace("-01", "-ff").as_bytes()).unwrap();
        assert!(trace.write().ends_with(b"-03"));
    }

    #[test]
    fn later_versions_are_read_as_far_as_this_one_goes() {
        let later = GOOD.replacen("00", "cc", 1);
        let id = Trace::parse(GOOD.as_bytes()).unwrap().id;
        for text in [later.clone(), format!("{later}-what-else")] {
            let trace = Trace::parse(text.as_bytes()).unwrap();
            assert_eq!(trace.id, id);
            assert!(trace.write().starts_with(b"00-"));
        }
        assert_eq!(Trace::parse(format!("{later}.x").as_bytes()), None);
    }

    #[test]
    fn what_is_not_one_is_none() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("4b", "é"),
        ] {
            assert_eq!(Trace::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
