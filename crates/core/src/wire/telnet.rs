//! Telnet's commands within a stream of text: taken out, and refused.
//!
//! Source: RFC 854 (commands), RFC 855 (options), RFC 1143 (refusing is always right).
//! Leaves out on purpose: agreeing to any option.

/// End of a subnegotiation.
pub const SE: u8 = 240;
/// Begin of a subnegotiation.
pub const SB: u8 = 250;
/// The sender offers to use an option.
pub const WILL: u8 = 251;
/// The sender does not use an option.
pub const WONT: u8 = 252;
/// The sender asks for an option.
pub const DO: u8 = 253;
/// The sender does not want an option.
pub const DONT: u8 = 254;
/// What comes is a command.
pub const IAC: u8 = 255;

/// The longest command that is waited for to its end.
const LONGEST: usize = 4096;

/// What a stretch of a stream says.
#[derive(Debug, Default)]
pub struct Stretch {
    /// The text, without commands.
    pub text: Vec<u8>,
    /// DO, DONT, WILL, WONT with their option.
    pub commands: Vec<(u8, u8)>,
    /// Where the command begins that is not all there; none where it ends with text.
    pub cut_at: Option<usize>,
}

/// Takes a stretch apart.
pub fn stretch(data: &[u8]) -> Stretch {
    let (mut found, mut rest) = (Stretch::default(), data);
    loop {
        let cut = |rest: &[u8]| Some(data.len() - rest.len());
        rest = match rest {
            [] => return found,
            [IAC, verb @ WILL..=DONT, option, rest @ ..] => {
                found.commands.push((*verb, *option));
                rest
            }
            [IAC, IAC, rest @ ..] => {
                found.text.push(IAC);
                rest
            }
            [IAC, SB, inside @ ..] => match inside.windows(2).position(|pair| pair == [IAC, SE]) {
                Some(end) => inside.get(end + 2..).unwrap_or_default(),
                None => {
                    found.cut_at = cut(rest);
                    return found;
                }
            },
            [IAC, WILL..=DONT] | [IAC] => {
                found.cut_at = cut(rest);
                return found;
            }
            // Other commands, such as go-ahead, have no option.
            [IAC, _, rest @ ..] => rest,
            [byte, rest @ ..] => {
                found.text.push(*byte);
                rest
            }
        }
    }
}

/// One end of a telnet connection that agrees to nothing: takes commands out of what comes, and refuses each option
/// once (who asks again does not listen).
#[derive(Debug, Default)]
pub struct Refuser {
    cut: Vec<u8>,
    refused: Vec<(u8, u8)>,
    speaks: bool,
}

impl Refuser {
    /// The text of what came, and what is to be sent back.
    pub fn take(&mut self, data: &[u8]) -> (Vec<u8>, Vec<u8>) {
        self.cut.extend_from_slice(data);
        let data = std::mem::take(&mut self.cut);
        let found = stretch(&data);
        if let Some(rest) = found.cut_at.and_then(|at| data.get(at..)).filter(|rest| rest.len() <= LONGEST) {
            self.cut = rest.to_vec();
        }
        let mut refusals = Vec::new();
        for (verb, option) in found.commands {
            self.speaks = true;
            let refusal = match verb {
                DO => WONT,
                WILL => DONT,
                _ => continue,
            };
            if !self.refused.contains(&(refusal, option)) {
                self.refused.push((refusal, option));
                refusals.extend([IAC, refusal, option]);
            }
        }
        (found.text, refusals)
    }

    /// Whether the other end has spoken telnet: it takes a byte 255 for a command then.
    pub const fn speaks(&self) -> bool {
        self.speaks
    }

    /// Text as it is to be sent: a byte 255 doubled where the other end speaks telnet.
    pub fn told(&self, text: &[u8]) -> Vec<u8> {
        if !self.speaks {
            return text.to_vec();
        }
        text.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == IAC { 2 } else { 1 })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_out_and_refused_once_wherever_the_stream_is_cut() {
        let stream =
            b"a\xff\xfd\x18b\xff\xff\xff\xfa\x18\x01\xff\xf0c\xff\xfb\x01\xff\xfb\x01\xff\xf9d\xff\xfc\x03";
        for at in 0..=stream.len() {
            let (first, second) = stream.split_at(at);
            let mut refuser = Refuser::default();
            let (mut text, mut sent) = refuser.take(first);
            let (more, answer) = refuser.take(second);
            text.extend(more);
            sent.extend(answer);
            assert_eq!(text, b"ab\xffcd", "cut at {at}");
            assert_eq!(sent, [IAC, WONT, 0x18, IAC, DONT, 1], "cut at {at}");
            assert_eq!(refuser.told(b"x\xff"), b"x\xff\xff");
        }
        assert_eq!(Refuser::default().told(b"x\xff"), b"x\xff");
    }

    #[test]
    fn a_subnegotiation_without_end_is_given_up() {
        let mut refuser = Refuser::default();
        refuser.take(&[IAC, SB]);
        for _ in 0..100 {
            refuser.take(&[1; 1000]);
        }
        assert!(refuser.cut.len() <= LONGEST);
    }
}
