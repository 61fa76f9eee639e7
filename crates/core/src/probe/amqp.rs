//! `amqp`: the version of a message broker, and how it authenticates.
//!
//! Source: AMQP 0-9-1 specification sections 2.2.4 (header), 2.3.5 (frames), 4.2.5.5 (tables) and its class connection,
//! with RabbitMQ's errata on field types; AMQP 1.0 part 2 section 2.2 (version negotiation).
//! Leaves out on purpose: logging in, and AMQP 1.0 beyond its header.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::line::may_begin;
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "amqp",
    aliases: &["rabbitmq"],
    title: "a message broker (AMQP): its product and version, how it authenticates",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 5672, "amqp"), Home::new(Via::Tls, 5671, "amqps")],
    settings: &[],
    start,
};

const DOC: &str = "\
Offers AMQP 0-9-1 to a message broker, which then tells what it is (RabbitMQ does, with its version) and how it
wants to know who one is. A broker of another version answers with the version that it speaks: 1.0, for the most
part. Nobody logs in.

Fields: version; product, product_version, platform, cluster_name, mechanisms, where the broker tells them.
";

const METHOD: u8 = 1;
const FRAME_END: u8 = 0xce;
const LONGEST_FRAME: u32 = 128 * 1024;
/// Tables lie in tables; none that tells something lies deeper.
const DEEPEST: usize = 4;

struct Amqp;

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Amqp)
}

fn read(data: &[u8]) -> Result<Step, DecodeError> {
    let mut reader = Reader::new(data);
    if reader.peek() == Some(b'A') {
        return other_version(reader);
    }
    let kind = reader.u8("frame type")?;
    let channel = reader.u16_be("channel")?;
    if kind != METHOD || channel != 0 {
        return Err(Reader::error_at(0, "frame type", Problem::Value(kind.into())));
    }
    let size = reader.u32_be("frame size")?;
    if size > LONGEST_FRAME {
        return Err(Reader::error_at(3, "frame size", Problem::Value(size.into())));
    }
    let payload = reader.part(size as usize, "frame payload")?;
    let end = reader.u8("frame-end")?;
    if end != FRAME_END {
        return Err(Reader::error_at(reader.offset() - 1, "frame-end", Problem::Value(end.into())));
    }
    // What is cut inside a whole frame does not get longer by waiting.
    connection_start(payload).map_err(|error| Reader::error_at(error.offset, error.field, Problem::Value(0)))
}

/// The header of the version that a broker speaks, where it is not ours.
fn other_version(mut reader: Reader<'_>) -> Result<Step, DecodeError> {
    if !may_begin(reader.rest(), b"AMQP") {
        return Err(Reader::error_at(0, "protocol header", Problem::Value(0)));
    }
    reader.take(4, "protocol header")?;
    let [id, major, minor, revision] = reader.array::<4>("protocol-id")?;
    let version = if major == 0 || id == 1 && major > 1 {
        format!("{major}-{minor}-{revision}")
    } else {
        format!("{major}.{minor}")
    };
    let summary = format!("a message broker that speaks AMQP {version}");
    Ok(Step::Done(Answer::new(PROTOCOL.id, summary, Fields::new().with("version", version))))
}

/// The method Connection.Start.
fn connection_start(mut payload: Reader<'_>) -> Result<Step, DecodeError> {
    let (class, method) = (payload.u16_be("class-id")?, payload.u16_be("method-id")?);
    if (class, method) != (10, 10) {
        return Err(Reader::error_at(0, "class-id", Problem::Value(class.into())));
    }
    let (major, minor) = (payload.u8("version-major")?, payload.u8("version-minor")?);
    let mut fields = Fields::new().with("version", format!("{major}-{minor}"));
    let length = payload.u32_be("server-properties")?;
    let mut properties = Vec::new();
    table(payload.part(length as usize, "server-properties")?, &mut properties, 0)?;
    let told =
        |name: &str| properties.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| *value);
    for (name, key) in [
        ("product", "product"),
        ("product_version", "version"),
        ("platform", "platform"),
        ("cluster_name", "cluster_name"),
    ] {
        if let Some(value) = told(key) {
            fields.push(name, value);
        }
    }
    let length = payload.u32_be("mechanisms")?;
    let mechanisms = payload.take(length as usize, "mechanisms")?;
    fields.push(
        "mechanisms",
        Value::list(mechanisms.split(|&byte| byte == b' ').filter(|word| !word.is_empty())),
    );
    let summary = match (fields.text("product"), fields.text("product_version")) {
        (Some(product), Some(version)) => format!("{product} {version}"),
        (Some(product), None) => product.to_owned(),
        _ => "a message broker (AMQP 0-9-1)".to_owned(),
    };
    Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)))
}

