//! The way that this machine takes to an address: the question to Linux's rtnetlink, its answer, and the way itself.
//!
//! Source: rtnetlink(7), `linux/rtnetlink.h` (rtmsg, RTM_GETROUTE); for what comes back where there is no way
//! `net/ipv4/route.c` and `net/ipv6/route.c`. Left out on purpose: several next hops of one route (the kernel answers
//! with the one it takes), metrics, and routes by mark or by port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Serialize;

use crate::wire::netlink::{self, attribute, push_attribute};
use crate::wire::{DecodeError, Problem, Reader};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;

/// EINVAL, EACCES, EHOSTUNREACH: how IPv4 refuses for a route that swallows, forbids, or says that there is no way.
const EINVAL: i32 = 22;
const EACCES: i32 = 13;
const EHOSTUNREACH: i32 = 113;

/// What kind of way leads to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// Through an interface, to the address itself or to a gateway.
    Unicast,
    /// The address is this machine's.
    Local,
    /// To all of a network.
    Broadcast,
    /// To a group.
    Multicast,
    /// A route of this machine swallows what goes there.
    Blackhole,
    /// A route of this machine says that it cannot be reached.
    Unreachable,
    /// A route of this machine forbids it.
    Prohibit,
    /// No route leads there.
    None,
}

impl RouteKind {
    /// Whether something can be sent.
    pub const fn leads_there(self) -> bool {
        matches!(self, Self::Unicast | Self::Local | Self::Broadcast | Self::Multicast)
    }

    /// What it is, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Unicast => "a way there",
            Self::Local => "an address of this machine",
            Self::Broadcast => "to all of a network",
            Self::Multicast => "to a group",
            Self::Blackhole => "a blackhole route of this machine swallows it",
            Self::Unreachable => "an unreachable route of this machine refuses it",
            Self::Prohibit => "a prohibit route of this machine forbids it",
            Self::None => "no route leads there",
        }
    }

    /// What Linux says instead of a route.
    pub const fn of_refusal(code: i32) -> Self {
        match code {
            EINVAL => Self::Blackhole,
            EACCES => Self::Prohibit,
            EHOSTUNREACH => Self::Unreachable,
            _ => Self::None,
        }
    }

    const fn of_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Unicast,
            2 => Self::Local,
            3 | 4 => Self::Broadcast,
            5 => Self::Multicast,
            6 => Self::Blackhole,
            7 => Self::Unreachable,
            8 => Self::Prohibit,
            _ => return None,
        })
    }
}

/// The way to an address, as a kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What kind of way.
    pub kind: RouteKind,
    /// The interface's index.
    pub interface: Option<u32>,
    /// The address that it is sent from.
    pub source: Option<IpAddr>,
    /// The router that it is given to; none where the address is on the link.
    pub gateway: Option<IpAddr>,
}

impl Route {
    /// None, for that reason.
    pub const fn none(kind: RouteKind) -> Self {
        Self { kind, interface: None, source: None, gateway: None }
    }
}

