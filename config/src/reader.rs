//! A serde `Deserializer` over the tree of a document.
//!
//! It is ours because serde's own errors end the reading and do not know where they are: here,
//! unknown fields are collected and stepped over, every error bears its place and its field path,
//! and says what to write instead.

mod access;
mod error;

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

pub(crate) use error::{Problem, nearest, one_of};

use crate::document::{Node, Scalar, Value};

/// The name of a newtype whose values are templates: there, `${lower_case}` may stand.
pub(crate) const TEMPLATE: &str = "Template";

/// The name of a newtype that is visited with text where a scalar stands, and else as a newtype:
/// `host: a` or `host: [a, b]`.
pub(crate) const TEXT_OR: &str = "TextOr";

/// The same where the text is a template.
pub(crate) const TEMPLATE_OR: &str = "TemplateOr";

/// Reads a section: a value of type `T` from a node at a field path. What is wrong is added to
/// `problems`; the value is given only when nothing is.
pub(crate) fn read<'de, T: Deserialize<'de>>(
    node: &Node,
    path: &str,
    noun: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let unknown = RefCell::new(Vec::new());
    let root = Path { parent: None, step: Step::Root(path) };
    let read =
        T::deserialize(Reader { node, path: &root, noun, unknown: &unknown, template: false });
    let mut unknown = unknown.into_inner();
    let clean = unknown.is_empty();
    let value = match read {
        Ok(value) => clean.then_some(value),
        Err(problem) => {
            if !problem.follows_from(&unknown) {
                unknown.push(problem);
            }
            None
        }
    };
    problems.append(&mut unknown);
    value
}

/// How one gets from the topmost value to this one.
#[derive(Clone, Copy)]
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root(&'p str),
    Key(&'p str),
    Index(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
        }
        match self.step {
            Step::Root(path) => out.write_str(path),
            Step::Index(index) => write!(out, "[{index}]"),
            Step::Key(key) => {
                let top = self.parent.is_none_or(|parent| matches!(parent.step, Step::Root("")));
                out.write_str(if top { "" } else { "." })?;
                out.write_str(&quote_key(key))
            }
        }
    }
}

/// A key as it stands in a field path: in quotes when it would not be read as one word.
pub(crate) fn quote_key(key: &str) -> String {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !key.is_empty() && key.bytes().all(word) {
        true => key.to_owned(),
        false => format!("\"{}\"", key.escape_default()),
    }
}

/// One node on its way into a type.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
    /// What a variant of an enum is called in messages, if it has a name of its own ("filter").
    noun: &'static str,
    /// Unknown fields, which do not end the reading.
    unknown: &'a RefCell<Vec<Problem>>,
    /// Whether request variables may stand here.
    template: bool,
}

impl<'a> Reader<'a> {
    fn problem(&self, message: String, help: impl Into<String>) -> Problem {
        let mut problem = Problem::new(message, Some(help.into()));
        problem.locate(self.node.place.clone(), || self.path.to_string());
        problem
    }

    /// Gives an error that serde or a type has made the place of this node, if it has none.
    fn located<T>(&self, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(|mut problem| {
            problem.locate(self.node.place.clone(), || self.path.to_string());
            problem
        })
    }

    fn expected(&self, what: &str, help: impl Into<String>) -> Problem {
        let mut problem =
            self.problem(format!("expected {what}, found {}", describe(self.node)), help);
        problem.mismatch = true;
        problem
    }

    /// The scalar here; anything else is an error that says what was expected.
    fn scalar(&self, what: &str, help: &str) -> Result<&'a Scalar, Problem> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.broken => Err(Problem::said()),
            Value::Scalar(scalar) => match &scalar.variable {
                Some(variable) if !self.template => Err(self.no_variable(variable)),
                _ => Ok(scalar),
            },
            _ => Err(self.expected(what, help)),
        }
    }

    fn no_variable(&self, variable: &str) -> Problem {
        self.problem(
            format!("`{variable}` names a request variable, which this field cannot use"),
            format!(
                "write the value itself, `${}` for the environment, or `${variable}` if it is \
                 meant literally",
                variable[1..].to_uppercase()
            ),
        )
    }

    fn text(&self) -> Result<&'a str, Problem> {
        let scalar =
            self.scalar("text", "write text, in quotes if it holds `:`, `#` or brackets")?;
        if self.node.is_null() {
            return Err(self.expected("text", "write a value after the colon, or remove the field"));
        }
        Ok(match &scalar.template {
            Some(template) if self.template => template,
            _ => &scalar.text,
        })
    }

    /// A scalar that must be written without quotes: a number, or true or false.
    fn bare<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
        let scalar = self.scalar(what, &format!("write {what}"))?;
        match read(&scalar.text) {
            Some(value) if scalar.plain || scalar.substituted => Ok(value),
            Some(_) => {
                Err(self
                    .problem(format!("expected {what}, found text in quotes"), "remove the quotes"))
            }
            None => Err(self.expected(what, format!("write {what}"))),
        }
    }
}

