//! The documentation names every option.

#[test]
fn the_table_of_options_is_in_the_documentation() {
    let page = include_str!("../../../docs/reference.md");
    let table = cmdline::table().to_string();
    let missing: Vec<_> = table.lines().filter(|line| !page.contains(line)).collect();
    assert_eq!(missing, [""; 0], "docs/reference.md differs from the table");
    assert!(
        page.contains(&table),
        "docs/reference.md has more rows, or in another order:\n{table}"
    );
}
