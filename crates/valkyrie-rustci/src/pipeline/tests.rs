use std::time::Duration;

use super::*;

fn refused(source: &str) -> Vec<(usize, usize, String)> {
    match Pipeline::parse(source) {
        Ok(pipeline) => panic!("accepted: {pipeline:?}"),
        Err(error) => error
            .diagnostics()
            .iter()
            .map(|found| (found.line, found.column, found.message.clone()))
            .collect(),
    }
}

/// The one mistake of a file: its place and what it says.
#[track_caller]
fn refuses(source: &str, line: usize, column: usize, message: &str) {
    let found = refused(source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1), (line, column), "{}", found[0].2);
    assert!(
        found[0].2.contains(message),
        "{:?} does not contain {message:?}",
        found[0].2
    );
}

const WHOLE: &str = "\
name: demo
env: {A: 1, B: two, C: true, D: \"\"}
jobs:
  build:
    runs_on: [linux, big]
    env: {B: three}
    timeout: 1h30m
    steps:
      - name: compile
        run: |
          cc -o x x.c
          \t./x
        env: {B: four}
        timeout: 90
        continue_on_error: true
  test:
    needs: build
    steps:
      - run: make test
";

#[test]
fn a_whole_file_reads_as_written() {
    let pipeline = Pipeline::parse(WHOLE).unwrap();
    assert_eq!(pipeline.name, "demo");
    let env: Vec<_> = pipeline
        .env
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(env, [("A", "1"), ("B", "two"), ("C", "true"), ("D", "")]);
    let (build, test) = (&pipeline.jobs[0], &pipeline.jobs[1]);
    assert_eq!(
        (build.id.as_str(), build.timeout),
        ("build", Duration::from_secs(5400))
    );
    assert_eq!(build.runs_on, ["linux", "big"]);
    let step = &build.steps[0];
    assert_eq!(
        step.run, "cc -o x x.c\n\t./x\n",
        "a tab inside a block is content"
    );
    assert_eq!(
        (step.timeout, step.continue_on_error),
        (Some(Duration::from_secs(90)), true)
    );
    assert_eq!(test.needs, [JobIndex(0)]);
    assert_eq!(
        test.steps[0].name, "make test",
        "a nameless step is called by its command"
    );
    assert_eq!(test.timeout, JOB_TIMEOUT_DEFAULT);
}

#[test]
fn top_level_steps_make_one_job() {
    let pipeline = Pipeline::parse("name: one\nsteps:\n  - run: echo hi\n").unwrap();
    assert_eq!(pipeline.jobs.len(), 1);
    assert_eq!(pipeline.jobs[0].id, SINGLE_JOB_ID);
}

#[test]
fn anchors_work_within_bounds() {
    let source = "jobs:\n  a: &a\n    steps: [{run: x}]\n  b: *a\n";
    let pipeline = Pipeline::parse(source).unwrap();
    assert_eq!(pipeline.jobs[0].steps, pipeline.jobs[1].steps);
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    let source = "jobs:\n  a:\n    need: [b]\n    steps: [{run: x}]\n";
    let error = Pipeline::parse(source).unwrap_err();
    let found = &error.diagnostics()[0];
    assert_eq!((found.line, found.column, found.length), (3, 5, 4));
    assert_eq!(found.help.as_deref(), Some("did you mean `needs`?"));
    let near = |source: &str| {
        Pipeline::parse(source).unwrap_err().diagnostics()[0]
            .help
            .clone()
            .unwrap()
    };
    assert_eq!(near("job:\n  a: 1\n"), "did you mean `jobs`?");
    assert_eq!(
        near("jobs: {a: {runs-on: x, steps: [{run: x}]}}"),
        "did you mean `runs_on`?"
    );
    assert_eq!(
        near("steps: [{run: x, continue-on-error: true}]"),
        "did you mean `continue_on_error`?"
    );
    assert_eq!(
        near("steps: [{run: x, shell: bash}]"),
        format!(
            "a step has the keys {}",
            "`name`, `run`, `env`, `timeout`, `continue_on_error`"
        )
    );
}

#[test]
fn the_rendering_shows_the_line_and_a_mark() {
    let source = "jobs:\n  a:\n    need: [b]\n    steps: [{run: x}]\n";
    let text = Pipeline::parse(source)
        .unwrap_err()
        .render("p.yaml", source, false);
    let expected = "\
error: unknown key `need`
 --> p.yaml:3:5
  |
3 |     need: [b]
  |     ^^^^
  = help: did you mean `needs`?

";
    assert_eq!(text, expected);
}

#[test]
fn the_rendering_never_prints_control_characters_of_the_file() {
    let source = "steps:\n  - run: x\n    \"a\\e[2Jb\": 1\n";
    let text = Pipeline::parse(source)
        .unwrap_err()
        .render("p\x1b.yaml", source, false);
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn several_mistakes_are_reported_at_once_and_in_order() {
    let found = refused("nam: x\njobs:\n  a:\n    timeout: soon\n    steps: []\n");
    let places: Vec<_> = found.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, [(1, 1), (4, 14), (5, 5)]);
}

#[test]
fn duplicate_keys_are_refused() {
    refuses(
        "jobs:\n  a:\n    steps: [{run: x}]\n  a:\n    steps: [{run: y}]\n",
        4,
        3,
        "`a` appears twice",
    );
    refuses(
        "env: {A: 1, A: 2}\nsteps: [{run: x}]\n",
        1,
        13,
        "`A` appears twice",
    );
}

#[test]
fn cycles_are_refused_and_named() {
    let source = "\
jobs:
  a: {needs: c, steps: [{run: x}]}
  b: {needs: a, steps: [{run: x}]}
  c: {needs: [d, b], steps: [{run: x}]}
  d: {steps: [{run: x}]}
";
    refuses(source, 3, 14, "a → c → b → a");
    refuses("jobs:\n  a: {needs: a, steps: [{run: x}]}\n", 2, 14, "a → a");
}

#[test]
fn unknown_and_repeated_needs_are_refused() {
    let source = "jobs:\n  build: {steps: [{run: x}]}\n  t: {needs: [biuld], steps: [{run: x}]}\n";
    refuses(source, 3, 15, "`t` needs `biuld`, which does not exist");
    let error = Pipeline::parse(source).unwrap_err();
    assert_eq!(
        error.diagnostics()[0].help.as_deref(),
        Some("did you mean `build`?")
    );
    refuses(
        "jobs:\n  a: {steps: [{run: x}]}\n  b: {needs: [a, a], steps: [{run: x}]}\n",
        3,
        18,
        "twice",
    );
}

#[test]
fn empty_things_are_refused() {
    refuses("", 1, 1, "empty");
    refuses("jobs: {}\n", 1, 7, "at least one job");
    refuses("jobs:\n  a:\n    steps: []\n", 3, 5, "at least one step");
    refuses("jobs:\n  a:\n    timeout: 5m\n", 2, 3, "no `steps`");
    refuses("steps:\n  - name: x\n", 2, 5, "no `run`");
    refuses("steps:\n  - run: \" \"\n", 2, 10, "needs a command");
    refuses("name: x\n", 1, 1, "neither `jobs` nor `steps`");
    refuses("env: {A: }\nsteps: [{run: x}]\n", 1, 7, "no value");
}

#[test]
fn bad_ids_are_refused() {
    refuses("jobs:\n  1a: {steps: [{run: x}]}\n", 2, 3, "not a job id");
    refuses("jobs:\n  \"a b\": {steps: [{run: x}]}\n", 2, 3, "not a job id");
    refuses("jobs:\n  ../x: {steps: [{run: x}]}\n", 2, 3, "not a job id");
    refuses("env: {A-B: 1}\nsteps: [{run: x}]\n", 1, 7, "not a variable name");
    refuses(
        "env: {VALKYRIE_JOB: 1}\nsteps: [{run: x}]\n",
        1,
        7,
        "the runner's",
    );
}

#[test]
fn jobs_and_steps_together_are_refused() {
    refuses(
        "jobs:\n  a: {steps: [{run: x}]}\nsteps: [{run: x}]\n",
        3,
        1,
        "both `jobs` and `steps`",
    );
}

#[test]
fn wrong_types_are_refused() {
    refuses("- a\n", 1, 1, "must be a map");
    refuses("jobs: [a]\n", 1, 7, "`jobs` must be a map");
    refuses("steps: {run: x}\n", 1, 8, "`steps` must be a list");
    refuses("steps: [echo]\n", 1, 9, "must be a map");
    refuses("steps: [{run: 5}]\n", 1, 15, "a number");
    refuses("steps: [{run: true}]\n", 1, 15, "a truth value");
    refuses("steps: [{run: [a]}]\n", 1, 15, "a list");
    refuses(
        "steps: [{run: x, continue_on_error: yes}]\n",
        1,
        37,
        "`true` or `false`",
    );
    refuses("steps: [{run: x, env: [a]}]\n", 1, 23, "`env` must be a map");
    refuses("steps: [{run: x, env: {A: [1]}}]\n", 1, 27, "must be text");
    refuses("name: 1.5\nsteps: [{run: x}]\n", 1, 7, "a number");
    refuses(
        "jobs: {a: {needs: {b: 1}, steps: [{run: x}]}}\n",
        1,
        19,
        "a name or a list",
    );
    refuses("steps: [{run: x, timeout: [1]}]\n", 1, 27, "a duration");
}

#[test]
fn tabs_in_the_indentation_are_named() {
    refuses("jobs:\n\ta:\n\t\tsteps: [{run: x}]\n", 2, 1, "tab");
    refuses("jobs:\n  a:\n  \tsteps: [{run: x}]\n", 3, 3, "tab");
}

#[test]
fn broken_yaml_is_refused_with_its_place() {
    let found = refused("jobs:\n  a: {steps: [{run: x}]\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].2.contains("not valid YAML"), "{found:?}");
    assert!(found[0].0 >= 2, "{found:?}");
}

#[test]
fn tags_and_further_documents_are_refused() {
    refuses("steps: [{run: !shell x}]\n", 1, 15, "tags");
    refuses(
        "steps: [{run: x}]\n---\nsteps: [{run: y}]\n",
        2,
        1,
        "second document",
    );
    refuses("? [a]\n: b\n", 1, 3, "key must be plain text");
}

#[test]
fn anchors_cannot_blow_up_the_file() {
    let mut source = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = level - 1;
        source.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{below}"); 9].join(", ")
        ));
    }
    let found = refused(&source);
    assert!(found[0].2.contains("aliases expanded"), "{found:?}");
    let text = "x".repeat(60_000);
    let wide = format!("a: &a {text}\nb: [{}]\n", vec!["*a"; 200].join(", "));
    assert!(refused(&wide)[0].2.contains("bytes, aliases expanded"));
    refuses("a: &a [*a]\n", 1, 8, "alias");
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = format!("a: {}{}\n", "[".repeat(40), "]".repeat(40));
    assert!(refused(&deep)[0].2.contains("deep"));
    let big = format!("# {}\nsteps: [{{run: x}}]\n", "x".repeat(FILE_BYTES_MAX));
    refuses(&big, 1, 1, "bytes");
    let run = format!("steps:\n  - run: \"{}\"\n", "x".repeat(RUN_BYTES_MAX + 1));
    refuses(&run, 2, 10, "at most");
    let steps = format!("steps: [{}]\n", vec!["{run: x}"; STEPS_MAX + 1].join(", "));
    assert!(refused(&steps)[0].2.contains("steps in one job"));
    let jobs: String = (0..=JOBS_MAX)
        .map(|n| format!("  j{n}: {{steps: [{{run: x}}]}}\n"))
        .collect();
    refuses(&format!("jobs:\n{jobs}"), JOBS_MAX + 2, 3, "jobs");
}

