use super::*;

const NOBODY: [usize; 0] = [];
const MS: Duration = Duration::from_millis(1);

fn sample(good: u32, bad: u32, delay: Duration) -> Sample {
    Sample { good, bad, delay }
}

/// Ten ways that do well, but for some.
fn ten(change: impl Fn(usize, &mut Sample)) -> Vec<usize> {
    let mut samples = vec![sample(998, 2, 20 * MS); 10];
    for (at, sample) in samples.iter_mut().enumerate() {
        change(at, sample);
    }
    find(&samples, &OutlierLimits::default())
}

#[test]
fn nobody_stands_out_of_equals() {
    assert_eq!(ten(|_, _| {}), NOBODY);
    // All of them fail: it is not them.
    assert_eq!(ten(|_, sample| *sample = self::sample(500, 500, 20 * MS)), NOBODY);
}

#[test]
fn who_fails_every_third_time_stands_out() {
    assert_eq!(
        ten(|at, s| if at == 3 {
            *s = sample(667, 333, 20 * MS)
        }),
        [3]
    );
}

#[test]
fn who_is_five_times_as_slow_as_the_median_stands_out() {
    assert_eq!(
        ten(|at, s| if at == 7 {
            s.delay = 101 * MS
        }),
        [7]
    );
    assert_eq!(
        ten(|at, s| if at == 7 {
            s.delay = 99 * MS
        }),
        NOBODY
    );
    // Among fast ones a few milliseconds are nothing.
    let fast = |at, s: &mut Sample| s.delay = if at == 7 { 9 * MS } else { MS / 10 };
    assert_eq!(ten(fast), NOBODY);
}

#[test]
fn good_enough_is_never_too_bad_and_too_few_answers_say_nothing() {
    assert_eq!(
        ten(|at, s| *s = sample(if at == 1 { 992 } else { 1000 }, if at == 1 { 8 } else { 0 }, MS)),
        NOBODY
    );
    assert_eq!(
        ten(|at, s| if at == 1 {
            *s = sample(0, 99, MS)
        }),
        NOBODY
    );
    let four = vec![
        sample(0, 100, MS),
        sample(100, 0, MS),
        sample(100, 0, MS),
        sample(100, 0, MS),
    ];
    assert_eq!(find(&four, &OutlierLimits::default()), NOBODY);
}
