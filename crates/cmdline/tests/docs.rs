//! The documentation names every option.

#[test]
fn the_table_of_options_is_in_the_documentation() {
    let page = include_str!("../../../docs/using.md");
    let table = cmdline::table().to_string();
    let missing: Vec<_> = table.lines().filter(|line| !page.contains(line)).collect();
    assert_eq!(missing, [""; 0], "docs/using.md differs from the table");
    assert!(page.contains(&table), "docs/using.md has more rows, or in another order:\n{table}");
}
