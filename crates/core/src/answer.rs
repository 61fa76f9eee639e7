//! What a conversation with a server came to: a line for people, and named values for machines.
//!
//! Names are part of the contract with whoever reads the JSON: snake_case, the specification's word where it has one
//! (`naming_contexts`, `rcode`), or the server's own where names come from there (LDAP attributes). Everything from the
//! other end is made harmless here, on its way in, and cut to a length: see [`text::foreign`].
//! Left out on purpose: times and amounts as types of their own; a number's name says its unit (`offset_ms`).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::text;

/// The longest text of a value, in characters.
const LONGEST_TEXT: usize = 4096;
/// The longest one-line summary, in characters.
const LONGEST_SUMMARY: usize = 300;
/// The most values in one list and the most fields in one level: what comes after is not kept, and a last text `…` says
/// so.
const MOST_VALUES: usize = 4096;

/// A value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, made harmless. Lines end in `\n`.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Several values, in the order in which they came.
    List(Vec<Value>),
    /// Named values.
    Fields(Fields),
}

impl Value {
    /// Bytes that mean no text, as hexadecimal digits: `00:1b:ff`.
    pub fn hex(bytes: &[u8]) -> Self {
        let digits: Vec<String> = bytes.iter().take(LONGEST_TEXT / 3).map(|b| format!("{b:02x}")).collect();
        let cut = if bytes.len() > LONGEST_TEXT / 3 { "…" } else { "" };
        Self::Text(digits.join(":") + cut)
    }

    /// Several values.
    pub fn list<T: Into<Self>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut values = values.into_iter();
        let mut kept: Vec<Self> = values.by_ref().take(MOST_VALUES).map(Into::into).collect();
        kept.extend(values.next().map(|_| Self::from("…")));
        Self::List(kept)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Text(text::foreign(bytes, LONGEST_TEXT))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_bytes().into()
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Text(address.to_string())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Fields(fields)
    }
}

impl fmt::Display for Value {
    /// For people, in one line but for the text's own lines: `a, b`; `name value, name value`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separate = |f: &mut fmt::Formatter<'_>, index| if index > 0 { f.write_str(", ") } else { Ok(()) };
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Self::List(values) => values.iter().enumerate().try_for_each(|(index, value)| {
                separate(f, index)?;
                value.fmt(f)
            }),
            Self::Fields(fields) => fields.iter().enumerate().try_for_each(|(index, (name, value))| {
                separate(f, index)?;
                write!(f, "{name} {value}")
            }),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(values) => serializer.collect_seq(values),
            Self::Fields(fields) => fields.serialize(serializer),
        }
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text (lines end in \\n), a whole number, yes or no, a list, or named values",
            "anyOf": [
                { "type": ["string", "integer", "boolean"] },
                { "type": "array", "items": generator.subschema_for::<Self>() },
                generator.subschema_for::<Fields>(),
            ],
        })
    }
}

/// Named values, in the order in which they are shown. In JSON an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(Cow<'static, str>, Value)>);

impl Fields {
    /// No values yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The fields with one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.push(name, value);
        self
    }

    /// The fields with one more where there is a value.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a value. A name that is there already gets a list of both, so that no value is lost.
    pub fn push(&mut self, name: &'static str, value: impl Into<Value>) {
        self.insert(Cow::Borrowed(name), value.into());
    }

    /// Adds a value under a name that the other end gave; what acts in the name is made harmless.
    pub fn push_foreign(&mut self, name: &[u8], value: impl Into<Value>) {
        let name = text::harmless(&String::from_utf8_lossy(name)).chars().take(100).collect::<String>();
        self.insert(Cow::Owned(name), value.into());
    }

    fn insert(&mut self, name: Cow<'static, str>, value: Value) {
        let full = self.0.len() >= MOST_VALUES;
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, Value::List(values))) if values.len() >= MOST_VALUES => {}
            Some((_, Value::List(values))) => values.push(value),
            Some((_, known)) => {
                let first = std::mem::replace(known, Value::Flag(false));
                *known = Value::List(vec![first, value]);
            }
            None if full => {}
            None => self.0.push((name, value)),
        }
    }

    /// The value of a name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The text of a name, where it is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<Value>() })
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, serde::Serialize, JsonSchema)]
pub struct Answer {
    /// The protocol's id, as `--as` takes it.
    pub protocol: &'static str,
    /// One line for people: what the server is, or what it said.
    pub summary: String,
    /// What it told, by name.
    pub fields: Fields,
}

impl Answer {
    /// An answer; the summary is made harmless and cut to a line.
    pub fn new(protocol: &'static str, summary: impl AsRef<str>, fields: Fields) -> Self {
        let summary = text::foreign(summary.as_ref().as_bytes(), LONGEST_SUMMARY);
        let summary = summary.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { protocol, summary, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_object_in_the_order_in_which_it_was_told() {
        let mut fields =
            Fields::new().with("version", 3_u8).with("secure", true).with_some("none", None::<&str>);
        fields.push("name", "b");
        fields.push("name", "a");
        fields.push_foreign(b"\x1b[2J", Value::hex(&[0, 0xff]));
        fields.push("of", Fields::new().with("x", Value::list(["1", "2"])));
        let answer = Answer::new("ldap", "dc1\r\nis \x1b up", fields);
        let json = r#"{"protocol":"ldap","summary":"dc1 is \\u{1b} up","fields":{"version":3,"secure":true,"name":["b","a"],"\\u{1b}[2J":"00:ff","of":{"x":["1","2"]}}}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        let shown: Vec<String> =
            answer.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(shown, ["version: 3", "secure: yes", "name: b, a", "\\u{1b}[2J: 00:ff", "of: x 1, 2"]);
    }

    #[test]
    fn whatever_a_server_sends_an_answer_is_bounded() {
        let mut fields = Fields::new();
        for index in 0..100_000_u32 {
            fields.push("same", index);
        }
        let Some(Value::List(values)) = fields.value("same") else { panic!("a list") };
        assert_eq!(values.len(), MOST_VALUES);
        assert_eq!(Value::list(0..100_000_u32), {
            let mut values: Vec<Value> = (0..4096_u32).map(Value::from).collect();
            values.push("…".into());
            Value::List(values)
        });
        assert_eq!(Value::hex(&[1; 100_000]).to_string().chars().count(), 1365 * 3);
    }
}
