//! Every protocol against made-up replies, briefly: `cargo xtask fuzz` does it at length, led by what code is reached.
//!
//! The replies are noise, and what the session itself sent, changed: many protocols answer in the shape of the question,
//! so that the changed ones get past the first checks.

use portolan_core::probe::PROBES;
use portolan_core::rehearsal::{is_bounded, play, request};

const ROUNDS: u64 = 4_000;

/// Numbers that look like chance (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => [0, 0xff, 0x80, 0x7f, b'\r', b'\n', b' ', b'0'][self.below(8)],
            _ => self.below(256) as u8,
        }
    }

    /// A reply made of those bytes: changed, cut, lengthened.
    fn changed(&mut self, from: &[u8]) -> Vec<u8> {
        let mut bytes = from.to_vec();
        for _ in 0..self.below(8) {
            let place = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, self.byte()),
                2 => bytes.extend((0..self.below(64)).map(|_| self.byte()).collect::<Vec<_>>()),
                _ => {
                    let byte = self.byte();
                    bytes.get_mut(place).into_iter().for_each(|old| *old = byte);
                }
            }
        }
        bytes
    }
}

#[test]
fn no_protocol_panics_hangs_or_swells_on_made_up_replies() {
    assert!(PROBES.len() > 1);
    for (number, protocol) in (1_u64..).zip(PROBES) {
        for via in protocol.via {
            let request = request(protocol, *via);
            let own = play(protocol, &request, &[]).sent;
            let mut chance = Chance(number);
            for _ in 0..ROUNDS {
                let replies: Vec<Vec<u8>> = (0..=chance.below(4))
                    .map(|_| {
                        let from = own.get(chance.below(own.len() + 1)).cloned().unwrap_or_default();
                        chance.changed(&from)
                    })
                    .collect();
                let replies: Vec<&[u8]> = replies.iter().map(Vec::as_slice).collect();
                is_bounded(&play(protocol, &request, &replies), protocol.id);
            }
        }
    }
}
