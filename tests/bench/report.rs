//! The table: one row for each comparison, with its target and what the machine could do at best.
//!
//! In: samples. Out: Markdown. A figure that could not be measured is a row that says why.

use crate::sample::Sample;

/// Of what figures are, and how they are written.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Milliseconds,
    Nanoseconds,
    /// Of 1024 x 1024 bytes, as the kernel tells memory.
    Mebibytes,
    /// Of 1,000,000 bytes, as files are told.
    Megabytes,
    PerSecond,
    Count,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            _ if value.is_nan() => "-".to_owned(),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Nanoseconds if value.abs() >= 10_000.0 => format!("{:.1} us", value / 1000.0),
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::Mebibytes => format!("{value:.2} MiB"),
            Self::Megabytes => format!("{value:.2} MB"),
            Self::PerSecond => format!("{:.2} M/s", value / 1e6),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// What is promised.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Ours over theirs.
    Ratio(f64),
    AtMost(f64),
    AtLeast(f64),
    None,
}

/// A comparison.
pub(crate) struct Row {
    what: String,
    unit: Unit,
    ours: Result<Sample, String>,
    theirs: Option<(String, Result<Sample, String>)>,
    target: Target,
    limit: Option<(&'static str, f64)>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: Unit, ours: Sample) -> Self {
        Self { what: what.into(), unit, ours: Ok(ours), theirs: None, target: Target::None, limit: None }
    }

    /// A row that cannot be measured here.
    pub(crate) fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        let ours = Err(why.into());
        Self { what: what.into(), unit: Unit::Count, ours, theirs: None, target: Target::None, limit: None }
    }

    pub(crate) fn theirs(mut self, name: impl Into<String>, sample: Result<Sample, String>) -> Self {
        self.theirs = Some((name.into(), sample));
        self
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// What costs the least that could do the job.
    pub(crate) fn limit(mut self, what: &'static str, sample: &Sample) -> Self {
        self.limit = Some((what, sample.median()));
        self
    }

    fn ratio(&self) -> Option<f64> {
        let (_, Ok(theirs)) = self.theirs.as_ref()? else { return None };
        let (ours, theirs) = (self.ours.as_ref().ok()?.median(), theirs.median());
        (ours.is_finite() && theirs > 0.0).then_some(ours / theirs)
    }

    fn verdict(&self) -> (String, &'static str) {
        let ours = self.ours.as_ref().map_or(f64::NAN, Sample::median);
        let (text, met) = match self.target {
            Target::Ratio(most) => (format!("<= {most} of theirs"), self.ratio().map(|ratio| ratio <= most)),
            Target::AtMost(most) => (format!("<= {}", self.unit.write(most)), Some(ours <= most)),
            Target::AtLeast(least) => (format!(">= {}", self.unit.write(least)), Some(ours >= least)),
            Target::None => (String::new(), None),
        };
        let verdict = match met.filter(|_| !ours.is_nan()) {
            Some(true) => "met",
            Some(false) => "**not met**",
            None if text.is_empty() => "",
            None => "not measured",
        };
        (text, verdict)
    }

    fn spread(&self, sample: &Sample) -> String {
        let (low, high) = sample.quartiles();
        format!("{}..{}", self.unit.write(low), self.unit.write(high))
    }

    /// The row in Markdown.
    fn line(&self) -> String {
        let write = |sample: &Result<Sample, String>| match sample {
            Ok(sample) => (self.unit.write(sample.median()), self.spread(sample)),
            Err(why) => (why.clone(), String::new()),
        };
        let (ours, our_spread) = write(&self.ours);
        let (peer, theirs, their_spread) = match &self.theirs {
            Some((name, sample)) => {
                let (figure, spread) = write(sample);
                (name.as_str(), figure, spread)
            }
            None => ("", String::new(), String::new()),
        };
        let ratio = self.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let (target, verdict) = self.verdict();
        let limit = self
            .limit
            .map_or_else(String::new, |(what, value)| format!("{} ({what})", self.unit.write(value)));
        format!(
            "| {} | {ours} | {our_spread} | {peer} | {theirs} | {their_spread} | {ratio} | {target} | {verdict} | {limit} |",
            self.what
        )
    }
}

/// All rows so far. Each is printed as soon as it is known: a run that is interrupted has shown what it has.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
}

const HEAD: &str = "| what | ours | half of the rounds | peer | theirs | half of the rounds | ratio | target | | limit |\n\
                    |---|---|---|---|---|---|---|---|---|---|";

impl Report {
    pub(crate) fn add(&mut self, row: &Row) {
        if self.lines.is_empty() {
            println!("{HEAD}");
        }
        let line = row.line();
        println!("{line}");
        self.lines.push(line);
    }
}