#[test]
fn durations_read_as_people_write_them() {
    let seconds = |text| parse_duration(text).map(|duration| duration.as_secs());
    assert_eq!(seconds("90s"), Ok(90));
    assert_eq!(seconds("10m"), Ok(600));
    assert_eq!(seconds("1h30m"), Ok(5400));
    assert_eq!(seconds("2d"), Ok(172_800));
    assert_eq!(seconds("45"), Ok(45));
    for text in ["", "s", "1x", "-1", "1.5h", "1h30", "1 h"] {
        assert_eq!(seconds(text), Err(DurationError::Malformed), "{text}");
    }
    assert_eq!(seconds("30m1h"), Err(DurationError::UnitOrder));
    assert_eq!(seconds("1m1m"), Err(DurationError::UnitOrder));
    assert_eq!(seconds("0"), Err(DurationError::Zero));
    assert_eq!(seconds("31d"), Err(DurationError::TooLong));
    assert_eq!(seconds("99999999999999999999999s"), Err(DurationError::TooLong));
    assert_eq!(seconds("999999999999999999d"), Err(DurationError::TooLong));
}

proptest::proptest! {
    #[test]
    fn no_text_panics_the_reader(source in "[a-z:{}\\[\\],&* \t\n\"'#|>!%@-]{0,200}") {
        if let Err(error) = Pipeline::parse(&source) {
            proptest::prop_assert!(!error.diagnostics().is_empty());
            let _ = error.render("p", &source, true);
        }
    }
}
