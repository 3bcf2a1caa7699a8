//! A setting that has a short form: one text, or more than that.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::reader::{TEMPLATE_OR, TEXT_OR};

/// Text where a scalar stands, and else a `T`: `host: a` or `host: [a, b]`. With `TEMPLATE`, the
/// text is a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextOr<T, const TEMPLATE: bool = false> {
    /// A scalar.
    Text(String),
    /// A list or a map.
    Other(T),
}

impl<'de, T: Deserialize<'de>, const TEMPLATE: bool> Deserialize<'de> for TextOr<T, TEMPLATE> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = if TEMPLATE { TEMPLATE_OR } else { TEXT_OR };
        from.deserialize_newtype_struct(name, Either(PhantomData))
    }
}

struct Either<T, const TEMPLATE: bool>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const TEMPLATE: bool> Visitor<'de> for Either<T, TEMPLATE> {
    type Value = TextOr<T, TEMPLATE>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("text, a list or a map")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        T::deserialize(from).map(TextOr::Other)
    }
}

impl<T: JsonSchema, const TEMPLATE: bool> JsonSchema for TextOr<T, TEMPLATE> {
    fn schema_name() -> Cow<'static, str> {
        format!("text or {}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = match TEMPLATE {
            true => generator.subschema_for::<crate::Template>(),
            false => generator.subschema_for::<String>(),
        };
        json_schema!({ "anyOf": [text, generator.subschema_for::<T>()] })
    }
}
