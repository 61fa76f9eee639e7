//! Netlink framing: messages one after the other in what one receive gives, and the attributes inside them.
//!
//! Source: `linux/netlink.h`. Numbers are in host order; messages and attributes are padded to 4 bytes.
//! Leaves out on purpose: extended acknowledgements (the error number says enough) and nested attributes.

use super::{DecodeError, Problem, Reader};

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// What one message is.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A row of an answer, by its family's number of it.
    Row(u16, Reader<'a>),
    /// The answer is complete, or was broken off with this error number (0: complete).
    Done(i32),
    /// The request was refused with this error number (0: an acknowledgement).
    Refused(i32),
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Which request it answers.
    pub sequence: u32,
    /// What was listed changed meanwhile: the answer may lack rows or have some twice.
    pub interrupted: bool,
    /// What it says.
    pub content: Content<'a>,
}

/// The messages in what one receive gave. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Messages<'a>(Reader<'a>);

impl<'a> Messages<'a> {
    /// The messages in these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes))
    }

    fn message(&mut self) -> Result<Option<Message<'a>>, DecodeError> {
        let start = self.0.offset();
        let length = self.0.u32_host("nlmsg_len")? as usize;
        let kind = self.0.u16_host("nlmsg_type")?;
        let flags = self.0.u16_host("nlmsg_flags")?;
        let sequence = self.0.u32_host("nlmsg_seq")?;
        self.0.u32_host("nlmsg_pid")?;
        let Some(size) = length.checked_sub(HEADER) else {
            return Err(Reader::error_at(start, "nlmsg_len", Problem::Value(length as u64)));
        };
        let mut body = self.0.part(size, "nlmsg payload")?;
        self.0.skip_padding(padding(length));
        let content = match kind {
            NLMSG_NOOP => return Ok(None),
            NLMSG_ERROR => Content::Refused(errno(&mut body, "nlmsgerr.error")?),
            // Old kernels end a list without a number.
            NLMSG_DONE if body.is_empty() => Content::Done(0),
            NLMSG_DONE => Content::Done(errno(&mut body, "NLMSG_DONE error")?),
            _ => Content::Row(kind, body),
        };
        Ok(Some(Message { sequence, interrupted: flags & NLM_F_DUMP_INTR != 0, content }))
    }
}

/// The kernel writes error numbers negated.
fn errno(body: &mut Reader<'_>, field: &'static str) -> Result<i32, DecodeError> {
    Ok(i32::from_ne_bytes(body.array(field)?).saturating_neg().max(0))
}

const fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.message() {
                Ok(None) => {}
                Ok(Some(message)) => return Some(Ok(message)),
                Err(error) => {
                    self.0 = Reader::new(&[]);
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The next attribute of a message's rest: its type and payload; nothing at the end.
pub fn attribute<'a>(rest: &mut Reader<'a>) -> Result<Option<(u16, Reader<'a>)>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let start = rest.offset();
    let length = usize::from(rest.u16_host("nla_len")?);
    let kind = rest.u16_host("nla_type")? & NLA_TYPE_MASK;
    let Some(size) = length.checked_sub(ATTRIBUTE_HEADER) else {
        return Err(Reader::error_at(start, "nla_len", Problem::Value(length as u64)));
    };
    let payload = rest.part(size, "nla payload")?;
    rest.skip_padding(padding(length));
    Ok(Some((kind, payload)))
}

/// A request for a list: header, then `body`, which the caller has padded.
pub fn dump_request(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    message_of(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)
}

/// A request for one thing to be done, answered by [`Content::Refused`] with 0 where it was.
pub fn request(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    message_of(kind, NLM_F_REQUEST | NLM_F_ACK, sequence, body)
}

fn message_of(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0_u32.to_ne_bytes());
    message.extend_from_slice(body);
    message
}

/// Appends an attribute with its padding. A payload that does not fit its 16 bits of length is cut by the caller's
/// own limits; here it is left out whole.
pub fn push_attribute(body: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let Ok(length) = u16::try_from(ATTRIBUTE_HEADER + payload.len()) else { return };
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(payload);
    body.resize(body.len() + padding(payload.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = dump_request(kind, 7, body);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    #[test]
    fn messages_follow_each_other_padded_to_four() {
        let mut bytes = message(20, 2, &[1, 2, 3]);
        bytes.push(0);
        bytes.extend(message(NLMSG_NOOP, 0, &[]));
        bytes.extend(message(20, NLM_F_DUMP_INTR, &[4]));
        bytes.extend([0; 3]);
        bytes.extend(message(NLMSG_DONE, 2, &0_i32.to_ne_bytes()));
        let messages: Vec<_> = Messages::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|m| m.sequence == 7));
        assert_eq!(messages.iter().map(|m| m.interrupted).collect::<Vec<_>>(), [false, true, false]);
        let Content::Row(20, body) = messages[1].content else { panic!("{:?}", messages[1]) };
        assert_eq!(body.remaining(), 1);
        assert!(matches!(messages[2].content, Content::Done(0)));
    }

    #[test]
    fn a_refusal_and_a_list_that_broke_off_keep_the_error_number() {
        let refused = message(NLMSG_ERROR, 0, &(-93_i32).to_ne_bytes());
        let broken = message(NLMSG_DONE, 0, &(-90_i32).to_ne_bytes());
        assert!(matches!(
            Messages::new(&refused).next(),
            Some(Ok(Message { content: Content::Refused(93), .. }))
        ));
        assert!(matches!(
            Messages::new(&broken).next(),
            Some(Ok(Message { content: Content::Done(90), .. }))
        ));
    }

    #[test]
    fn a_truncated_message_is_an_error_and_the_end() {
        let mut bytes = message(20, 0, &[0; 72]);
        bytes.extend(message(NLMSG_DONE, 0, &0_i32.to_ne_bytes()));
        for length in 0..bytes.len() {
            let mut messages = Messages::new(&bytes[..length]);
            let whole = messages.by_ref().take_while(Result::is_ok).count();
            assert_eq!(whole, usize::from(length >= 88));
            assert!(messages.next().is_none());
            assert_eq!(Messages::new(&bytes[..length]).any(|m| m.is_err()), length != 0 && length != 88);
        }
    }

    #[test]
    fn a_length_below_the_header_is_an_error() {
        for length in 0..16_u32 {
            let mut bytes = message(20, 0, &[]);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let error = Messages::new(&bytes).next().unwrap().unwrap_err();
            assert_eq!(error.field, "nlmsg_len");
        }
        let error = attribute(&mut Reader::new(&[3, 0, 3, 0])).unwrap_err();
        assert_eq!(error.field, if cfg!(target_endian = "little") { "nla_len" } else { "nla payload" });
    }
}
