//! Repeated measurements: in alternation, so that what else the machine does meets all sides alike.
//!
//! In: closures that measure once. Out: a [`Sample`] for each, of which the median and the quartiles are reported.

/// What one side measured, round by round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// The value below which this part of the sample lies; NaN for an empty sample.
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = part * (sorted.len().saturating_sub(1)) as f64;
        sorted.get(at.round() as usize).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The quartiles: half of all rounds were between them.
    pub(crate) fn quartiles(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    /// Round by round, what this side had more than `base`.
    pub(crate) fn minus(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(ours, base)| ours - base).collect())
    }

    /// The largest of all rounds, for what must never be more.
    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// One side of a comparison: measures once and gives what it found.
pub(crate) type Side<'a, T> = Box<dyn FnMut() -> T + 'a>;

/// Measures all sides in turn, `rounds` times, each round beginning with another side.
pub(crate) fn alternate<T>(rounds: usize, sides: &mut [Side<'_, T>]) -> Vec<Vec<T>> {
    let mut found: Vec<Vec<T>> = sides.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for step in 0..sides.len() {
            let at = (round + step) % sides.len();
            found[at].push(sides[at]());
        }
    }
    found
}
