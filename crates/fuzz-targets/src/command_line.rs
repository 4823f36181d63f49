//! The capture kernel's command line.

use cmdline::Options;

/// Parses the bytes as a command line; whatever is complained about can be printed.
///
/// # Panics
/// Panics if the memory map is not in order, or the timeout is zero.
pub fn command_line(bytes: &[u8]) {
    let mut problems = 0;
    let options = Options::parse(bytes, &mut |problem| {
        problems += 1;
        assert!(!problem.to_string().is_empty());
    });
    assert!(problems <= bytes.len(), "more complaints than words");
    let ranges: Vec<_> = options.memmap.iter().collect();
    for pair in ranges.windows(2) {
        assert!(pair[0].end() < pair[1].start(), "{ranges:?}: not sorted, or not merged");
    }
    assert!(ranges.iter().all(|range| !range.is_empty()), "{ranges:?}");
    let mut units = options.iommu.iter().flat_map(|list| list.iter());
    assert!(units.all(|unit| unit.registers.get() > 0), "an IOMMU at address zero");
    assert!(options.timeout > 0, "no time at all");
}
