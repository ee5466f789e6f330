//! Durations as people write them: `90s`, `10m`, `1h30m`, or plain seconds.

use std::time::Duration;

use super::limits::TIMEOUT_MAX;

/// Why a duration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not digits with units.
    #[error("not a duration: write `90s`, `10m`, `1h30m` or plain seconds")]
    Malformed,
    /// Units twice or from small to large.
    #[error("units go from large to small and each at most once: days, hours, minutes, seconds")]
    UnitOrder,
    /// Zero.
    #[error("a duration of zero would end the work before it starts")]
    Zero,
    /// Above [`TIMEOUT_MAX`].
    #[error("longer than 30 days")]
    TooLong,
}

/// Parses `90s`, `10m`, `1h30m`, `2d` or plain seconds.
///
/// # Errors
/// See [`DurationError`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    // From large to small, so that "the next unit" is a matter of position.
    const UNITS: [(u8, u64); 4] = [(b'd', 86_400), (b'h', 3_600), (b'm', 60), (b's', 1)];
    let mut seconds: u64 = 0;
    let mut rest = text.as_bytes();
    let mut units_left: &[(u8, u64)] = &UNITS;
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(DurationError::Malformed);
        }
        let mut number: u64 = 0;
        for digit in &rest[..digits] {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(u64::from(digit - b'0')))
                .ok_or(DurationError::TooLong)?;
        }
        let factor = match rest.get(digits) {
            // Plain seconds stand alone; `1h30` is more likely a slip than half a minute.
            None if digits == text.len() => 1,
            None => return Err(DurationError::Malformed),
            Some(unit) => {
                if !UNITS.iter().any(|(letter, _)| letter == unit) {
                    return Err(DurationError::Malformed);
                }
                let at = units_left
                    .iter()
                    .position(|(letter, _)| letter == unit)
                    .ok_or(DurationError::UnitOrder)?;
                let factor = units_left[at].1;
                units_left = &units_left[at + 1..];
                factor
            }
        };
        seconds = number
            .checked_mul(factor)
            .and_then(|part| seconds.checked_add(part))
            .ok_or(DurationError::TooLong)?;
        rest = rest.get(digits + 1..).unwrap_or(&[]);
    }
    match Duration::from_secs(seconds) {
        Duration::ZERO => Err(DurationError::Zero),
        long if long > TIMEOUT_MAX => Err(DurationError::TooLong),
        duration => Ok(duration),
    }
}