/// What stands at a node, in words. A scalar's text is shown: what must not be seen in it is taken
/// out when the diagnostic is made.
fn describe(node: &Node) -> String {
    match &node.value {
        _ if node.is_null() => "nothing".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Scalar(scalar) if scalar.text.is_empty() => "empty text".to_owned(),
        Value::Scalar(scalar) => format!("`{}`", scalar.text),
    }
}

/// Reads a number of a type whose bounds are told when it does not fit.
macro_rules! whole_number {
    ($method:ident, $visit:ident, $type:ty) => {
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            let what = match (<$type>::MIN, <$type>::MAX) {
                #[allow(unused_comparisons, reason = "the type may have no sign")]
                (0, max) if u64::try_from(max).is_ok_and(|max| max > u64::from(u32::MAX)) => {
                    "a whole number".to_owned()
                }
                (min, max) => format!("a whole number from {min} to {max}"),
            };
            let number = self.bare(&what, |text| text.parse::<$type>().ok())?;
            self.located(visitor.$visit(number))
        }
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.value {
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::Scalar(_) if self.node.is_null() => self.located(visitor.visit_unit()),
            Value::Scalar(scalar) => {
                let text = self.text()?;
                self.located(match text {
                    _ if !scalar.plain => visitor.visit_str(text),
                    "true" => visitor.visit_bool(true),
                    "false" => visitor.visit_bool(false),
                    _ => match (text.parse::<u64>(), text.parse::<i64>(), text.parse::<f64>()) {
                        (Ok(number), ..) => visitor.visit_u64(number),
                        (_, Ok(number), _) => visitor.visit_i64(number),
                        (.., Ok(number)) if number.is_finite() => visitor.visit_f64(number),
                        _ => visitor.visit_str(text),
                    },
                })
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let value = self.bare("`true` or `false`", |text| text.parse().ok())?;
        self.located(visitor.visit_bool(value))
    }

    whole_number!(deserialize_u8, visit_u8, u8);
    whole_number!(deserialize_u16, visit_u16, u16);
    whole_number!(deserialize_u32, visit_u32, u32);
    whole_number!(deserialize_u64, visit_u64, u64);
    whole_number!(deserialize_i8, visit_i8, i8);
    whole_number!(deserialize_i16, visit_i16, i16);
    whole_number!(deserialize_i32, visit_i32, i32);
    whole_number!(deserialize_i64, visit_i64, i64);

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let finite = |number: &f64| number.is_finite();
        let number = self.bare("a number", |text| text.parse().ok().filter(finite))?;
        self.located(visitor.visit_f64(number))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let text = self.text()?;
        self.located(visitor.visit_str(text))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.node.is_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let empty = match &self.node.value {
            Value::Map(entries) => entries.is_empty(),
            _ => self.node.is_null(),
        };
        match empty {
            true => visitor.visit_unit(),
            false => Err(self.expected("nothing", "it has no settings: write its name alone")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match (name, &self.node.value) {
            (TEXT_OR, Value::Scalar(_)) => self.deserialize_str(visitor),
            (TEMPLATE_OR, Value::Scalar(_)) => {
                Reader { template: true, ..self }.deserialize_str(visitor)
            }
            (name, _) => {
                let inner = Reader { template: self.template || name == TEMPLATE, ..self };
                self.located(visitor.visit_newtype_struct(inner))
            }
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let items = match &self.node.value {
            Value::List(items) => items.as_slice(),
            _ if self.node.is_null() => &[],
            _ => return Err(self.expected("a list", access::as_list(self.node))),
        };
        self.located(visitor.visit_seq(access::Items::new(self, items)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.located(visitor.visit_map(access::Fields::new(self, None)?))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.located(visitor.visit_map(access::Fields::new(self, Some(fields))?))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.located(visitor.visit_enum(access::Choice::new(self, variants)?))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}

/// Anything, which is not looked at: the filters of a route are read one by one.
#[derive(Default)]
pub(crate) struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Skipped, D::Error> {
        de::IgnoredAny::deserialize(from).map(|_| Skipped)
    }
}
