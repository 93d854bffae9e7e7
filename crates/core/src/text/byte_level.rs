//! The alphabet of byte-level BPE: GPT-2's one-to-one map between the 256 bytes and 256 printable characters, in which
//! tokenizer.json spells its tokens (openai/gpt-2, `encoder.py`, `bytes_to_unicode`).
use std::sync::LazyLock;

/// Printable Latin-1 stands for itself; the other 68 bytes are U+0100, U+0101, … in order.
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| match byte as u8 {
        b @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(b),
        _ => {
            let c = char::from_u32(next).expect("U+0100..U+0144 are characters");
            next += 1;
            c
        }
    })
});

/// Byte of each character up to U+0143, the last of the alphabet.
static BYTES: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut bytes = [None; 0x144];
    for (byte, &c) in (0u8..=255).zip(CHARS.iter()) {
        bytes[c as usize] = Some(byte);
    }
    bytes
});

/// Spells bytes as tokenizer.json does: `b" the"` is `Ġthe`.
pub(super) fn spell(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| CHARS[b as usize]).collect()
}

/// The bytes of a token. One that is not spelled in the alphabet (an added token) stands for its own UTF-8, as in the
/// `ByteLevel` decoder of the tokenizers library.
pub(super) fn bytes_of(token: &str) -> Vec<u8> {
    token
        .chars()
        .map(|c| BYTES.get(c as usize).copied().flatten())
        .collect::<Option<_>>()
        .unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_spelling_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes_of(&spell(&all)), all);
        assert_eq!(spell(b" the\n"), "ĠtheĊ");
    }

    #[test]
    fn a_token_outside_the_alphabet_is_its_own_utf8() {
        assert_eq!(bytes_of("<a b>"), b"<a b>", "a space is not in the alphabet");
        assert_eq!(bytes_of("中"), "中".as_bytes());
    }
}
