//! What Linux keeps of an ICMP error for a socket with IP_RECVERR or IPV6_RECVERR: a control message of its error queue.
//!
//! Source: ip(7) and ipv6(7) (IP_RECVERR), `linux/errqueue.h` (sock_extended_err, SO_EE_OFFENDER), cmsg(3). Numbers are in
//! host order, addresses in network order. Left out on purpose: time stamps, zero-copy notices and what no ICMP error
//! brought (a local MTU's), which the same queue carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::probe::{Icmp, IcmpVersion};
use crate::wire::{DecodeError, Problem, Reader};

/// SOL_IP and SOL_IPV6, and the kind of message that each has.
const SOL_IP: i32 = 0;
const IP_RECVERR: i32 = 11;
const SOL_IPV6: i32 = 41;
const IPV6_RECVERR: i32 = 25;

const SO_EE_ORIGIN_ICMP: u8 = 2;
const SO_EE_ORIGIN_ICMP6: u8 = 3;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A control message's header: its length as the kernel's word, its level and its kind.
const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

/// An ICMP error, and the error code that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedError {
    /// The system's code (ee_errno).
    pub code: i32,
    /// The error.
    pub icmp: Icmp,
}

/// The ICMP error among the control messages of one receive; none where they are about something else.
///
/// # Errors
/// A message is cut off, or its length lies.
pub fn icmp(control: &[u8]) -> Result<Option<QueuedError>, DecodeError> {
    let mut reader = Reader::new(control);
    // What is shorter than a header is the padding of the last message.
    while reader.remaining() >= HEADER {
        let start = reader.offset();
        let length = usize::from_ne_bytes(reader.array("cmsg_len")?);
        let level = i32::from_ne_bytes(reader.array("cmsg_level")?);
        let kind = i32::from_ne_bytes(reader.array("cmsg_type")?);
        let Some(size) = length.checked_sub(HEADER) else {
            return Err(Reader::error_at(start, "cmsg_len", Problem::Value(length as u64)));
        };
        let data = reader.part(size, "cmsg_data")?;
        reader.skip_padding(length.next_multiple_of(WORD) - length);
        if matches!((level, kind), (SOL_IP, IP_RECVERR) | (SOL_IPV6, IPV6_RECVERR)) {
            return extended_error(data);
        }
    }
    Ok(None)
}

fn extended_error(mut data: Reader<'_>) -> Result<Option<QueuedError>, DecodeError> {
    let code = i32::from_ne_bytes(data.array("ee_errno")?);
    let origin = data.u8("ee_origin")?;
    let kind = data.u8("ee_type")?;
    let icmp_code = data.u8("ee_code")?;
    data.take(1 + 4 + 4, "ee_data")?;
    let version = match origin {
        SO_EE_ORIGIN_ICMP => IcmpVersion::V4,
        SO_EE_ORIGIN_ICMP6 => IcmpVersion::V6,
        _ => return Ok(None),
    };
    let icmp = Icmp { version, kind, code: icmp_code, from: offender(data)? };
    Ok(Some(QueuedError { code, icmp }))
}

/// The address behind the error: a sockaddr of either family, or one of no family where it is not known.
fn offender(mut data: Reader<'_>) -> Result<Option<IpAddr>, DecodeError> {
    if data.remaining() < 2 {
        return Ok(None);
    }
    match data.u16_host("sa_family")? {
        AF_INET => {
            data.take(2, "sin_port")?;
            Ok(Some(IpAddr::V4(Ipv4Addr::from(data.array::<4>("sin_addr")?))))
        }
        AF_INET6 => {
            data.take(2 + 4, "sin6_flowinfo")?;
            Ok(Some(IpAddr::V6(Ipv6Addr::from(data.array::<16>("sin6_addr")?)).to_canonical()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(WORD), 0);
        bytes
    }

    fn error(code: i32, origin: u8, kind: u8, icmp_code: u8, offender: &[u8]) -> Vec<u8> {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([origin, kind, icmp_code, 0]);
        bytes.extend([0; 8]);
        bytes.extend(offender);
        bytes
    }

    fn sockaddr_in() -> Vec<u8> {
        let mut bytes = AF_INET.to_ne_bytes().to_vec();
        bytes.extend([0, 0, 192, 0, 2, 254]);
        bytes.extend([0; 8]);
        bytes
    }

    fn sample() -> Vec<u8> {
        let mut bytes = message(1, 29, &[0; 16]);
        bytes.extend(message(SOL_IP, IP_RECVERR, &error(113, SO_EE_ORIGIN_ICMP, 3, 13, &sockaddr_in())));
        bytes
    }

    #[test]
    fn type_code_and_sender_are_read_behind_other_messages() {
        let found = icmp(&sample()).unwrap().unwrap();
        let from = Some("192.0.2.254".parse().unwrap());
        let expected = Icmp { version: IcmpVersion::V4, kind: 3, code: 13, from };
        assert_eq!(found, QueuedError { code: 113, icmp: expected });
    }

    #[test]
    fn a_sender_of_ipv6_and_one_that_is_not_known_are_told_apart() {
        let mut address = AF_INET6.to_ne_bytes().to_vec();
        address.extend([0; 6]);
        address.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        address.extend([0; 4]);
        let with = |offender: &[u8]| {
            let bytes = message(SOL_IPV6, IPV6_RECVERR, &error(111, SO_EE_ORIGIN_ICMP6, 1, 4, offender));
            icmp(&bytes).unwrap().unwrap().icmp
        };
        assert_eq!(with(&address).from, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(with(&[0; 16]).from, None);
        assert_eq!(with(&[]).from, None);
    }

    #[test]
    fn what_is_no_icmp_error_is_none() {
        assert_eq!(icmp(&[]).unwrap(), None);
        assert_eq!(icmp(&message(1, 29, &[0; 16])).unwrap(), None);
        assert_eq!(icmp(&message(SOL_IP, IP_RECVERR, &error(90, 1, 0, 0, &[]))).unwrap(), None);
    }

    #[test]
    fn cut_anywhere_it_is_an_error_or_none_and_never_another_sender() {
        let whole = sample();
        let found = icmp(&whole).unwrap();
        for length in 0..whole.len() {
            if let Ok(Some(cut)) = icmp(&whole[..length]) {
                assert_eq!(Some(cut), found, "{length}");
            }
        }
        let mut lying = whole;
        lying[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert!(icmp(&lying).is_err());
        lying[..WORD].copy_from_slice(&0usize.to_ne_bytes());
        assert!(icmp(&lying).is_err());
    }
}
