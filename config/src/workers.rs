//! `workers:`: how many cores serve, which ones, and by what means they do input and output.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units::{UnitError, describe_as_text, read_as_text};

/// More cores than any machine has: a bound for numbers of workers and of cores.
const CORES: usize = 1024;

/// How many workers serve, on which cores, and through which driver.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Workers {
    /// How many workers to run: `auto`, or a number from 1 to 1024. `auto` runs one on each core
    /// that this process may use, counting its CPU affinity and its cgroup quota; with `cores`, one
    /// on each of those. Workers beyond the number of cores are not pinned.
    pub count: Count,
    /// The cores to run on, such as `0-3,8`. When left out, the cores that this process may use.
    pub cores: Option<CoreList>,
    /// How the workers do input and output: `auto`, `io_uring` or `epoll`. `auto` takes io_uring
    /// where the kernel allows it, and otherwise epoll, saying so in the log.
    pub driver: Driver,
    /// Whether each worker is pinned to its core, one worker a core.
    pub pin: bool,
}

impl Default for Workers {
    fn default() -> Workers {
        Workers { count: Count::Auto, cores: None, driver: Driver::Auto, pin: true }
    }
}

/// How many workers to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Count {
    /// One on each core that this process may use.
    #[default]
    Auto,
    /// Exactly so many, at least one.
    Exactly(usize),
}

/// A list of cores: `0-3,8` is the cores 0, 1, 2, 3 and 8. Sorted, without repetitions, not empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreList(pub Vec<usize>);

/// How workers do input and output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// io_uring where the kernel allows it, otherwise epoll.
    #[default]
    Auto,
    /// io_uring, or an error at start.
    IoUring,
    /// epoll.
    Epoll,
}

impl fmt::Display for CoreList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let mut separator = "";
        while let Some(&first) = rest.first() {
            let run = rest.iter().enumerate().take_while(|(at, core)| first + at == **core).count();
            match run {
                1 => write!(out, "{separator}{first}")?,
                _ => write!(out, "{separator}{first}-{}", first + run - 1)?,
            }
            rest = &rest[run..];
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for CoreList {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<CoreList, UnitError> {
        let wrong = || {
            UnitError::new(
                format!("`{text}` is not a list of cores"),
                format!("write numbers below {CORES} and ranges of them, such as `0-3,8`"),
            )
        };
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| wrong())?;
            let last: usize = last.trim().parse().map_err(|_| wrong())?;
            if last < first || last >= CORES {
                return Err(wrong());
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        let written = cores.len();
        cores.dedup();
        match cores.len() == written {
            true => Ok(CoreList(cores)),
            false => Err(UnitError::new(
                format!("`{text}` names a core twice"),
                "name each core once: a worker each is pinned to it",
            )),
        }
    }
}

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Count, UnitError> {
        match text.parse() {
            _ if text == "auto" => Ok(Count::Auto),
            Ok(number @ 1..=CORES) => Ok(Count::Exactly(number)),
            _ => Err(UnitError::new(
                format!("`{text}` is not a number of workers"),
                format!("write `auto`, or a number from 1 to {CORES}"),
            )),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count::Auto => out.write_str("auto"),
            Count::Exactly(number) => write!(out, "{number}"),
        }
    }
}

read_as_text!(CoreList);
read_as_text!(Count);
describe_as_text!(CoreList, "cores", "^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*|\\$\\{.*\\})$");

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "`auto` or number".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "format": "`auto` or number",
            "oneOf": [{ "type": "integer", "minimum": 1, "maximum": CORES }, { "type": "string" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::CoreList;

    #[test]
    fn cores_are_numbers_and_ranges() {
        let list = |text: &str| text.parse::<CoreList>().ok();
        assert_eq!(list("8,0-3"), Some(CoreList(vec![0, 1, 2, 3, 8])));
        assert_eq!(list("8,0-3").map(|list| list.to_string()).as_deref(), Some("0-3,8"));
        assert_eq!(list("5"), Some(CoreList(vec![5])));
        for text in ["", "a", "3-1", "0-", "-3", "0,0", "0-2000", "1,", "0-4,4"] {
            assert_eq!(list(text), None, "{text}");
        }
    }
}
