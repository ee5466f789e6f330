//! Which numbers have been seen, where records may overtake each other.

#[cfg(test)]
mod tests;

/// How many numbers below the highest one are told apart; anything older counts as seen.
//= protocol/security.md#datagrams
pub const WINDOW_NUMBERS: u64 = 2048;

/// One word more than the numbers need, since the window begins and ends inside of words.
const WORDS: usize = (WINDOW_NUMBERS / 64) as usize + 1;

/// The numbers that have been seen: the highest one, and which of the [`WINDOW_NUMBERS`] up to it.
///
/// It is asked and told in two steps, since a number may be counted as seen only once its record has been verified.
#[derive(Clone, Debug)]
pub struct Window {
    highest: Option<u64>,
    /// A ring: number n is bit n % 64 of word n / 64 % 33.
    bits: [u64; WORDS],
}

impl Window {
    /// A window that has seen nothing.
    pub const fn new() -> Self {
        Self {
            highest: None,
            bits: [0; WORDS],
        }
    }

    /// Whether `number` may still be taken: it has not been seen and is not too old to tell.
    pub fn is_fresh(&self, number: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if number > highest => true,
            Some(highest) => highest - number < WINDOW_NUMBERS && self.word(number) & bit(number) == 0,
        }
    }

    /// Counts `number` as seen. False when it was not fresh; then nothing changes.
    pub fn see(&mut self, number: u64) -> bool {
        if !self.is_fresh(number) {
            return false;
        }
        if self.highest.is_none_or(|highest| number > highest) {
            self.forget_up_to(number);
            self.highest = Some(number);
        }
        if let Some(word) = self.bits.get_mut(index(number)) {
            *word |= bit(number);
        }
        true
    }

    /// Clears the words that the window moves into on its way to `number`.
    fn forget_up_to(&mut self, number: u64) {
        let Some(highest) = self.highest else { return };
        let words = (number / 64 - highest / 64).min(WORDS as u64);
        for step in 1..=words {
            // The sum cannot pass number / 64.
            if let Some(word) = self.bits.get_mut(index((highest / 64 + step) * 64)) {
                *word = 0;
            }
        }
    }

    fn word(&self, number: u64) -> u64 {
        self.bits.get(index(number)).copied().unwrap_or(0)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

const fn index(number: u64) -> usize {
    (number / 64 % WORDS as u64) as usize
}

const fn bit(number: u64) -> u64 {
    1 << (number % 64)
}
