//! A rule's JSON as a line like the one that was typed.
//!
//! Source: nft(8) for the words. Long sets are cut, and what has no short form shows its name alone: the line helps
//! to find the rule, it is not meant to be loaded again.

use serde_json::Value;

use super::{only_field, text_of};

/// Length to which a rule's text is kept, in characters.
const LIMIT: usize = 200;
/// Elements of a set that are shown.
const SHOWN: usize = 8;

/// One rule.
pub(super) fn rule(expressions: &[Value]) -> String {
    let words: Vec<String> =
        expressions.iter().filter_map(only_field).filter_map(|(k, b)| statement(k, b)).collect();
    words.join(" ").chars().take(LIMIT).collect()
}

fn statement(kind: &str, body: &Value) -> Option<String> {
    Some(match kind {
        "counter" => return None,
        "match" => {
            let op = match text_of(body, "op") {
                "==" | "in" | "" => String::new(),
                op => format!("{op} "),
            };
            format!("{} {op}{}", left(body.get("left")), value(body.get("right"), 0))
        }
        "vmap" => format!("{} vmap {}", left(body.get("key")), value(body.get("data"), 0)),
        "dnat" => format!("dnat to {}", translation(body)),
        "redirect" if body.is_null() => "redirect".to_owned(),
        "redirect" => format!("redirect to {}", translation(body)),
        "jump" | "goto" => format!("{kind} {}", text_of(body, "target")),
        "xt" => format!("xt {}", text_of(body, "name")),
        "limit" => format!("limit rate {}/{}", value(body.get("rate"), 0), text_of(body, "per")),
        other => other.to_owned(),
    })
}

fn translation(body: &Value) -> String {
    let map = |name: &str| body.get(name).and_then(|part| part.get("map"));
    match map("addr").or_else(|| map("port")) {
        Some(map) => format!("{} map {}", left(map.get("key")), value(map.get("data"), 0)),
        None => endpoint(body.get("addr"), body.get("port")).unwrap_or_default(),
    }
}

/// `10.0.0.2:80`, `[fd00::2]:80`, `10.0.0.2`, or `port 80` of the host itself.
pub(super) fn endpoint(address: Option<&Value>, port: Option<&Value>) -> Option<String> {
    let address = address.map(|address| value(Some(address), 0));
    let port = port.map(|port| value(Some(port), 0));
    match (address, port) {
        (None, None) => None,
        (None, Some(port)) => Some(format!("port {port}")),
        (Some(address), None) => Some(address),
        (Some(address), Some(port)) if address.contains(':') => Some(format!("[{address}]:{port}")),
        (Some(address), Some(port)) => Some(format!("{address}:{port}")),
    }
}

fn left(left: Option<&Value>) -> String {
    let Some((kind, body)) = left.and_then(only_field) else { return "?".to_owned() };
    match kind {
        "payload" => format!("{} {}", text_of(body, "protocol"), text_of(body, "field")),
        "meta" => match text_of(body, "key") {
            name @ ("iif" | "iifname" | "oif" | "oifname") => name.to_owned(),
            name => format!("meta {name}"),
        },
        "ct" => format!("ct {}", text_of(body, "key")),
        "fib" => format!("fib {} {}", value(body.get("flags"), 0), text_of(body, "result")),
        "concat" => list(body, " . ", |part| self::left(Some(part))),
        other => other.to_owned(),
    }
}

/// A value; nested ones to a depth that no real listing has.
fn value(of: Option<&Value>, depth: u32) -> String {
    let inner = |value: &Value| self::value(Some(value), depth + 1);
    match of {
        None | Some(Value::Null) => String::new(),
        Some(_) if depth > 6 => "…".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(_)) => list(of.unwrap_or(&Value::Null), ",", inner),
        Some(Value::Object(_)) => match of.and_then(only_field) {
            Some(("set", body)) => {
                format!("{{ {} }}", list(body, ", ", |element| self::element(element, depth)))
            }
            Some(("range", body)) => list(body, "-", inner),
            Some(("concat", body)) => list(body, " . ", inner),
            Some(("prefix", body)) => {
                format!("{}/{}", text_of(body, "addr"), value(body.get("len"), depth + 1))
            }
            Some(("elem", body)) => value(body.get("val"), depth + 1),
            Some((kind, body)) => statement_word(kind, body),
            None => "…".to_owned(),
        },
        Some(other) => other.to_string(),
    }
}

/// An element of a set, or a pair of a map.
fn element(element: &Value, depth: u32) -> String {
    match element.as_array().map(Vec::as_slice) {
        Some([key, data]) => format!("{} : {}", value(Some(key), depth + 1), value(Some(data), depth + 1)),
        _ => value(Some(element), depth + 1),
    }
}

fn statement_word(kind: &str, body: &Value) -> String {
    match body.get("target").and_then(Value::as_str) {
        Some(target) => format!("{kind} {target}"),
        None => kind.to_owned(),
    }
}

fn list(values: &Value, between: &str, each: impl Fn(&Value) -> String) -> String {
    let values = values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
    let mut shown: Vec<String> = values.iter().take(SHOWN).map(each).collect();
    if values.len() > SHOWN {
        shown.push("…".to_owned());
    }
    shown.join(between)
}