/// The texts of a field table, by name; other values are passed over.
fn table<'a>(
    mut table_reader: Reader<'a>,
    texts: &mut Vec<(&'a [u8], &'a [u8])>,
    depth: usize,
) -> Result<(), DecodeError> {
    while !table_reader.is_empty() {
        let length = table_reader.u8("field-name")?;
        let name = table_reader.take(length.into(), "field-name")?;
        if let Some(text) = value(&mut table_reader, depth)?.filter(|_| depth == 0) {
            texts.push((name, text));
        }
    }
    Ok(())
}

/// A field value, where it is a text.
fn value<'a>(reader: &mut Reader<'a>, depth: usize) -> Result<Option<&'a [u8]>, DecodeError> {
    let start = reader.offset();
    let kind = reader.u8("field-value type")?;
    let size = match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'x' | b'F' | b'A' => {
            let length = reader.u32_be("field-value length")?;
            let mut inside = reader.part(length as usize, "field-value")?;
            match kind {
                b'F' if depth < DEEPEST => table(inside, &mut Vec::new(), depth + 1)?,
                b'A' if depth < DEEPEST => {
                    while !inside.is_empty() {
                        value(&mut inside, depth + 1)?;
                    }
                }
                _ => {}
            }
            return Ok((kind == b'S').then(|| inside.rest()));
        }
        other => return Err(Reader::error_at(start, "field-value type", Problem::Value(other.into()))),
    };
    reader.take(size, "field-value")?;
    Ok(None)
}

impl Session for Amqp {
    fn hello(&mut self) -> Step {
        Step::Send(b"AMQP\0\0\x09\x01".to_vec())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_line(read(data), "AMQP", data),
            Event::Closed { .. } | Event::Silence { .. } => {
                Step::failed("it did not answer a question of AMQP")
            }
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// Built after AMQP 0-9-1 with the properties that RabbitMQ 3.10 tells: no broker was at hand.
    fn start_frame() -> Vec<u8> {
        let long = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let field = |name: &str, kind: u8, value: &[u8]| {
            [&[name.len() as u8], name.as_bytes(), &[kind], value].concat()
        };
        let capabilities = [field("basic.nack", b't', &[1]), field("list", b'A', &long(b"t\x01"))].concat();
        let properties = [
            field("capabilities", b'F', &long(&capabilities)),
            field("cluster_name", b'S', &long(b"rabbit@lab")),
            field("product", b'S', &long(b"RabbitMQ")),
            field("version", b'S', &long(b"3.10.8")),
        ]
        .concat();
        let method =
            [&[0, 10, 0, 10, 0, 9][..], &long(&properties), &long(b"PLAIN AMQPLAIN"), &long(b"en_US")]
                .concat();
        [&[METHOD, 0, 0][..], &long(&method), &[FRAME_END]].concat()
    }

    #[test]
    fn a_broker_tells_what_it_is() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[&start_frame()]);
        assert_eq!(answer.summary, "RabbitMQ 3.10.8");
        let json = r#"{"version":"0-9","product":"RabbitMQ","product_version":"3.10.8","cluster_name":"rabbit@lab","mechanisms":["PLAIN","AMQPLAIN"]}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn a_broker_of_another_version_says_which() {
        let told =
            |reply: &[u8]| play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[reply]).answer.map(|a| a.summary);
        assert_eq!(told(b"AMQP\x03\x01\0\0").unwrap(), "a message broker that speaks AMQP 1.0");
        assert_eq!(told(b"AMQP\0\x01\0\0").unwrap(), "a message broker that speaks AMQP 1.0");
        assert_eq!(told(b"AMQP\0\0\x0a\0").unwrap(), "a message broker that speaks AMQP 0-10-0");
        assert_eq!(told(b"220 mail\r\n").unwrap_err(), "this is not AMQP: it said \"220 mail\"");
    }
}
