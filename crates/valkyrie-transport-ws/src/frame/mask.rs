//! Masking, RFC 6455, section 5.3.

/// Masks or unmasks `bytes`, and turns `key` so that the next bytes of the same frame go on with it.
pub fn apply_mask(bytes: &mut [u8], key: &mut [u8; 4]) {
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    key.rotate_left(rest.len() % 4);
}
