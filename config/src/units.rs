//! Quantities with their units: `5s`, `1m30s`, `64KiB`, `unlimited`.
//!
//! A bare number is refused (except 0, which means the same in every unit): nobody can tell whether
//! `timeout: 30` was meant in seconds or in milliseconds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written with its unit: `250ms`, `5s`, `1m30s`, `2h`, `1d`.
///
/// Units are `ms`, `s`, `m`, `h` and `d`; several may follow each other, the larger first. The
/// longest period is 365 days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(pub Duration);

impl Period {
    /// The longest period that a file may ask for.
    pub const MAX: Period = Period(Duration::from_secs(365 * 24 * 3600));

    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Period {
        Period(Duration::from_secs(seconds))
    }

    /// A period of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Period {
        Period(Duration::from_millis(millis))
    }

    /// Whether the period is zero, which no deadline may be.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

/// Units of time from the largest to the smallest, each in milliseconds.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Period, UnitError> {
        let text = text.trim();
        if text == "0" {
            return Ok(Period::default());
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(UnitError::new(
                format!("`{text}` has no unit"),
                format!(
                    "write a time with its unit: `{text}s` for seconds, `{text}ms` for milliseconds"
                ),
            ));
        }
        let wrong = || {
            UnitError::new(
                format!("`{text}` is not a length of time"),
                "write a number and its unit, such as `250ms`, `5s`, `1m30s` or `2h`",
            )
        };
        let mut rest = text;
        let mut millis = 0u64;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (_, size) =
                TIME_UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(wrong)?;
            if *size >= smallest {
                return Err(wrong());
            }
            smallest = *size;
            millis = number
                .checked_mul(*size)
                .and_then(|part| millis.checked_add(part))
                .ok_or_else(wrong)?;
            rest = &rest[letters..];
        }
        let period = Period(Duration::from_millis(millis));
        if text.is_empty() {
            Err(wrong())
        } else if period > Period::MAX {
            Err(UnitError::new(format!("`{text}` is longer than a year"), "write at most `365d`"))
        } else {
            Ok(period)
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return out.write_str("0s");
        }
        for (name, size) in TIME_UNITS {
            if millis >= size {
                write!(out, "{}{name}", millis / size)?;
                millis %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A number of bytes, written with its unit: `512B`, `64KiB`, `10MB`, `1GiB`.
///
/// `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024; `kB` (or `KB`), `MB`, `GB` and `TB` are powers
/// of 1000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// So many KiB.
    pub const fn kib(number: u64) -> Bytes {
        Bytes(number * 1024)
    }
}

/// Units of size from the largest to the smallest; the first that divides a number is shown.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Bytes, UnitError> {
        let text = text.trim();
        let wrong = || {
            UnitError::new(
                format!("`{text}` is not a number of bytes"),
                "write a whole number and its unit, such as `512B`, `64KiB` or `10MB`",
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim_start();
        if unit.is_empty() {
            return match number {
                0 => Ok(Bytes(0)),
                _ => Err(UnitError::new(
                    format!("`{text}` has no unit"),
                    format!("write a size with its unit: `{text}B`, `{text}KiB` or `{text}MB`"),
                )),
            };
        }
        let (_, size) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*size).map(Bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, size) = SIZE_UNITS
            .iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .unwrap_or(&("B", 1));
        write!(out, "{}{name}", self.0 / size)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A bound that may be absent: `unlimited`, or a number (of bytes, of requests, of connections).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Limit {
    /// No bound.
    #[default]
    Unlimited,
    /// At most so many; the setting that holds the limit says of what.
    Of(u64),
}

impl Limit {
    /// The bound as a number; no bound is the largest number.
    pub const fn get(self) -> u64 {
        match self {
            Limit::Unlimited => u64::MAX,
            Limit::Of(number) => number,
        }
    }

    /// Whether so many are still allowed.
    pub const fn allows(self, number: u64) -> bool {
        number <= self.get()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Unlimited => out.write_str("unlimited"),
            Limit::Of(number) => write!(out, "{number}"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Limit::Unlimited => serializer.serialize_str("unlimited"),
            Limit::Of(number) => serializer.serialize_u64(*number),
        }
    }
}

/// `unlimited` or a number of bytes with its unit, as the file has it.
pub(crate) struct ByteLimit;

/// `unlimited` or a bare number, as the file has it.
pub(crate) struct CountLimit;

/// Reads a limit of bytes: `unlimited` or `10MB`.
pub(crate) fn byte_limit<'de, D: Deserializer<'de>>(from: D) -> Result<Limit, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "unlimited" => Ok(Limit::Unlimited),
        text => match text.parse::<Bytes>() {
            Ok(bytes) => Ok(Limit::Of(bytes.0)),
            Err(error) => Err(de::Error::custom(error.or("or `unlimited`"))),
        },
    }
}

