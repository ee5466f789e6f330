//! Failures and delays by the second as a plot, with the faults behind them.

use std::fmt::Write as _;

/// Something that happened.
pub(crate) struct Fault {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) what: String,
}

/// A second of calls.
pub(crate) struct Second {
    at: f64,
    /// Of all calls, in percent.
    failed: f64,
    /// In milliseconds.
    p50: f64,
    p99: f64,
}

/// What the client wrote.
pub(crate) fn read(csv: &str) -> Vec<Second> {
    let rows = csv.lines().skip(1).filter_map(|line| {
        let fields: Vec<f64> = line.split(',').filter_map(|field| field.parse().ok()).collect();
        let [at, answered, failed, p50, p99] = fields[..] else {
            return None;
        };
        Some(Second {
            at,
            failed: 100.0 * failed / (answered + failed).max(1.0),
            p50: p50 / 1000.0,
            p99: p99 / 1000.0,
        })
    });
    rows.collect()
}

/// The plot as a file of SVG.
pub(crate) fn svg(seconds: &[Second], faults: &[Fault]) -> String {
    let last = seconds.last().map_or(1.0, |second| second.at + 1.0);
    let x = |at: f64| LEFT + (RIGHT - LEFT) * at / last;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Calls while servers and nodes are killed, stopped and cut off</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Calls while etcd servers and nodes are killed, stopped and cut off (blue: with a server; grey: nodes alone)</text>\n"
    );
    // Writing to a string does not fail, here and below.
    for fault in faults {
        let etcd = fault.what.starts_with("etcd");
        let colour = if etcd { "#dfe7f2" } else { "#eeeeee" };
        let _ = writeln!(
            text,
            "<rect x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"><title>{}</title></rect>",
            x(fault.from),
            (x(fault.to) - x(fault.from)).max(1.0),
            BOTTOM - TOP,
            fault.what
        );
    }
    let delay = |millis: f64| {
        let power = millis.max(0.1).log10();
        MIDDLE - 20.0 - (MIDDLE - 20.0 - TOP) * (power - LEAST) / (MOST - LEAST)
    };
    let share = |percent: f64| BOTTOM - (BOTTOM - MIDDLE - 10.0) * percent / 100.0;
    for (label, y) in [
        ("0.1 ms", 0.1),
        ("1 ms", 1.0),
        ("10 ms", 10.0),
        ("100 ms", 100.0),
        ("1 s", 1000.0),
    ]
    .map(|(label, millis)| (label, delay(millis)))
    .into_iter()
    .chain([("0 %", 0.0), ("50 %", 50.0), ("100 %", 100.0)].map(|(label, percent)| (label, share(percent))))
    {
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#cccccc\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    let step = if last > 300.0 { 60.0 } else { 10.0 };
    let mut at = 0.0;
    while at <= last {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at} s</text>",
            x(at),
            BOTTOM + 18.0
        );
        at += step;
    }
    for (label, colour, y, value) in [
        (
            "p99",
            "#b3411e",
            TOP + 4.0,
            &(|s: &Second| delay(s.p99)) as &dyn Fn(&Second) -> f64,
        ),
        ("p50", "#1f5fa8", TOP + 20.0, &|s| delay(s.p50)),
        ("failed", "#333333", MIDDLE + 24.0, &|s| share(s.failed)),
    ] {
        let _ = write!(
            text,
            "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"{colour}\" points=\""
        );
        for second in seconds {
            let _ = write!(text, "{:.1},{:.1} ", x(second.at + 0.5), value(second));
        }
        let _ = writeln!(
            text,
            "\"/>\n<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{label}</text>",
            RIGHT + 8.0
        );
    }
    text.push_str("</svg>\n");
    text
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 830.0;
const TOP: f64 = 40.0;
/// Delays above, failures below.
const MIDDLE: f64 = 260.0;
const BOTTOM: f64 = 380.0;
/// Powers of ten of milliseconds.
const LEAST: f64 = -1.0;
const MOST: f64 = 3.3;
