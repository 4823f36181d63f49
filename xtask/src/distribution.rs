//! Many times of one thing, or other numbers, for people to look at.

/// Largest number of bars in a histogram.
const BARS: usize = 10;
/// The longest bar, in characters.
const WIDTH: usize = 40;

/// Times in milliseconds, shortest first; there is at least one.
pub(crate) struct Distribution(Vec<f64>);

impl Distribution {
    /// [`None`] when there is nothing to look at.
    pub(crate) fn new(mut times: Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        (!times.is_empty()).then_some(Self(times))
    }

    /// Number of times.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that `percent` of all times do not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// The number in the middle, or half-way between the two that are.
    pub(crate) fn median(&self) -> f64 {
        let (below, above) = (self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2]);
        (below + above) / 2.0
    }

    /// A line for each of [`BARS`] equal intervals between the shortest and the longest time: its
    /// start, the number of times in it, a bar.
    pub(crate) fn histogram(&self) -> Vec<String> {
        let (first, last) = (self.percentile(0), self.percentile(100));
        let width = (last - first) / BARS as f64;
        if width <= 0.0 {
            return vec![bar(first, self.count(), self.count())];
        }
        let mut counts = [0; BARS];
        for time in &self.0 {
            let index = ((time - first) / width) as usize;
            counts[index.min(BARS - 1)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(1);
        let starts = (0..).map(|index| first + width * f64::from(index));
        counts.iter().zip(starts).map(|(count, start)| bar(start, *count, most)).collect()
    }
}

fn bar(start: f64, count: usize, most: usize) -> String {
    let length = (count * WIDTH).div_ceil(most.max(1));
    format!("{start:>10.1} ms {count:>6}  {}", "#".repeat(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let times = Distribution::new((1..=200).rev().map(f64::from).collect()).expect("times");
        let found = [0, 1, 50, 90, 99, 100].map(|percent| times.percentile(percent));
        assert_eq!(found, [1.0, 2.0, 100.0, 180.0, 198.0, 200.0]);
        assert_eq!(Distribution::new(vec![7.0]).expect("one").percentile(50), 7.0);
        assert!(Distribution::new(Vec::new()).is_none());
    }

    #[test]
    fn the_median_has_as_many_numbers_below_as_above() {
        let median = |numbers: &[f64]| Distribution::new(numbers.to_vec()).expect("any").median();
        assert_eq!(median(&[9.0]), 9.0);
        assert_eq!(median(&[9.0, 1.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 100.0, 1.0, 3.0]), 3.5);
    }

    #[test]
    fn every_time_is_in_one_bar() {
        let times = Distribution::new(vec![10.0, 10.5, 11.0, 20.0]).expect("times");
        let lines = times.histogram();
        assert_eq!(lines.len(), BARS);
        assert_eq!(lines[0], format!("      10.0 ms      2  {}", "#".repeat(40)));
        assert_eq!(lines[1], format!("      11.0 ms      1  {}", "#".repeat(20)));
        assert_eq!(lines[9], format!("      19.0 ms      1  {}", "#".repeat(20)));
        let same = Distribution::new(vec![5.0; 3]).expect("times");
        assert_eq!(same.histogram(), [format!("       5.0 ms      3  {}", "#".repeat(40))]);
    }
}
