//! Reads the counts out of a test runner's own summary lines: nextest's and libtest's.

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that ran and passed.
    pub(crate) passed: u64,
    /// Tests that ran and did not pass, whatever the reason.
    pub(crate) failed: u64,
}

impl Counts {
    /// Adds another run's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// The counts in a runner's summary line, or `None` when the line is not one.
pub(crate) fn parse(line: &str) -> Option<Counts> {
    let line = without_colour(line);
    let line = line.trim();
    let list = if let Some(rest) = line.strip_prefix("test result:") {
        rest.split_once(". ")?.1
    } else if line.starts_with("Summary [") {
        line.split_once("run: ")?.1
    } else {
        return None;
    };
    let mut counts = Counts::default();
    for part in list.split([',', ';']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(word)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match word {
            "passed" => counts.passed += number,
            // nextest: `1 failed`, `1 timed out`, `1 exec failed`.
            "failed" | "timed" | "exec" => counts.failed += number,
            _ => {}
        }
    }
    Some(counts)
}

/// The line without terminal escape sequences.
pub(crate) fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    //! Lines copied from the runners.

    use super::{Counts, parse};

    #[test]
    fn reads_libtest() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(
            parse(line),
            Some(Counts {
                passed: 12,
                failed: 3
            })
        );
    }

    #[test]
    fn reads_nextest_with_every_kind_of_failure() {
        let line = "     Summary [   0.312s] 9 tests run: 4 passed (1 slow), 2 failed, 2 timed out, 1 exec failed, 7 skipped";
        assert_eq!(parse(line), Some(Counts { passed: 4, failed: 5 }));
    }

    #[test]
    fn reads_through_colour() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(parse(line), Some(Counts { passed: 2, failed: 0 }));
    }

    #[test]
    fn other_lines_are_not_summaries() {
        assert_eq!(parse("test foo ... ok"), None);
        assert_eq!(parse("running 3 tests"), None);
    }
}
