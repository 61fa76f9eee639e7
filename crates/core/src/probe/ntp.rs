//! `ntp`: a time server: its time, how far it is from the true one, and whether it is in step.
//!
//! Source: RFC 5905 sections 7.3 (the packet), 7.4 (kiss codes), 6 (timestamps). Names of fields are the RFC's.
//! Leaves out on purpose: authentication, extension fields, and control messages (mode 6), which servers rightly do not
//! answer to strangers.

use std::net::Ipv4Addr;

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader, moment};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "ntp",
    aliases: &["sntp", "time-server"],
    title: "a time server: its time and stratum, and whether it is in step",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 123, "ntp")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a time server for the time, as a client does, and shows what it says about itself. Stratum 1 has a clock of
its own; each step away from it counts one more; 16, or an alarm as leap indicator, means that it is not in step
with anything and that clients will not follow it. Stratum 0 is a refusal with a reason (DENY, RATE).

Fields: leap_indicator; version; stratum; reference_id, which is a name at stratum 0 and 1 and an IPv4 address
(or part of a digest) further away; kiss_code at stratum 0; precision, as a power of two, in seconds;
root_delay_ms and root_dispersion_ms; reference_timestamp, when it was last set; transmit_timestamp, its time;
offset_ms, how far its clock is ahead of this computer's, to within the time that the answer took.
";

const LEAP: [&str; 4] =
    ["no warning", "last minute has 61 seconds", "last minute has 59 seconds", "unsynchronized"];
const VERSION: u8 = 4;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
const LENGTH: usize = 48;

struct Ntp {
    now_ms: i64,
    /// Sent as our time, and expected back: it tells nobody our clock, and only who saw it can answer.
    nonce: [u8; 8],
}

fn start(request: &Request) -> Box<dyn Session> {
    let now_ms = i64::try_from(request.now_ms).unwrap_or(i64::MAX);
    Box::new(Ntp { now_ms, nonce: request.random("transmit timestamp") })
}

impl Session for Ntp {
    fn hello(&mut self) -> Step {
        let mut packet = [0; LENGTH];
        packet[0] = VERSION << 3 | CLIENT;
        packet[LENGTH - 8..].copy_from_slice(&self.nonce);
        Step::Send(packet.to_vec())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            // Whatever is not an answer to this question may come from anybody.
            Event::Bytes { data, .. } => self.read(data).ok().flatten().map_or(Step::More, Step::Done),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

impl Ntp {
    fn read(&self, data: &[u8]) -> Result<Option<Answer>, DecodeError> {
        let mut reader = Reader::new(data);
        let first = reader.u8("leap indicator, version and mode")?;
        let (stratum, _poll) = (reader.u8("stratum")?, reader.u8("poll")?);
        let precision = reader.u8("precision")?.cast_signed();
        let (delay, dispersion) = (reader.u32_be("root delay")?, reader.u32_be("root dispersion")?);
        let reference_id: [u8; 4] = reader.array("reference ID")?;
        let reference = moment::of_ntp(reader.u64_be("reference timestamp")?);
        let origin: [u8; 8] = reader.array("origin timestamp")?;
        reader.u64_be("receive timestamp")?;
        let start = reader.offset();
        let transmit = moment::of_ntp(reader.u64_be("transmit timestamp")?);
        if first & 7 != SERVER || origin != self.nonce {
            return Ok(None);
        }
        let code =
            (stratum < 2).then(|| String::from_utf8_lossy(&reference_id).trim_end_matches('\0').to_owned());
        let leap = LEAP[usize::from(first >> 6)];
        let mut fields = Fields::new()
            .with("leap_indicator", leap)
            .with("version", first >> 3 & 7)
            .with("stratum", stratum);
        fields = match (stratum, code) {
            (0, Some(code)) => {
                let summary = format!("it refuses: {code}");
                return Ok(Some(Answer::new(PROTOCOL.id, summary, fields.with("kiss_code", code))));
            }
            (_, Some(code)) => fields.with("reference_id", code),
            _ => fields.with("reference_id", Ipv4Addr::from(reference_id).to_string()),
        };
        let transmit = transmit.ok_or(Reader::error_at(start, "transmit timestamp", Problem::Value(0)))?;
        let offset = transmit - self.now_ms;
        let fields = fields
            .with("precision", i64::from(precision))
            .with("root_delay_ms", milliseconds(delay))
            .with("root_dispersion_ms", milliseconds(dispersion))
            .with_some("reference_timestamp", reference.map(moment::text))
            .with("transmit_timestamp", moment::text(transmit))
            .with("offset_ms", offset);
        let state = if leap == LEAP[3] || stratum >= 16 { ", not in step" } else { "" };
        let summary = format!("{}, stratum {stratum}{state}, {offset:+} ms", moment::text(transmit));
        Ok(Some(Answer::new(PROTOCOL.id, summary, fields)))
    }
}

/// NTP's short format, seconds with 16 bits of fraction, in whole milliseconds.
fn milliseconds(short: u32) -> i64 {
    (i64::from(short) * 1000) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn the_servers_time_is_told_and_compared() {
        // chrony 4.3 of Debian 12, stratum 5 with the machine's clock, in November 2026.
        let reply = include_bytes!("../../tests/recordings/probe/ntp-chrony.bin");
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[reply]);
        let json = serde_json::to_value(&answer.fields).unwrap();
        assert_eq!((&json["stratum"], &json["version"]), (&5.into(), &4.into()));
        assert_eq!(json["reference_id"], "127.127.1.1");
        assert_eq!(json["transmit_timestamp"], "2026-11-22T00:50:37Z");
        assert_eq!(json["offset_ms"].as_i64().map(|ms| ms / 1000), Some(45_308_637));
        assert!(answer.summary.starts_with("2026-11-22T00:50:37Z, stratum 5, +453086"));
    }

    /// An answer to the rehearsal's question.
    fn reply(first: u8, stratum: u8, reference: &[u8; 4], transmit_ms: i64) -> Vec<u8> {
        let nonce: [u8; 8] = request(&PROTOCOL, Via::Udp).random("transmit timestamp");
        let transmit = moment::to_ntp(transmit_ms).to_be_bytes();
        [&[first, stratum, 6, 0xe9], &[0; 8][..], reference, &[0; 8], &nonce, &[0; 8], &transmit].concat()
    }

    #[test]
    fn a_server_out_of_step_and_a_refusal_are_seen() {
        let request = request(&PROTOCOL, Via::Udp);
        let lost = play(&PROTOCOL, &request, &[&reply(0xe4, 16, b"INIT", 1_750_000_000_100)]).answer.unwrap();
        assert_eq!(lost.summary, "2025-06-15T15:06:40Z, stratum 16, not in step, +99 ms");
        let refused = play(&PROTOCOL, &request, &[&reply(0xe4, 0, b"DENY", 0)]).answer.unwrap();
        assert_eq!(
            (refused.summary.as_str(), refused.fields.text("kiss_code")),
            ("it refuses: DENY", Some("DENY"))
        );
        let mut other = reply(0x24, 2, b"\xc0\0\x02\x01", 1_750_000_000_000);
        other[24] ^= 1;
        assert_eq!(play(&PROTOCOL, &request, &[&other]).answer.unwrap_err(), "it did not answer");
    }
}
