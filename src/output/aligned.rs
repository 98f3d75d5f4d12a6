//! For the unit tests of the tools, which include this file: whether columns stay where their headers are, whatever options
//! are combined.
//!
//! In: options that add or change columns, and records. Out: a failure that shows a table which is not aligned.

use std::ffi::OsString;

use tracers::cli::{self, Parsed};
use tracers::format::time::Clock;
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
    stream.start(&common, &[]);
    records.iter().for_each(|record| stream.record(record).unwrap());
    let text = String::from_utf8(std::mem::take(stream.buffer())).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Where the words of a header begin and end.
fn words(header: &str) -> Vec<(usize, usize)> {
    let begins = |at: &usize| header[..*at].chars().next_back().is_none_or(|before| before == ' ');
    let starts = (0..header.len()).filter(|at| !header[*at..].starts_with(' ')).filter(begins);
    starts.map(|at| (at, header[at..].find(' ').map_or(header.len(), |end| at + end))).collect()
}

/// Each column has a value that begins, or to the right ends, where its header does.
fn is_aligned(header: &str, row: &str) -> bool {
    let blank = |at: usize| row.as_bytes().get(at).is_none_or(|&byte| byte == b' ');
    words(header).iter().all(|&(start, end)| {
        let left = !blank(start) && (start == 0 || blank(start - 1));
        let right = !blank(end - 1) && blank(end);
        left || right
    })
}

/// `fitting` records keep their columns; those with an overlong value, which are `wide`, keep them apart.
pub(crate) fn with_every_combination<T: Tracer>(choices: Choices<'_>, fitting: &[Vec<u8>], wide: &[Vec<u8>]) {
    assert!(!is_aligned("PID    COMM", "1 cat"), "what is not aligned must be seen");
    for bits in 0..1usize << choices.len() {
        let chosen = (0..choices.len()).filter(|bit| bits >> bit & 1 == 1).flat_map(|bit| choices[bit]);
        let options: Vec<&str> = chosen.copied().collect();
        let lines = table::<T>(&options, fitting);
        assert_eq!(lines.len(), 1 + fitting.len(), "{options:?} {lines:#?}");
        for row in &lines[1..] {
            assert!(is_aligned(&lines[0], row), "{options:?}\n{}\n{row}", lines[0]);
        }
        assert!(!lines.iter().any(|line| line.ends_with(' ')), "{options:?} {lines:#?}");
        for row in table::<T>(&options, wide).iter().skip(1) {
            // The last column may have blanks of its own.
            let count = |line: &str| line.split_whitespace().count();
            assert!(count(row) >= count(&lines[0]), "{options:?}\n{}\n{row}", lines[0]);
        }
    }
}
