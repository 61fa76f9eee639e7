//! Reading the file: the top object field by field, lists straight into their vectors, then every index checked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::{fmt, net::IpAddr};

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::harmless;
use super::row::Row;
use super::{SCHEMA, SnapshotFileError, guard};
use crate::snapshot::Snapshot;

const MAX_SOCKETS: usize = 20_000_000;
const MAX_HOLDERS: usize = 40_000_000;
const MAX_OWNERS: usize = 4_000_000;
/// Of reservations, addresses, carriers and rules: some thousands where many containers run.
const MAX_ENTRIES: usize = 1 << 20;
/// Of components, ranges, counters and gaps, which are a handful.
const MAX_FEW: usize = 1 << 16;

pub(super) fn read(mut input: impl Read) -> Result<Snapshot, SnapshotFileError> {
    let mut head = Vec::new();
    input.by_ref().take(64).read_to_end(&mut head).map_err(SnapshotFileError::Unreadable)?;
    let byte_order_mark = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let head = head.split_off(byte_order_mark);
    if head.first() != Some(&b'{') {
        let text = String::from_utf8_lossy(&head);
        return Err(SnapshotFileError::OtherFile(text.lines().next().unwrap_or_default().to_owned()));
    }
    let guarded = guard::Guard::new(io::Cursor::new(head).chain(input));
    let mut json = serde_json::Deserializer::from_reader(io::BufReader::with_capacity(64 << 10, guarded));
    let refusal = Refusal::default();
    let read = Top(&refusal).deserialize(&mut json).and_then(|s| json.end().map(|()| s));
    if let Some(refusal) = refusal.into_inner() {
        return Err(refusal);
    }
    let snapshot = read.map_err(SnapshotFileError::of)?;
    check(&snapshot).map_err(|problem| SnapshotFileError::malformed(&problem))?;
    Ok(snapshot)
}

/// What is to be said in place of serde_json's error: that one carries text alone, and where a whole element is at
/// fault it names the line of the next.
type Refusal = RefCell<Option<SnapshotFileError>>;

fn refuse<E: Error>(refusal: &Refusal, error: SnapshotFileError) -> E {
    let text = E::custom(&error);
    refusal.replace(Some(error));
    text
}

/// Whether every index of the snapshot points at something.
fn check(snapshot: &Snapshot) -> Result<(), String> {
    for (number, holder) in snapshot.holders.iter().enumerate() {
        if holder.owner as usize >= snapshot.owners.len() {
            let owners = snapshot.owners.len();
            return Err(format!(
                "holder {number} names owner {}, but there are {owners} owners",
                holder.owner
            ));
        }
    }
    for (number, socket) in snapshot.sockets.iter().enumerate() {
        let end = socket.first_holder as usize + usize::from(socket.holder_count);
        if end > snapshot.holders.len() {
            let holders = snapshot.holders.len();
            return Err(format!("socket {number} has holders up to {end}, but there are {holders} holders"));
        }
        if socket.origin as usize >= snapshot.origins.len() {
            let origins = snapshot.origins.len();
            return Err(format!(
                "socket {number} names origin {}, but there are {origins} origins",
                socket.origin
            ));
        }
    }
    for address in &snapshot.addresses {
        let bits = if matches!(address.address, IpAddr::V4(_)) { 32 } else { 128 };
        if address.prefix > bits {
            return Err(format!("{}/{} has a prefix beyond {bits} bits", address.address, address.prefix));
        }
    }
    Ok(())
}

/// The fields that follow `schema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Program,
    Version,
    TakenMs,
    Host,
    Settings,
    Components,
    Ranges,
    Reservations,
    Burnt,
    Addresses,
    Carriers,
    Firewall,
    Counters,
    Gaps,
    Origins,
    Owners,
    Holders,
    Sockets,
}

impl Field {
    const ALL: [(Self, &'static str); 18] = [
        (Self::Program, "program"),
        (Self::Version, "version"),
        (Self::TakenMs, "taken_ms"),
        (Self::Host, "host"),
        (Self::Settings, "settings"),
        (Self::Components, "components"),
        (Self::Ranges, "ranges"),
        (Self::Reservations, "reservations"),
        (Self::Burnt, "burnt"),
        (Self::Addresses, "addresses"),
        (Self::Carriers, "carriers"),
        (Self::Firewall, "firewall"),
        (Self::Counters, "counters"),
        (Self::Gaps, "gaps"),
        (Self::Origins, "origins"),
        (Self::Owners, "owners"),
        (Self::Holders, "holders"),
        (Self::Sockets, "sockets"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(field, _)| *field == self).map_or("", |(_, name)| name)
    }

    /// The first schema that has it.
    const fn since(self) -> u64 {
        match self {
            Self::Burnt => 2,
            _ => 1,
        }
    }

    /// Reads the value of this field into its place.
    fn read_into<'de, A: MapAccess<'de>>(
        self,
        snapshot: &mut Snapshot,
        map: &mut A,
        refusal: &Refusal,
    ) -> Result<(), A::Error> {
        let entries = |what| Limit { what, limit: MAX_ENTRIES, refusal };
        let few = |what| Limit { limit: MAX_FEW, ..entries(what) };
        match self {
            Self::Program | Self::Version => drop(map.next_value::<String>()?),
            Self::TakenMs => snapshot.taken_ms = map.next_value()?,
            Self::Host => snapshot.host = map.next_value()?,
            Self::Settings => snapshot.settings = map.next_value()?,
            Self::Components => snapshot.components = map.next_value_seed(list(few("components")))?,
            Self::Ranges => snapshot.ranges = map.next_value_seed(list(few("ranges")))?,
            Self::Reservations => {
                snapshot.reservations = map.next_value_seed(list(entries("reservations")))?;
            }
            Self::Burnt => snapshot.burnt = map.next_value_seed(Maybe(list(entries("burnt ports"))))?,
            Self::Addresses => snapshot.addresses = map.next_value_seed(list(entries("addresses")))?,
            Self::Carriers => snapshot.carriers = map.next_value_seed(list(entries("carriers")))?,
            Self::Firewall => {
                snapshot.firewall = map.next_value_seed(Maybe(list(entries("firewall rules"))))?;
            }
            Self::Counters => snapshot.counters = map.next_value_seed(Counters)?,
            Self::Gaps => snapshot.gaps = map.next_value_seed(list(few("gaps")))?,
            Self::Origins => {
                snapshot.origins =
                    map.next_value_seed(list(Limit { limit: MAX_OWNERS, ..entries("origins") }))?
            }
            Self::Owners => {
                snapshot.owners =
                    map.next_value_seed(list(Limit { limit: MAX_OWNERS, ..entries("owners") }))?
            }
            Self::Holders => {
                snapshot.holders =
                    map.next_value_seed(list(Limit { limit: MAX_HOLDERS, ..entries("holders") }))?
            }
            Self::Sockets => {
                let sockets =
                    List { limit: Limit { limit: MAX_SOCKETS, ..entries("sockets") }, keep: Row::socket };
                snapshot.sockets = map.next_value_seed(sockets)?;
            }
        }
        Ok(())
    }
}

/// The top object.
struct Top<'a>(&'a Refusal);

