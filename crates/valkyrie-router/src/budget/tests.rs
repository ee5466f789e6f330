use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How many retries are granted when every one of `rate` calls a second fails and wants as many as it gets.
fn granted(budget: &RetryBudget, from: Instant, rate: u32, seconds: u32) -> u32 {
    let mut granted = 0;
    for number in 0..rate * seconds {
        let at = from + SECOND * number / rate;
        budget.attempted(at);
        while budget.may_retry(at) {
            granted += 1;
        }
    }
    granted
}

#[test]
fn when_everything_fails_load_grows_by_the_share_and_no_more() {
    let now = Instant::now();
    let budget = RetryBudget::new(RetryBudgetLimits::default(), now);
    granted(&budget, now, 10_000, 10);
    let later = granted(&budget, now + 10 * SECOND, 10_000, 10);
    let share = f64::from(later) / 100_000.0;
    assert!((0.19..0.22).contains(&share), "{share}");
}

#[test]
fn whoever_rarely_calls_may_retry() {
    let now = Instant::now();
    let budget = RetryBudget::new(RetryBudgetLimits::default(), now);
    granted(&budget, now, 1, 10);
    let later = granted(&budget, now + 10 * SECOND, 1, 10);
    assert!((95..=105).contains(&later), "{later}");
}

#[test]
fn what_was_not_used_does_not_pile_up() {
    let now = Instant::now();
    let budget = RetryBudget::new(RetryBudgetLimits::default(), now);
    let later = now + Duration::from_secs(86_400);
    let burst = (0..10_000).filter(|_| budget.may_retry(later)).count();
    assert_eq!(burst, 100, "ten seconds at ten a second");
    // A clock that goes back gives nothing.
    assert!(!budget.may_retry(now));
}
