//! MD5, as old protocols have it in their messages. It protects nothing any more; it is here to be understood by them.
//!
//! Source: RFC 1321; RFC 2104 (HMAC).

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const BLOCK: usize = 64;

/// The digest of a message.
pub fn digest(message: &[u8]) -> [u8; 16] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(BLOCK), 0);
    if message.len() % BLOCK >= BLOCK - 8 {
        padded.resize(padded.len() + BLOCK, 0);
    }
    let bits = (message.len() as u64).wrapping_mul(8).to_le_bytes();
    let place = padded.len() - 8;
    padded.splice(place.., bits);
    let state = padded.chunks(BLOCK).fold([0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476], block);
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_mut(4).zip(state) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn block(state: [u32; 4], block: &[u8]) -> [u32; 4] {
    let (words, _) = block.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let [mut a, mut b, mut c, mut d] = state;
    for step in 0..64_usize {
        let (round, index) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((b & d) | (c & !d), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        // RFC 1321 section 3.4: the integer part of 2^32 times the sine.
        let sine = (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
        let word = words.get(index % 16).copied().unwrap_or(0);
        let shift = SHIFTS[step / 16][step % 4];
        let sum = a.wrapping_add(round).wrapping_add(sine).wrapping_add(word);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(shift)));
    }
    [state[0].wrapping_add(a), state[1].wrapping_add(b), state[2].wrapping_add(c), state[3].wrapping_add(d)]
}

/// The digest of a message under a key.
pub fn keyed(key: &[u8], message: &[u8]) -> [u8; 16] {
    let mut block = if key.len() > BLOCK { digest(key).to_vec() } else { key.to_vec() };
    block.resize(BLOCK, 0);
    let with = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
    digest(&[&with(0x5c)[..], &digest(&[&with(0x36)[..], message].concat())].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 16]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_the_specifications() {
        // RFC 1321 appendix A.5.
        assert_eq!(hex(digest(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(digest(b"message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(hex(digest(&b"1234567890".repeat(8))), "57edf4a22be3c955ac49da2e2107b67a");
        // Where the length just fits, and where it does not (md5sum of coreutils 9.1).
        assert_eq!(hex(digest(&[b'a'; 55])), "ef1772b6dff9a122358552954ad0df65");
        assert_eq!(hex(digest(&[b'a'; 56])), "3b0c8ac703f828b04c6c197006d17218");
        assert_eq!(hex(digest(&[b'a'; 64])), "014842d480b571495a4a0363793f7367");
        // RFC 2202 section 2, cases 1, 2 and 6.
        assert_eq!(hex(keyed(&[0x0b; 16], b"Hi There")), "9294727a3638bb1c13f48ef8158bfc9d");
        assert_eq!(hex(keyed(b"Jefe", b"what do ya want for nothing?")), "750c783e6ab0b503eaa86e310a5db738");
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hex(keyed(&[0xaa; 80], long)), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }
}
