//! How a run ends: whatever the reason, each event that happened is out, and the exit code is 0.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::namespace::MountNamespace;
use crate::common::nsmap::with_closed;
use crate::common::program::{find, run_true};
use crate::common::run::{run, wait_bounded};
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tracer::{END_BOUND, Finished, Tracer};
use crate::common::{BOUND, tag};
use crate::{args_column, argv};

/// A sandbox with a set that holds one namespace: what happens in that one is all that a tracer sees.
struct Scene {
    sandbox: Sandbox,
    set: String,
    shell: MountNamespace,
}

impl Scene {
    fn new() -> Result<Self, crate::common::skip::Skip> {
        let sandbox = Sandbox::new()?;
        let set = sandbox.create_set("mntns").display().to_string();
        let shell = MountNamespace::new();
        shell.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
        Ok(Self { sandbox, set, shell })
    }

    fn command(&self, options: &[&str]) -> Command {
        self.sandbox.command("execsnoop", ["--mntnsmap", &self.set].iter().chain(options))
    }

    fn start(&self, options: &[&str]) -> Tracer {
        Tracer::start(self.command(options))
    }

    /// Executes `true 0`, `true 1`, ...
    fn execute(&self, count: usize) {
        self.shell.run(|| (0..count).for_each(|number| say(&[&number.to_string()])));
    }
}

/// Executes `true` with these arguments.
fn say(args: &[&str]) {
    run_true(args);
}

#[track_caller]
fn expect_numbers(rows: &[String], count: usize) {
    let shown: Vec<&str> = rows.iter().map(|row| args_column(row).rsplit(' ').next().unwrap()).collect();
    let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(shown, expected);
}

const SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

#[test]
fn each_event_before_a_signal_is_in_the_pipe() {
    let scene = or_skip!(Scene::new());
    for signal in SIGNALS {
        let tracer = scene.start(&[]);
        scene.execute(23);
        expect_numbers(tracer.stop_by(signal).quiet().rows(), 23);
    }
}