/// Reads a limit of bytes that may be left out.
pub(crate) fn optional_byte_limit<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Limit>, D::Error> {
    byte_limit(from).map(Some)
}

/// Reads a limit of things: `unlimited` or `1000`.
pub(crate) fn count_limit<'de, D: Deserializer<'de>>(from: D) -> Result<Limit, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "unlimited" => Ok(Limit::Unlimited),
        text => text.parse().map(Limit::Of).map_err(|_| {
            de::Error::custom(UnitError::new(
                format!("`{text}` is not a limit"),
                "write a whole number such as `1000`, or `unlimited`",
            ))
        }),
    }
}

/// Why a quantity could not be read, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl UnitError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> UnitError {
        UnitError { message: message.into(), help: help.into() }
    }

    fn or(mut self, other: &str) -> UnitError {
        self.help = format!("{}, {other}", self.help);
        self
    }
}

/// The message, and on a second line the help: the reader of the file takes the two apart.
impl fmt::Display for UnitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n{}", self.message, self.help)
    }
}

impl std::error::Error for UnitError {}

/// Reads a type from text through its `FromStr`, as `Deserialize` and `Serialize`.
macro_rules! read_as_text {
    ($type:ty) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
pub(crate) use read_as_text;

/// Describes a type as text of a pattern in the schema.
macro_rules! describe_as_text {
    ($type:ty, $name:literal, $pattern:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $name, "pattern": $pattern })
            }
        }
    };
}
pub(crate) use describe_as_text;

read_as_text!(Period);
read_as_text!(Bytes);
describe_as_text!(Period, "period", "^(0|([0-9]+(ms|s|m|h|d))+|\\$\\{.*\\})$");
describe_as_text!(Bytes, "bytes", "^(0|[0-9]+ ?(B|[KMGT]iB|[kKMGT]B)|\\$\\{.*\\})$");
describe_as_text!(
    ByteLimit,
    "bytes or `unlimited`",
    "^(unlimited|0|[0-9]+ ?(B|[KMGT]iB|[kKMGT]B)|\\$\\{.*\\})$"
);

impl JsonSchema for CountLimit {
    fn schema_name() -> Cow<'static, str> {
        "number or `unlimited`".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "format": "number or `unlimited`",
            "oneOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Period};

    #[track_caller]
    fn check_period(text: &str, millis: Option<u64>) {
        assert_eq!(text.parse().ok(), millis.map(Period::from_millis), "{text}");
    }

    #[test]
    fn periods_are_numbers_with_units() {
        check_period("0", Some(0));
        check_period("250ms", Some(250));
        check_period("5s", Some(5_000));
        check_period("1m30s", Some(90_000));
        check_period("1h0m1ms", Some(3_600_001));
        check_period("365d", Some(365 * 86_400_000));
    }

    #[test]
    fn what_is_ambiguous_or_too_long_is_no_period() {
        for text in ["", "5", "1.5", "s", "5 s", "-5s", "5S", "30s1m", "1s1s", "366d"] {
            check_period(text, None);
        }
        check_period("99999999999999999999s", None);
        check_period("9999999999999999999d", None);
    }

    #[test]
    fn a_period_is_shown_as_it_can_be_written() {
        for text in ["0s", "250ms", "1m30s", "1d2h", "5s1ms"] {
            assert_eq!(text.parse::<Period>().map(|period| period.to_string()), Ok(text.into()));
        }
    }

    #[test]
    fn bytes_are_whole_numbers_with_units() {
        let check = |text: &str, bytes| assert_eq!(text.parse().ok(), bytes, "{text}");
        check("0", Some(Bytes(0)));
        check("512B", Some(Bytes(512)));
        check("64KiB", Some(Bytes(65_536)));
        check("10 MB", Some(Bytes(10_000_000)));
        check("2GiB", Some(Bytes(2 << 30)));
        for text in ["", "B", "64", "64k", "64kb", "1.5MB", "-1B", "99999999999TiB"] {
            check(text, None);
        }
    }

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_fits() {
        for text in ["0B", "1KiB", "1kB", "1500B", "64KiB", "10MB", "1TiB"] {
            assert_eq!(text.parse::<Bytes>().map(|bytes| bytes.to_string()), Ok(text.into()));
        }
    }
}
