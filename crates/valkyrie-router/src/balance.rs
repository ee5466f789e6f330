//! How one of many ways is chosen. The choice itself is [`Table::choose`](crate::Table::choose).

/// How messages are spread over the ways to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Balance {
    /// Of two at random, the one on which a message costs less: expected delay times what is in flight. It needs no view
    /// of all and herds nobody (Mitzenmacher, "The power of two choices", 2001).
    #[default]
    TwoChoices,
    /// The one with the least in flight; of more than 64, of that many at random.
    LeastInFlight,
    /// In turn, by weight: after any number of messages each has had its share, but for one or two.
    Weighted,
    /// By the key of the message: equal keys go the same way, and when a way comes or goes only its own keys move
    /// (Thaler and Ravishankar, "Using name-based mappings", 1998). Without a key, as [`Balance::TwoChoices`].
    ByKey,
}

/// A hash that is the same everywhere, so that all who choose by key agree: FNV-1a, then the finishing step of splitmix64.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed(folded)
}

/// Spreads what little two numbers differ by over all bits.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// How strongly a way of this weight wants a key, given the hash of both; the strongest gets it.
pub(crate) fn pull(hash: u64, weight: u32) -> f64 {
    // In (0, 1): the logarithm of neither end is of use.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight) / uniform.ln()
}
