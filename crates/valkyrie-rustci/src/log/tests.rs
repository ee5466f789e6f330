use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::pipeline::JobIndex;

fn record(job: u32, stream: Stream, offset: u64, bytes: &[u8]) -> LogRecord {
    LogRecord {
        job: JobIndex(job),
        step: 0,
        stream,
        offset,
        bytes: Bytes::copy_from_slice(bytes),
    }
}

fn render(colour: bool, pieces: &[&[u8]]) -> String {
    let mut renderer = LineRenderer::new(
        [String::from("a")],
        RenderOptions {
            colour,
            prefix: false,
        },
    );
    let mut out = String::new();
    for piece in pieces {
        renderer.push(&record(0, Stream::Stdout, 0, piece), &mut out);
    }
    renderer.finish(JobIndex(0), &mut out);
    out
}

#[test]
fn lines_carry_the_name_of_their_job_and_never_mix() {
    let names = ["build", "lint"].map(String::from);
    let mut renderer = LineRenderer::new(
        names,
        RenderOptions {
            colour: false,
            prefix: true,
        },
    );
    let mut out = String::new();
    renderer.push(&record(0, Stream::Stdout, 0, b"one and "), &mut out);
    renderer.push(&record(1, Stream::Stdout, 0, b"other\n"), &mut out);
    renderer.push(&record(0, Stream::Stderr, 8, b"warning\n"), &mut out);
    renderer.push(&record(0, Stream::Stdout, 16, b"two\nlast"), &mut out);
    renderer.finish(JobIndex(0), &mut out);
    assert_eq!(
        out,
        "lint  | other\nbuild ! warning\nbuild | one and two\nbuild | last\n"
    );
}

#[test]
fn a_jobs_colour_is_the_same_on_every_line() {
    let mut renderer = LineRenderer::new(
        ["a", "b"].map(String::from),
        RenderOptions {
            colour: true,
            prefix: true,
        },
    );
    let mut out = String::new();
    renderer.push(&record(1, Stream::Stdout, 0, b"x\nx\n"), &mut out);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], lines[1]);
    let mut other = String::new();
    renderer.push(&record(0, Stream::Stdout, 0, b"x\n"), &mut other);
    assert_ne!(lines[0].replace('b', "a"), other.trim_end());
}

#[test]
fn colours_pass_and_end_with_the_line() {
    assert_eq!(
        render(true, &[b"\x1b[31mred\nplain\n"]),
        "\x1b[31mred\x1b[0m\nplain\n"
    );
    assert_eq!(
        render(true, &[b"\x1b[38;5;", b"196mx\n"]),
        "\x1b[38;5;196mx\x1b[0m\n"
    );
    assert_eq!(render(false, &[b"\x1b[31mred\x1b[0m\n"]), "red\n");
}

