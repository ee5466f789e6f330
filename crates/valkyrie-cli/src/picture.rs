//! A fingerprint as a picture, because people compare pictures better than letters.
//!
//! It is the walk that OpenSSH made known: a piece starts in the middle of a board and moves diagonally, two bits of the
//! fingerprint a step; the more often a field was visited, the darker it is. Two fingerprints that look alike as text nearly always
//! make different pictures. It helps to notice a difference; that two are the same only the text says.

/// The lines of the picture.
pub(crate) fn of(fingerprint: &[u8; 32]) -> Vec<String> {
    let mut visits = [[0_usize; COLUMNS]; ROWS];
    let (mut row, mut column) = (ROWS / 2, COLUMNS / 2);
    for byte in fingerprint {
        for step in 0..4 {
            let bits = byte >> (2 * step) & 3;
            column = stepped(column, bits & 1 == 1, COLUMNS);
            row = stepped(row, bits & 2 == 2, ROWS);
            visits[row][column] += 1;
        }
    }
    let shade = |at: usize, along: usize, visits: usize| match (at, along) {
        (at, along) if (at, along) == (row, column) => 'E',
        (at, along) if (at, along) == (ROWS / 2, COLUMNS / 2) => 'S',
        _ => SHADES[visits.min(SHADES.len() - 1)],
    };
    let mut lines = vec![frame(" valkyrie ")];
    for (at, fields) in visits.iter().enumerate() {
        let fields: String = fields
            .iter()
            .enumerate()
            .map(|(along, visits)| shade(at, along, *visits))
            .collect();
        lines.push(format!("|{fields}|"));
    }
    lines.push(frame(" SHA256 "));
    lines
}

/// One field on, or back; at the edge it stays.
fn stepped(from: usize, onward: bool, fields: usize) -> usize {
    match onward {
        true => (from + 1).min(fields - 1),
        false => from.saturating_sub(1),
    }
}

fn frame(word: &str) -> String {
    format!("+{word:-^COLUMNS$}+")
}

const COLUMNS: usize = 21;
const ROWS: usize = 9;
const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', 'o', '#', '@'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_is_seen_nearly_always() {
        // Like a hash, without the runs that keep the piece at an edge.
        let fingerprint =
            std::array::from_fn(|at| (at as u8).wrapping_mul(151).wrapping_add(at as u8 / 7 * 31));
        let plain = of(&fingerprint);
        let seen = |bit: &usize| {
            let mut other = fingerprint;
            other[bit / 8] ^= 1 << (bit % 8);
            of(&other) != plain
        };
        let seen = (0..256).filter(seen).count();
        assert!(seen >= 250, "{seen} of 256");
    }

    #[test]
    fn every_picture_has_the_same_form() {
        for byte in [0, 0x55, 0xaa, 0xff] {
            let lines = of(&[byte; 32]);
            assert_eq!(lines.len(), ROWS + 2);
            assert!(lines.iter().all(|line| line.chars().count() == COLUMNS + 2));
            assert_eq!(lines.concat().matches('E').count(), 1);
        }
    }
}
