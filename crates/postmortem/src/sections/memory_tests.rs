//! The sections of types, memory and containers on a kernel that was put together by hand.

use clap::{CommandFactory, FromArgMatches, Parser};

use super::*;
use crate::fake::Fake;
use crate::report::Block;
use crate::{Dump, Kernel};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    section: Command,
}

/// The text of a section's answer, its missing parts, or its error.
fn answer(dump: &Dump, line: &str) -> (String, Answer) {
    let words = ["crashinfo"].into_iter().chain(line.split(' '));
    let matches = Cli::command().try_get_matches_from(words).expect("a command line");
    let section = Cli::from_arg_matches(&matches).expect("a section").section;
    let kernel = Kernel::open(dump).expect("a kernel");
    match section.answer(&kernel, &mut |_, _| {}) {
        Ok(answer) => {
            let text = answer.blocks.iter().filter_map(|block| match block {
                Block::Text(text) => Some(text.clone()),
                _ => None,
            });
            (text.collect::<Vec<_>>().join("\n"), answer)
        }
        Err(error) => (error.to_string(), Answer::default()),
    }
}

/// Three structs in a ring with a head, and in a list that a NULL ends.
fn kernel() -> (Fake, [u64; 3], u64) {
    let mut fake = Fake::amd64();
    fake.structure("list_head", 16, &[("next", "struct list_head *", 0)]);
    let members =
        [("id", "int", 0), ("next", "struct thing *", 8), ("list", "struct list_head", 16)];
    fake.structure("thing", 32, &members);
    let things = [1, 2, 3].map(|id| fake.place_words(&[id, 0, 0, 0]));
    let head = fake.place_words(&[things[0] + 16, 0]);
    for (one, next) in [(0, things[1]), (1, things[2]), (2, 0)] {
        let node = if next == 0 { head } else { next + 16 };
        fake.put_words(things[one] + 8, &[next, node]);
    }
    fake.symbol("things", head);
    (fake, things, head)
}

#[test]
fn lists_are_walked_as_crash_walks_them() {
    let (fake, things, _) = kernel();
    let dump = fake.dump();
    let all = things.map(|at| format!("{at:x}"));
    let (first, second) = (&all[0], &all[1]);
    let node = format!("{:x}", things[0] + 16);
    for (line, expected) in [
        ("list -H things -o thing.list".to_owned(), all.join("\n")),
        (format!("list -o 8 {first}"), all.join("\n")),
        (format!("list -o thing.next {second}"), all[1..].join("\n")),
        (format!("list -o thing.next -e {second} {first}"), all[..2].join("\n")),
        (
            format!("list -o thing.next -s thing.id {second}"),
            format!("{second}\n  id = 2\n{}\n  id = 3", all[2]),
        ),
    ] {
        assert_eq!(answer(&dump, &line).0, expected, "{line}");
    }
    // From a node the head is one of them: its list_head is taken for that of a struct.
    let (text, _) = answer(&dump, &format!("list -h {node} -o thing.list"));
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn a_list_that_leads_back_into_itself_ends() {
    let (mut fake, things, _) = kernel();
    fake.put_words(things[2] + 8, &[things[1]]);
    let dump = fake.dump();
    let (text, answer) = answer(&dump, &format!("list -o thing.next {:x}", things[0]));
    assert_eq!(text.lines().count(), 3);
    assert!(answer.missing[0].contains("leads back"), "{:?}", answer.missing);
}

#[test]
fn structs_and_memory() {
    let (fake, things, head) = kernel();
    let dump = fake.dump();
    let at = format!("{:x}", things[0]);
    let word = format!("{head:016x}:  {:016x}", things[0] + 16);
    for (line, expected) in [
        (format!("struct thing.id {at} 1"), "  id = 1".to_owned()),
        (
            format!("struct thing.id,next -l thing.list {:x}", things[2] + 16),
            "  id = 3\n  next = 0x0".to_owned(),
        ),
        (
            "struct thing.list".to_owned(),
            "struct thing {\n   [16] struct list_head list;\n}\nSIZE: 32".to_owned(),
        ),
        (
            format!("struct -o thing {at}"),
            format!(
                "struct thing {{\n  [{at}] int id;\n  [{:x}] struct thing *next;\n  [{:x}] struct list_head list;\n}}\nSIZE: 32",
                things[0] + 8,
                things[0] + 16
            ),
        ),
        ("struct absent".to_owned(), "this kernel has no type absent".to_owned()),
        ("struct thing.absent".to_owned(), "struct thing has no member absent".to_owned()),
        ("sym things".to_owned(), format!("{head:x} (?) things")),
        ("sym absent".to_owned(), "absent is no symbol and no address in one".to_owned()),
        (
            format!("rd -w 32 {at} 2"),
            format!("{at}:  00000001 00000000                     ........"),
        ),
        ("whatis thing".to_owned(), answer(&dump, "struct thing").0),
        (
            "rd absent".to_owned(),
            "absent is neither a symbol of this kernel nor a hexadecimal address".to_owned(),
        ),
    ] {
        assert_eq!(answer(&dump, &line).0, expected, "{line}");
    }
    let (text, _) = answer(&dump, "rd things+0");
    assert!(text.starts_with(&word), "{text}");
    // The physical address of the first byte of memory.
    assert_eq!(
        answer(&dump, "rd -p 100000 1").0,
        answer(&dump, &format!("rd {:x}", fake.start()))
            .0
            .replace(&format!("{:x}", fake.start()), "0000000000100000")
    );
    let (_, list) = answer(&dump, &format!("struct thing {at} 2"));
    assert_eq!(list.data[0]["value"]["list"]["next"], format!("{:#x}", things[1] + 16));
    assert_eq!(list.data[1]["value"]["id"], 2);
}
