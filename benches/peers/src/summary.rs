//! Medians over the rounds, and ratios within each round before their median.

use serde::Serialize;

use crate::contender::Contender;
use crate::rounds::{Figures, Measured};
use crate::scenario::Scenario;

/// Medians of one contender in one scenario.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) scenario: Scenario,
    pub(crate) contender: Contender,
    pub(crate) per_second: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// Processor seconds for a million messages.
    pub(crate) client_cpu: f64,
    pub(crate) server_cpu: f64,
    pub(crate) cpu: f64,
}

/// One contender's figures divided by those of another, the median over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) scenario: Scenario,
    pub(crate) of: Contender,
    pub(crate) to: Contender,
    pub(crate) per_second: f64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) cpu: f64,
}

/// The medians of everyone who finished a round.
pub(crate) fn summaries(measured: &Measured) -> impl Iterator<Item = Summary> {
    let scenario = measured.scenario;
    measured.contenders.iter().filter_map(move |turns| {
        let rounds: Vec<Figures> = turns.rounds.iter().flatten().copied().collect();
        let over = |field: fn(&Figures) -> f64| median(rounds.iter().map(field));
        let over_some = |field: fn(&Figures) -> Option<f64>| median(rounds.iter().filter_map(field));
        Some(Summary {
            scenario,
            contender: turns.contender,
            per_second: over(|figures| figures.per_second)?,
            p50_us: over_some(|figures| figures.p50_us),
            p99_us: over_some(|figures| figures.p99_us),
            client_cpu: over(|figures| figures.client_cpu)?,
            server_cpu: over(|figures| figures.server_cpu)?,
            cpu: over(Figures::cpu)?,
        })
    })
}

/// Everyone's figures divided by everyone else's, where both finished the same round.
pub(crate) fn ratios(measured: &Measured) -> impl Iterator<Item = Ratio> {
    let pairs = measured
        .contenders
        .iter()
        .flat_map(|of| measured.contenders.iter().map(move |to| (of, to)));
    pairs
        .filter(|(of, to)| of.contender != to.contender)
        .filter_map(|(of, to)| {
            let rounds: Vec<(Figures, Figures)> = of
                .rounds
                .iter()
                .zip(&to.rounds)
                .filter_map(|(of, to)| Some(((*of)?, (*to)?)))
                .collect();
            let over = |field: fn(&Figures) -> Option<f64>| {
                median(rounds.iter().filter_map(|(of, to)| Some(field(of)? / field(to)?)))
            };
            Some(Ratio {
                scenario: measured.scenario,
                of: of.contender,
                to: to.contender,
                per_second: over(|figures| Some(figures.per_second))?,
                p50: over(|figures| figures.p50_us),
                p99: over(|figures| figures.p99_us),
                cpu: over(|figures| Some(figures.cpu()))?,
            })
        })
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(values[middle - 1].midpoint(values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::{median, ratios, summaries};
    use crate::address::Socket;
    use crate::contender::Contender;
    use crate::rounds::{Figures, Measured, Turns};
    use crate::scenario::{Scenario, Shape};

    fn figures(per_second: f64) -> Figures {
        let (p50_us, p99_us) = (Some(1e6 / per_second), None);
        Figures {
            messages: 1,
            per_second,
            p50_us,
            p99_us,
            client_cpu: 1.0,
            server_cpu: 2.0,
        }
    }

    #[test]
    fn a_median_ignores_the_odd_round() {
        assert_eq!(median([3.0, 1.0, 1e9].into_iter()), Some(3.0));
        assert_eq!(median([3.0, 1.0].into_iter()), Some(2.0));
        assert_eq!(median([].into_iter()), None);
    }

    #[test]
    fn ratios_pair_rounds_and_skip_failed_ones() {
        let turns = |contender, rounds| Turns {
            contender,
            rounds,
            failure: None,
        };
        let measured = Measured {
            scenario: Scenario {
                socket: Socket::Uds,
                shape: Shape::Stream,
                payload_bytes: 64,
            },
            contenders: vec![
                turns(
                    Contender::Raw,
                    vec![Some(figures(100.0)), Some(figures(10.0)), None],
                ),
                turns(
                    Contender::Valkyrie,
                    vec![Some(figures(50.0)), Some(figures(5.0)), Some(figures(1.0))],
                ),
            ],
        };
        // The machine was ten times slower in the second round, for both.
        let ratio = ratios(&measured)
            .find(|ratio| ratio.of == Contender::Valkyrie)
            .unwrap();
        assert_eq!(
            (ratio.per_second, ratio.p50, ratio.p99, ratio.cpu),
            (0.5, Some(2.0), None, 1.0)
        );
        assert_eq!(
            summaries(&measured)
                .map(|summary| summary.per_second)
                .collect::<Vec<_>>(),
            [55.0, 5.0]
        );
    }
}
