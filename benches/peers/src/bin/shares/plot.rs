//! What each flow gets over time, one picture above the other for each contender.

use std::fmt::Write as _;

use crate::measure::{KBIT, Run};

/// The plot as a file of SVG.
pub(crate) fn svg(runs: &[Run]) -> String {
    let height = 50.0 + runs.len() as f64 * (PANE + 50.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>What each flow gets of a full link</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Share of a link of {} Mbit/s; dashed: what the policy gives, where there is one</text>\n",
        KBIT / 1000
    );
    for (at, run) in runs.iter().enumerate() {
        pane(&mut text, run, 50.0 + at as f64 * (PANE + 50.0));
    }
    text.push_str("</svg>\n");
    text
}

fn pane(text: &mut String, run: &Run, top: f64) {
    let last = run.seen.tenths.len() as f64 / 10.0;
    let x = |seconds: f64| LEFT + (RIGHT - LEFT) * seconds / last;
    let y = |percent: f64| top + PANE - PANE * percent / 100.0;
    for percent in [0.0, 50.0, 100.0] {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {0:.1}H{RIGHT}\" stroke=\"#cccccc\"/><text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{percent} %</text>",
            y(percent),
            LEFT - 8.0,
            y(percent) + 4.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{0:.1}\">{1}</text><text x=\"{RIGHT}\" y=\"{0:.1}\" text-anchor=\"end\">{2}</text>",
        top - 6.0,
        match run.wanted {
            Some(_) => run.scheme.to_owned(),
            None => format!("{} (no policy)", run.scheme),
        },
        run.calls()
    );
    for second in (0..=last as u64).step_by(run.seconds as usize) {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>",
            x(second as f64),
            top + PANE + 18.0
        );
    }
    for (flow, colour) in COLOURS.into_iter().enumerate() {
        let phases = run.wanted.iter().flatten().enumerate();
        for (phase, wanted) in phases.filter(|(_, wanted)| wanted[flow] > 0.0) {
            let (from, to) = (
                phase as f64 * run.seconds as f64,
                (phase + 1) as f64 * run.seconds as f64,
            );
            let _ = writeln!(
                text,
                "<path d=\"M{:.1} {2:.1}H{:.1}\" stroke=\"{colour}\" stroke-dasharray=\"2 4\"/>",
                x(from),
                x(to),
                y(wanted[flow])
            );
        }
        let _ = write!(
            text,
            "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"{colour}\" points=\""
        );
        for (at, tenth) in run.seen.tenths.chunks(5).enumerate() {
            let bytes = |flow: usize| tenth.iter().map(|tenth| tenth[flow]).sum::<u64>() as f64;
            let all = (0..4).map(bytes).sum::<f64>().max(1.0);
            let _ = write!(
                text,
                "{:.1},{:.1} ",
                x(at as f64 / 2.0 + 0.25),
                y(100.0 * bytes(flow) / all)
            );
        }
        let _ = writeln!(
            text,
            "\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            RIGHT + 8.0,
            top + 14.0 + 16.0 * flow as f64,
            run.flows[flow]
        );
    }
}

const COLOURS: [&str; 4] = ["#b3411e", "#1f5fa8", "#2e7d32", "#777777"];
const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 830.0;
const PANE: f64 = 180.0;