#[test]
fn every_other_sequence_is_taken_out_whole() {
    let hostile: [&[u8]; 12] = [
        b"a\x1b[2Jb\n",
        b"a\x1b[10;10Hb\n",
        b"a\x1b[?1049hb\n",
        b"a\x1b]0;title\x07b\n",
        b"a\x1b]52;c;ZXZpbA==\x1b\\b\n",
        b"a\x1bP+q544e\x1b\\b\n",
        b"a\x1b_apc\x1b\\b\n",
        b"a\x1bcb\n",
        b"a\x1b(0b\n",
        b"a\xc2\x9b2Jb\n",
        b"a\x07\x0b\x0c\x00\x7fb\n",
        "a\u{202e}\u{2066}b\n".as_bytes(),
    ];
    for bytes in hostile {
        assert_eq!(
            render(true, &[bytes]),
            "ab\n",
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        // And in any split.
        for cut in 0..bytes.len() {
            assert_eq!(render(true, &[&bytes[..cut], &bytes[cut..]]), "ab\n");
        }
    }
    assert_eq!(
        render(true, &[b"a\x1b]0;never closed\nb\n"]),
        "a\nb\n",
        "a string ends with its line"
    );
}

#[test]
fn progress_bars_show_their_last_state() {
    assert_eq!(render(false, &[b" 10%\r 20%\r", b"100%\n"]), "100%\n");
    assert_eq!(render(false, &[b"dos\r\nline\r", b"\n"]), "dos\nline\n");
    assert_eq!(render(false, &[b"50%\r"]), "50%\n");
    assert_eq!(render(false, &[b"ab\x08c\n"]), "ac\n");
}

#[test]
fn bytes_that_are_not_text_are_replaced() {
    assert_eq!(render(false, &[b"a\xffb\n"]), "a\u{fffd}b\n");
    assert_eq!(render(false, &["ä€😀".as_bytes()]), "ä€😀\n");
    let euro = "€".as_bytes();
    assert_eq!(render(false, &[&euro[..1], &euro[1..2], &euro[2..]]), "€\n");
    assert_eq!(render(false, &[&euro[..2]]), "\u{fffd}\n");
}

#[test]
fn endless_lines_are_broken() {
    let out = render(false, &[&vec![b'x'; LINE_BYTES_MAX * 3]]);
    assert_eq!(out.lines().count(), 3);
}

#[test]
fn the_merger_takes_what_continues_and_nothing_twice() {
    let mut merger = LogMerger::default();
    let taken = |merger: &mut LogMerger, offset, bytes: &[u8]| {
        merger
            .accept(record(0, Stream::Stdout, offset, bytes))
            .map(|new| new.map(|new| (new.offset, new.bytes.to_vec())))
    };
    assert_eq!(taken(&mut merger, 0, b"abc"), Ok(Some((0, b"abc".to_vec()))));
    assert_eq!(taken(&mut merger, 0, b"abc"), Ok(None));
    assert_eq!(taken(&mut merger, 1, b"bcd"), Ok(Some((3, b"d".to_vec()))));
    assert_eq!(
        taken(&mut merger, 5, b"f"),
        Err(LogGap {
            expected: 4,
            found: 5
        })
    );
    assert_eq!(merger.offset(), 4);
}

#[test]
fn the_window_is_bounded_and_ignores_impossible_acknowledgements() {
    let mut window = SendWindow::new(4);
    window.push(record(0, Stream::Stdout, 0, b"abcd")).unwrap();
    let refused = record(0, Stream::Stdout, 4, b"e");
    assert_eq!(window.push(refused.clone()), Err(WindowFull(refused.clone())));
    window.acknowledge(99);
    assert!(!window.has_room());
    window.acknowledge(4);
    assert!(window.is_empty());
    window.push(refused).unwrap();
}

proptest! {
    /// Records are lost, links break, acknowledgements come late: every byte arrives once.
    #[test]
    fn a_broken_link_loses_and_doubles_nothing(
        lengths in prop::collection::vec(1..40_usize, 1..40),
        chances in prop::collection::vec(0..10_u8, 400),
    ) {
        let whole: Vec<u8> = (0..lengths.iter().sum::<usize>()).map(|n| (n % 251) as u8).collect();
        let (mut window, mut merger, mut arrived) = (SendWindow::new(64), LogMerger::default(), Vec::new());
        let (mut offset, mut lengths, mut turns) = (0, lengths.into_iter().peekable(), 0);
        let mut chances = chances.into_iter().cycle();
        while lengths.peek().is_some() || !window.is_empty() {
            turns += 1;
            prop_assert!(turns < 10_000, "no progress");
            while let (true, Some(length)) = (window.has_room(), lengths.peek().copied()) {
                let record = record(0, Stream::Stdout, offset as u64, &whole[offset..offset + length]);
                window.push(record).unwrap();
                offset += length;
                lengths.next();
            }
            match (chances.next(), window.poll_send()) {
                (Some(0), _) => window.rewind(),
                (_, None) => { window.acknowledge(merger.offset()); window.rewind(); }
                (Some(1), Some(_)) => {}
                (_, Some(record)) => match merger.accept(record) {
                    Ok(new) => {
                        arrived.extend(new.into_iter().flat_map(|new| new.bytes.to_vec()));
                        if turns % 3 == 0 { window.acknowledge(merger.offset()); }
                    }
                    Err(gap) => { prop_assert_eq!(gap.expected, merger.offset()); window.rewind(); }
                },
            }
        }
        prop_assert_eq!(arrived, whole);
    }

    #[test]
    fn no_output_drives_the_terminal(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0..400_usize) {
        let cut = cut.min(bytes.len());
        let out = render(true, &[&bytes[..cut], &bytes[cut..]]);
        let mut rest = out.as_str();
        while let Some(at) = rest.find('\x1b') {
            let end = rest[at..].find('m').expect("an escape that is no colour");
            prop_assert!(rest[at + 2..at + end].chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':'));
            rest = &rest[at + end + 1..];
        }
        prop_assert!(out.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\x1b')));
    }
}
