//! For the unit tests of the tools, which include this file: whether columns stay where their headers are, whatever options
//! are combined.
//!
//! In: options that add or change columns, and records. Out: a failure that shows a table which is not aligned.

use std::ffi::OsString;

use tracers::cli::{self, Parsed};
use tracers::format::time::Clock;
use tracers::format::width;
use tracers::stream::Stream;
use tracers::tracer::Tracer;

/// Options, each with its value, of which every combination is tried.
type Choices<'a> = &'a [&'a [&'a str]];

/// The table that `OPTIONS` make of `records`.
fn table<T: Tracer>(options: &[&str], records: &[Vec<u8>]) -> Vec<String> {
    let args = [T::NAME].iter().chain(options).map(OsString::from);
    let Ok(Parsed::Run(common, own)) = cli::parse::<T>(args) else { panic!("{options:?} is refused") };
    let Ok(tool) = T::new(own, &common) else { panic!("{options:?} is refused") };
    let mut stream = Stream::new(tool, &common, Clock::start(true));
    stream.repeat_header();
    stream.start(&common, &[]);
    records.iter().for_each(|record| stream.record(record).unwrap());
    let text = String::from_utf8(std::mem::take(stream.buffer())).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A line as one byte for each terminal column, where only blank or not blank matters.
fn columns(line: &str) -> Vec<u8> {
    let of = |c: char| {
        let width = width::columns(c.to_string().as_bytes());
        std::iter::repeat_n(if c == ' ' { b' ' } else { b'x' }, width)
    };
    line.chars().flat_map(of).collect()
}

/// Where the words of a header begin and end.
fn words(header: &[u8]) -> Vec<(usize, usize)> {
    let blank = |at: usize| header.get(at).is_none_or(|&byte| byte == b' ');
    let starts = (0..header.len()).filter(|&at| !blank(at) && (at == 0 || blank(at - 1)));
    starts.map(|at| (at, (at..).find(|&at| blank(at)).unwrap())).collect()
}

/// Each column has a value that begins, or to the right ends, where its header does.
fn is_aligned(header: &str, row: &str) -> bool {
    let (header, row) = (columns(header), columns(row));
    let blank = |at: usize| row.get(at).is_none_or(|&byte| byte == b' ');
    words(&header).iter().all(|&(start, end)| {
        let left = !blank(start) && (start == 0 || blank(start - 1));
        let right = !blank(end - 1) && blank(end);
        left || right
    })
}

/// Whether a line has the words of the header, however far they are apart.
fn is_header(line: &str, first: &str) -> bool {
    line.split_whitespace().eq(first.split_whitespace())
}

/// Each of these records keeps the columns of the header above it; `headers` is how often that comes at the most. Those of
/// `longer` have a value that is longer than any column: they keep their cells apart.
pub(crate) fn with_every_combination<T: Tracer>(
    choices: Choices<'_>,
    records: &[Vec<u8>],
    longer: &[Vec<u8>],
    headers: usize,
) {
    assert!(!is_aligned("PID    COMM", "1 cat"), "what is not aligned must be seen");
    assert!(is_aligned("PID  COMM", "東京 cat") && !is_aligned("PID    COMM", "東京 cat"));
    for bits in 0..1usize << choices.len() {
        let chosen = (0..choices.len()).filter(|bit| bits >> bit & 1 == 1).flat_map(|bit| choices[bit]);
        let options: Vec<&str> = chosen.copied().collect();
        let lines = table::<T>(&options, records);
        let (mut header, mut seen) = (&lines[0], 1);
        for row in &lines[1..] {
            if is_header(row, &lines[0]) {
                (header, seen) = (row, seen + 1);
            }
            assert!(is_aligned(header, row), "{options:?}\n{header}\n{row}");
        }
        assert_eq!(lines.len(), seen + records.len(), "{options:?} {lines:#?}");
        assert!(seen <= headers, "{options:?} {lines:#?}");
        assert!(!lines.iter().any(|line| line.ends_with(' ')), "{options:?} {lines:#?}");
        for row in table::<T>(&options, longer).iter().skip(1) {
            // The last column may have blanks of its own.
            let count = |line: &str| line.split_whitespace().count();
            assert!(count(row) >= count(&lines[0]), "{options:?}\n{}\n{row}", lines[0]);
        }
    }
}