/// Waits until a file has a whole line.
fn wait_for_line(path: &Path) {
    let deadline = Instant::now() + BOUND;
    while !fs::read_to_string(path).unwrap().contains('\n') {
        assert!(Instant::now() < deadline, "no header in the file");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn each_event_before_a_signal_is_in_the_file() {
    let scene = or_skip!(Scene::new());
    for signal in SIGNALS {
        let path = scene.sandbox.path("rows");
        let mut command = scene.command(&[]);
        let mut child = command.stdin(Stdio::null()).stdout(File::create(&path).unwrap()).spawn().unwrap();
        wait_for_line(&path);
        scene.execute(23);
        signal_to(&child, signal);
        assert_eq!(wait_bounded(&mut child).expect("it ends").code(), Some(0));
        let text = fs::read_to_string(&path).unwrap();
        let rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        expect_numbers(&rows, 23);
    }
}

fn signal_to(child: &Child, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn events_reach_a_pipe_while_the_tracer_goes_on() {
    let scene = or_skip!(Scene::new());
    let tracer = scene.start(&[]);
    for _ in 0..5 {
        let word = tag("alone");
        scene.shell.run(|| run_true([&word]));
        // One small event, nothing after it: it must not wait for a buffer to fill.
        tracer.wait_word(&word);
    }
    tracer.stop().quiet();
}

/// A tracer whose header was read, by somebody who then goes away.
fn read_header_and_leave(mut command: Command) -> Child {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut header = String::new();
    reader.read_line(&mut header).unwrap();
    assert!(header.contains("PID"), "{header}");
    child
}

#[test]
fn it_ends_when_the_reader_leaves_even_if_nothing_happens() {
    let scene = or_skip!(Scene::new());
    let mut child = read_header_and_leave(scene.command(&[]));
    let begun = Instant::now();
    assert_eq!(wait_bounded(&mut child).expect("it ends").code(), Some(0));
    assert!(begun.elapsed() < END_BOUND);
}

#[test]
fn it_ends_quietly_when_the_reader_leaves_while_events_come() {
    let scene = or_skip!(Scene::new());
    let mut command = scene.command(&[]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("PCOMM"));
    scene.execute(3);
    assert!(lines.next().unwrap().unwrap().starts_with("true"));
    drop(lines);
    let deadline = Instant::now() + BOUND;
    while child.try_wait().unwrap().is_none() {
        scene.execute(1);
        assert!(Instant::now() < deadline, "it goes on");
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(std::io::read_to_string(child.stderr.take().unwrap()).unwrap(), "");
}

#[test]
fn duration_ends_a_run_with_all_of_its_events() {
    let scene = or_skip!(Scene::new());
    for (option, seconds) in [("--duration", "3"), ("-d", "0.7")] {
        // The clock starts before the header comes, and after this one.
        let begun = Instant::now();
        let ends = begun + Duration::from_secs_f64(seconds.parse().unwrap());
        let tracer = scene.start(&[option, seconds]);
        // On a slow machine the end comes in the middle; what was over by then must be shown.
        let in_time = scene.shell.run(|| {
            let in_time = |number: &usize| {
                say(&[&number.to_string()]);
                Instant::now() < ends
            };
            (0..11).filter(in_time).count()
        });
        let finished = tracer.finish().quiet();
        assert!(Instant::now() >= ends);
        let shown = finished.rows().len();
        assert!(shown >= in_time, "{in_time} in time: {finished:#?}");
        expect_numbers(finished.rows(), shown);
    }
}

#[test]
fn max_events_ends_a_run_after_exactly_so_many() {
    let scene = or_skip!(Scene::new());
    for json in [false, true] {
        let tracer =
            scene.start(if json { &["--max-events", "7", "--json"] } else { &["--max-events", "7"] });
        scene.execute(13);
        let finished = tracer.finish().quiet();
        if json {
            assert_eq!(finished.events().len(), 7);
            assert_eq!(finished.records().pop().unwrap()["events"], 7);
        } else {
            expect_numbers(finished.rows(), 7);
        }
    }
}

#[test]
fn the_record_end_says_why() {
    let scene = or_skip!(Scene::new());
    let reason =
        |finished: Finished| finished.quiet().records().pop().unwrap()["reason"].as_str().unwrap().to_owned();
    let mut reasons =
        vec![reason(scene.start(&["--json"]).stop()), reason(scene.start(&["--json", "-d", "0.1"]).finish())];
    let tracer = scene.start(&["--json", "--max-events", "3"]);
    scene.execute(3);
    reasons.push(reason(tracer.finish()));
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
}

/// Lets more happen than the buffer holds, while the tracer is stopped. Gives all that it said, and how many there were.
fn overrun(scene: &Scene, options: &[&str]) -> (Finished, usize) {
    let tracer = scene.start(options);
    tracer.signal(Signal::SIGSTOP);
    scene.execute(199);
    tracer.signal(Signal::SIGCONT);
    // When it says so, it has read all that there was, and has room for one more.
    tracer.wait_message("lost");
    let last = tag("last");
    scene.shell.run(|| run_true([&last]));
    tracer.wait_word(&last);
    (tracer.stop(), 199 + 1)
}

#[test]
fn what_was_lost_is_counted_and_told_exactly() {
    let scene = or_skip!(Scene::new());
    let (finished, happened) = overrun(&scene, &["--json", "--buffer-size", "4K"]);
    let records = finished.records();
    let end = records.last().unwrap();
    let lost = end["lost"].as_u64().unwrap();
    assert!(lost > 0);
    assert_eq!(finished.events().len() + usize::try_from(lost).unwrap(), happened);
    let told: u64 = records
        .iter()
        .filter(|record| record["type"] == "lost")
        .map(|record| record["count"].as_u64().unwrap())
        .sum();
    assert_eq!(told, lost);
    assert!(!finished.stderr.is_empty());

    let (finished, happened) = overrun(&scene, &["--buffer-size", "4K"]);
    let lost = happened - finished.rows().len();
    assert!(
        finished.stderr.iter().any(|line| line.contains(&format!("{lost} "))),
        "{lost} lost, but {finished:#?}"
    );
}

#[test]
fn a_full_disk_is_an_error() {
    let scene = or_skip!(Scene::new());
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child =
        scene.command(&[]).stdin(Stdio::null()).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(wait_bounded(&mut child).expect("it ends").code(), Some(1));
    let message = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(message.starts_with("execsnoop: ") && message.lines().count() == 1, "{message}");
}

#[test]
fn a_reader_that_sleeps_does_not_hold_the_end() {
    let scene = or_skip!(Scene::new());
    for options in [&[][..], &["-d", "3"]] {
        let status = with_sleeping_reader(&scene, options);
        // What could not be written is missing, so this is no success.
        assert_eq!(status.code(), Some(1), "{options:?}");
    }
}

fn with_sleeping_reader(scene: &Scene, options: &[&str]) -> ExitStatus {
    let mut command = scene.command(options);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    // More than a pipe holds.
    let long = "z".repeat(30_000);
    scene.shell.run(|| (0..11).for_each(|_| say(&[&long])));
    if options.is_empty() {
        signal_to(&child, Signal::SIGTERM);
    }
    let begun = Instant::now();
    let status = wait_bounded(&mut child).expect("it ends");
    assert!(begun.elapsed() < END_BOUND);
    drop(reader);
    status
}

#[test]
fn closed_standard_streams_do_no_harm() {
    let scene = or_skip!(Scene::new());
    for streams in [&[0][..], &[0, 2], &[2]] {
        let tracer = Tracer::start(with_closed(streams, &scene.command(&["--json", "-x", "--verbose"])));
        let word = tag("closed");
        scene.shell.run(|| run_true([&word]));
        tracer.wait_word(&word);
        let events = tracer.stop().events();
        assert_eq!(argv(events.last().unwrap())[1], word);
    }
    let output = run(&mut with_closed(&[0, 1, 2], &scene.command(&["-d", "0.2"])));
    assert!(matches!(output.code(), 0 | 1), "{output:?}");
}

#[test]
fn a_tracer_in_the_background_of_a_script_can_be_interrupted() {
    let scene = or_skip!(Scene::new());
    // Such a shell starts it with SIGINT ignored.
    let rows = scene.sandbox.path("rows");
    let script = r#""$0" --mntnsmap "$1" > "$2" & echo $!; wait $!; echo "ended $?""#;
    let mut shell = Command::new(find("sh"));
    shell.args(["-c", script]).arg(crate::common::tool("execsnoop")).arg(&scene.set).arg(&rows);
    let mut shell = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let pid: i32 = lines.next().unwrap().unwrap().parse().unwrap();
    let deadline = Instant::now() + BOUND;
    while !rows.exists() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    wait_for_line(&rows);
    scene.execute(5);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGINT).unwrap();
    assert!(wait_bounded(&mut shell).expect("it ends").success());
    assert_eq!(lines.next().unwrap().unwrap(), "ended 0");
    assert_eq!(fs::read_to_string(&rows).unwrap().lines().count(), 1 + 5);
}

#[test]
fn a_line_of_json_is_never_torn() {
    let scene = or_skip!(Scene::new());
    // Room for all of them, however late the reader gets a processor.
    let tracer = scene.start(&["--json", "--buffer-size", "8M"]);
    let long = "q".repeat(20_000);
    scene.shell.run(|| (0..101).for_each(|number| say(&[&number.to_string(), &long])));
    let finished = tracer.stop().quiet();
    let events = finished.events();
    let numbers: Vec<&str> = events.iter().map(|event| argv(event)[1]).collect();
    assert_eq!(numbers, (0..101).map(|number| number.to_string()).collect::<Vec<_>>());
    let end: &Value = &finished.records().pop().unwrap();
    assert_eq!((&end["type"], &end["lost"]), (&"end".into(), &0.into()));
}
