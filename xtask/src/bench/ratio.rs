//! Ratios of times that were taken side by side, round by round.

use anyhow::{Context, Result};

use crate::distribution::Distribution;

/// A line with a ratio, round by round, and its goal.
pub(super) fn ratio(names: [&str; 2], times: [&[f64]; 2], goal: f64) -> Result<String> {
    let ratios: Vec<_> = times[0].iter().zip(times[1]).map(|(a, b)| a / b).collect();
    let (median, shown) = spread(&ratios, 1)?;
    let met = if median >= goal { "met" } else { "missed" };
    Ok(format!("{} ÷ {}: {shown}, goal {goal}: {met}\n", names[0], names[1]))
}

/// The median, and a text with the smallest and the largest number.
pub(super) fn spread(numbers: &[f64], digits: usize) -> Result<(f64, String)> {
    let all = Distribution::new(numbers.to_vec()).context("at least one round")?;
    let (median, least, most) = (all.median(), all.percentile(0), all.percentile(100));
    Ok((median, format!("{median:.digits$} ({least:.digits$} … {most:.digits$})")))
}