/// Asks for the way to an address, over that interface where one is given.
pub fn request(sequence: u32, to: IpAddr, interface: Option<u32>) -> Vec<u8> {
    let (family, octets) = match to {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    // rtmsg: family, length of the destination, then zeros.
    let mut body = vec![family as u8, (octets.len() * 8) as u8];
    body.resize(12, 0);
    push_attribute(&mut body, RTA_DST, &octets);
    if let Some(interface) = interface {
        push_attribute(&mut body, RTA_OIF, &interface.to_ne_bytes());
    }
    netlink::request(RTM_GETROUTE, sequence, &body)
}

/// Whether a row of that number is a route.
pub const fn is_route(kind: u16) -> bool {
    kind == RTM_NEWROUTE
}

/// A route.
///
/// # Errors
/// It is cut off, or its type means nothing.
pub fn decode(mut body: Reader<'_>) -> Result<Route, DecodeError> {
    body.u8("rtm_family")?;
    body.take(6, "rtm_dst_len")?;
    let offset = body.offset();
    let number = body.u8("rtm_type")?;
    let kind = RouteKind::of_number(number);
    let kind = kind.ok_or(Reader::error_at(offset, "rtm_type", Problem::Value(number.into())))?;
    body.take(4, "rtm_flags")?;
    let mut route = Route::none(kind);
    while let Some((kind, mut payload)) = attribute(&mut body)? {
        match kind {
            RTA_OIF => route.interface = Some(payload.u32_host("RTA_OIF")?),
            RTA_GATEWAY => route.gateway = address(payload, "RTA_GATEWAY")?,
            RTA_PREFSRC => route.source = address(payload, "RTA_PREFSRC")?,
            RTA_VIA => {
                payload.u16_host("rtvia_family")?;
                route.gateway = address(payload, "rtvia_addr")?;
            }
            _ => {}
        }
    }
    if !kind.leads_there() {
        // IPv6 gives such routes the loopback interface and a source.
        return Ok(Route::none(kind));
    }
    Ok(route)
}

/// An address by its length.
fn address(mut payload: Reader<'_>, field: &'static str) -> Result<Option<IpAddr>, DecodeError> {
    let address: IpAddr = if payload.remaining() == 4 {
        Ipv4Addr::from(payload.array::<4>(field)?).into()
    } else {
        Ipv6Addr::from(payload.array::<16>(field)?).into()
    };
    Ok((!address.is_unspecified()).then_some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: u8) -> Vec<u8> {
        let mut body = vec![AF_INET as u8, 32, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0];
        push_attribute(&mut body, RTA_DST, &[10, 0, 0, 7]);
        push_attribute(&mut body, RTA_OIF, &3_u32.to_ne_bytes());
        push_attribute(&mut body, RTA_GATEWAY, &[192, 0, 2, 254]);
        push_attribute(&mut body, RTA_PREFSRC, &[192, 0, 2, 1]);
        body
    }

    #[test]
    fn interface_source_and_gateway_are_read() {
        let route = decode(Reader::new(&row(1))).unwrap();
        let (source, gateway) = ("192.0.2.1".parse().ok(), "192.0.2.254".parse().ok());
        assert_eq!(route, Route { kind: RouteKind::Unicast, interface: Some(3), source, gateway });
    }

    #[test]
    fn a_gateway_of_the_other_family_is_read() {
        let mut body = row(1);
        let mut via = AF_INET6.to_ne_bytes().to_vec();
        via.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        push_attribute(&mut body, RTA_VIA, &via);
        assert_eq!(decode(Reader::new(&body)).unwrap().gateway, "fe80::1".parse().ok());
    }

    #[test]
    fn a_route_that_leads_nowhere_has_its_kind_alone() {
        for (number, kind) in
            [(6, RouteKind::Blackhole), (7, RouteKind::Unreachable), (8, RouteKind::Prohibit)]
        {
            assert_eq!(decode(Reader::new(&row(number))).unwrap(), Route::none(kind));
        }
        let kinds = [EINVAL, EACCES, EHOSTUNREACH, 101].map(RouteKind::of_refusal);
        assert_eq!(
            kinds,
            [RouteKind::Blackhole, RouteKind::Prohibit, RouteKind::Unreachable, RouteKind::None]
        );
        assert_eq!(decode(Reader::new(&row(11))).unwrap_err().field, "rtm_type");
    }

    #[test]
    fn cut_anywhere_it_is_an_error_or_lacks_what_was_cut() {
        let whole = row(1);
        let found = decode(Reader::new(&whole)).unwrap();
        for length in 0..whole.len() {
            if let Ok(cut) = decode(Reader::new(&whole[..length])) {
                assert!(cut.source.is_none() && (cut.gateway.is_none() || cut.gateway == found.gateway));
            }
        }
    }

    #[test]
    fn the_question_names_the_address_and_the_interface() {
        let bytes = request(7, "2001:db8::1".parse().unwrap(), Some(9));
        assert_eq!(bytes.len(), 16 + 12 + 20 + 8);
        assert_eq!(bytes[16..18], [10, 128]);
    }
}