impl Top<'_> {
    /// Sees that the file begins with a schema this program knows.
    fn read_schema<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<u64, A::Error> {
        let first = map.next_key::<String>()?.unwrap_or_default();
        if first != "schema" {
            return Err(refuse(
                self.0,
                SnapshotFileError::OtherFile(format!("{{\"{}\"", harmless(&first, 30))),
            ));
        }
        let schema: u64 = map.next_value()?;
        if schema > u64::from(SCHEMA) {
            return Err(refuse(self.0, SnapshotFileError::Newer { schema, version: writer_version(map) }));
        }
        if schema == 0 { Err(A::Error::custom("there is no schema 0")) } else { Ok(schema) }
    }
}

/// The version that wrote a newer file, if it still stands where schema 1 has it.
fn writer_version<'de, A: MapAccess<'de>>(map: &mut A) -> Option<String> {
    let (program, _) = map.next_entry::<String, String>().ok()??;
    let (version, value) = map.next_entry::<String, String>().ok()??;
    (program == "program" && version == "version").then_some(value)
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Snapshot;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Snapshot, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Snapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Snapshot, A::Error> {
        let schema = self.read_schema(&mut map)?;
        let mut snapshot = Snapshot::default();
        let mut missing = Field::ALL.to_vec();
        while let Some(field) = map.next_key::<Field>()? {
            let Some(place) = missing.iter().position(|(candidate, _)| *candidate == field) else {
                return Err(A::Error::duplicate_field(field.name()));
            };
            missing.remove(place);
            field.read_into(&mut snapshot, &mut map, self.0)?;
        }
        match missing.iter().find(|(field, _)| field.since() <= schema) {
            Some((_, name)) => Err(A::Error::missing_field(name)),
            None => Ok(snapshot),
        }
    }
}

/// How many of something a file may hold.
#[derive(Clone, Copy)]
struct Limit<'a> {
    what: &'static str,
    limit: usize,
    refusal: &'a Refusal,
}

/// A list of bounded length, whose elements are turned into what is kept one by one.
struct List<'a, T, U> {
    limit: Limit<'a>,
    keep: fn(T) -> Result<U, String>,
}

/// A list whose elements are kept as they are.
fn list<T>(limit: Limit<'_>) -> List<'_, T, T> {
    List { limit, keep: Ok }
}

impl<'de, T: Deserialize<'de>, U> DeserializeSeed<'de> for List<'_, T, U> {
    type Value = Vec<U>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<U>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, U> Visitor<'de> for List<'_, T, U> {
    type Value = Vec<U>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.limit.what)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<U>, A::Error> {
        let Limit { what, limit, refusal } = self.limit;
        let malformed = |problem: String| refuse(refusal, SnapshotFileError::malformed(&problem));
        let mut kept = Vec::new();
        while let Some(element) = elements.next_element()? {
            if kept.len() == limit {
                return Err(malformed(format!("the file has more than {limit} {what}")));
            }
            let number = kept.len();
            kept.push(
                (self.keep)(element).map_err(|problem| malformed(format!("{what} {number}: {problem}")))?,
            );
        }
        Ok(kept)
    }
}

/// A list, or null.
struct Maybe<'a, T>(List<'a, T, T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Maybe<'_, T> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Maybe<'_, T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {} or null", self.0.limit.what)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

/// Counters by name, each name once.
struct Counters;

impl<'de> DeserializeSeed<'de> for Counters {
    type Value = BTreeMap<String, u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Counters {
    type Value = BTreeMap<String, u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counters by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut counters = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, u64>()? {
            if counters.len() == MAX_FEW {
                return Err(A::Error::custom(format_args!("more than {MAX_FEW} counters")));
            }
            if counters.insert(name, value).is_some() {
                return Err(A::Error::custom("a counter stands twice"));
            }
        }
        Ok(counters)
    }
}
