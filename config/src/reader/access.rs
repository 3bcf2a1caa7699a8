//! Lists, maps and choices on their way into a type.

use std::slice;
use std::sync::Arc;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::error::{Problem, nearest, one_of};
use super::{Path, Reader, Step, describe};
use crate::document::{Entry, Node, Value};

/// What to write where a list is expected.
pub(super) fn as_list(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) if scalar.plain => format!("write `[{}]`", scalar.text),
        // Without its quotes it may be something else: `*` alone is no YAML.
        Value::Scalar(scalar) => format!("write `[\"{}\"]`", scalar.text.escape_debug()),
        _ => "put `- ` before each entry".to_owned(),
    }
}

/// The entries of a list.
pub(super) struct Items<'a> {
    reader: Reader<'a>,
    items: std::iter::Enumerate<slice::Iter<'a, Arc<Node>>>,
}

impl<'a> Items<'a> {
    pub(super) fn new(reader: Reader<'a>, items: &'a [Arc<Node>]) -> Items<'a> {
        Items { reader, items: items.iter().enumerate() }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = Path { parent: Some(self.reader.path), step: Step::Index(index) };
        let reader = Reader { node, path: &path, noun: "", ..self.reader };
        reader.located(seed.deserialize(reader)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The fields of a map.
pub(super) struct Fields<'a> {
    reader: Reader<'a>,
    entries: slice::Iter<'a, Entry>,
    /// The fields that the type has; `None` for a map with keys of the user's choice.
    known: Option<&'static [&'static str]>,
    current: Option<&'a Entry>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        reader: Reader<'a>,
        known: Option<&'static [&'static str]>,
    ) -> Result<Fields<'a>, Problem> {
        let entries = match &reader.node.value {
            Value::Map(entries) => entries.as_slice(),
            _ if reader.node.is_null() => &[],
            // A value that could not be resolved has been spoken about.
            Value::Scalar(scalar) if scalar.broken => return Err(Problem::said()),
            _ => {
                let help = match known {
                    Some([]) => "write `{}`".to_owned(),
                    Some(fields) => format!("its fields are {}", one_of(fields, "and")),
                    None => "write `name: value`, one a line".to_owned(),
                };
                return Err(reader.expected("a map", help));
            }
        };
        Ok(Fields { reader, entries: entries.iter(), known, current: None })
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        for entry in self.entries.by_ref() {
            let key = &*entry.key;
            let path = Path { parent: Some(self.reader.path), step: Step::Key(key) };
            if let Some(known) = self.known
                && !known.contains(&key)
            {
                let place = entry.key_place.clone();
                let problem = Problem::unknown_field(key, known, place, path.to_string());
                self.reader.unknown.borrow_mut().push(problem);
                continue;
            }
            self.current = Some(entry);
            let key: StrDeserializer<'_, Problem> = key.into_deserializer();
            return seed
                .deserialize(key)
                .map_err(|mut problem| {
                    problem.locate(entry.key_place.clone(), || path.to_string());
                    problem
                })
                .map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let Some(entry) = self.current.take() else { return Err(Problem::said()) };
        let path = Path { parent: Some(self.reader.path), step: Step::Key(&entry.key) };
        let reader = Reader { node: &entry.value, path: &path, noun: "", ..self.reader };
        reader.located(seed.deserialize(reader))
    }
}

/// One of the variants of an enum: a bare word, or a map with one key.
pub(super) struct Choice<'a> {
    reader: Reader<'a>,
    variant: &'static str,
    settings: Option<&'a Node>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(
        reader: Reader<'a>,
        variants: &'static [&'static str],
    ) -> Result<Choice<'a>, Problem> {
        let (name, settings, place) = match &reader.node.value {
            Value::Map(entries) => match entries.as_slice() {
                [entry] => (&*entry.key, Some(&*entry.value), entry.key_place.clone()),
                [] => return Err(reader.expected("a name", choose(variants))),
                [_, second, ..] => return Err(Choice::too_many(reader, second)),
            },
            Value::List(_) => return Err(reader.expected("a name", choose(variants))),
            Value::Scalar(_) if reader.node.is_null() => {
                return Err(reader.expected("a name", choose(variants)));
            }
            Value::Scalar(_) => (reader.text()?, None, reader.node.place.clone()),
        };
        let Some(variant) = variants.iter().find(|variant| **variant == name) else {
            let message = match reader.noun {
                "" => format!("unknown value `{name}`"),
                noun => format!("unknown {noun} `{name}`"),
            };
            let help = match nearest(name, variants) {
                Some(variant) => format!("did you mean `{variant}`?"),
                None if reader.noun.is_empty() => choose(variants),
                None => format!("the {}s there are: {}", reader.noun, one_of(variants, "and")),
            };
            let mut problem = Problem::new(message, Some(help));
            problem.locate(place, || match settings {
                Some(_) => Path { parent: Some(reader.path), step: Step::Key(name) }.to_string(),
                None => reader.path.to_string(),
            });
            return Err(problem);
        };
        Ok(Choice { reader, variant, settings })
    }

    fn too_many(reader: Reader<'_>, second: &Entry) -> Problem {
        let what = if reader.noun.is_empty() { "name" } else { reader.noun };
        let mut problem = Problem::new(
            format!("expected one {what}, found a second: `{}`", second.key),
            Some(match reader.noun {
                "" => "keep one of them".to_owned(),
                noun => format!(
                    "put `- ` before each {noun}, and indent its settings deeper than its name"
                ),
            }),
        );
        problem.locate(second.key_place.clone(), || reader.path.to_string());
        problem
    }

    /// Reads the settings; a bare word has none, which is like an empty map. Where they are no map,
    /// that they are missing is all there is to say.
    fn with_settings<T>(
        &self,
        read: impl FnOnce(Reader<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let path = Path { parent: Some(self.reader.path), step: Step::Key(self.variant) };
        match self.settings {
            Some(node) => {
                let reader = Reader { node, path: &path, noun: "", ..self.reader };
                reader.located(read(reader))
            }
            None => {
                let node = Node::empty(self.reader.node.place.clone());
                let reader = Reader { node: &node, noun: "", ..self.reader };
                reader.located(read(reader)).map_err(|problem| match problem.mismatch {
                    true => reader.problem(
                        format!("`{}` says nothing by itself", self.variant),
                        format!("write `{{{}: …}}`", self.variant),
                    ),
                    false => problem,
                })
            }
        }
    }
}

fn choose(variants: &[&str]) -> String {
    format!("write {}", one_of(variants, "or"))
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = Problem;
    type Variant = Choice<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Choice<'a>), Problem> {
        let name: StrDeserializer<'_, Problem> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        self.with_settings(|reader| {
            let given = !matches!(&reader.node.value, Value::Map(fields) if fields.is_empty());
            match given && !reader.node.is_null() {
                true => Err(reader.problem(
                    format!("`{}` has no settings, found {}", self.variant, describe(reader.node)),
                    format!("write `{}` alone", self.variant),
                )),
                false => Ok(()),
            }
        })
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        self.with_settings(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        self.with_settings(|reader| reader.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.with_settings(|reader| reader.deserialize_struct("", fields, visitor))
    }
}
