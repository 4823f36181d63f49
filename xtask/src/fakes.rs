//! Small dead kernels for the Python tests: the structs and variables of the PyKdump paper, which
//! has its spinlock in two spellings.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use postmortem::fake::Fake;

/// A kernel with nothing in it.
type Machine = fn() -> Fake;

/// Names of the files, the machine, and the spelling of `spinlock_t`.
const KERNELS: [(&str, Machine, Spinlock); 3] = [
    ("amd64-lock", Fake::amd64, Spinlock::Lock),
    ("amd64-slock", Fake::amd64, Spinlock::Slock),
    ("i386-slock", Fake::i386, Spinlock::Slock),
];
/// An address that no memory of theirs has.
const NOWHERE: u64 = 0xdead_0000;

/// Spellings of the word in a spinlock.
#[derive(Clone, Copy)]
enum Spinlock {
    /// `lock`
    Lock,
    /// `raw_lock.slock`
    Slock,
}

/// Writes them into `folder`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (name, machine, lock) in KERNELS {
        let mut fake = machine();
        structs(&mut fake);
        values(&mut fake);
        lists(&mut fake);
        spinlock(&mut fake, lock);
        let path = folder.join(name);
        fs::write(&path, fake.file()).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A variable of this type with these bytes; its address.
fn variable(fake: &mut Fake, name: &str, of: &str, bytes: &[u8]) -> u64 {
    let at = fake.place(bytes);
    fake.symbol(name, at);
    fake.variable(name, of);
    at
}

/// The same with one pointer or `unsigned long`.
fn word(fake: &mut Fake, name: &str, of: &str, value: u64) -> u64 {
    let at = variable(fake, name, of, &[0; 8]);
    fake.put_words(at, &[value]);
    at
}

/// `struct blk_major_name` (paper, 2.1), pointers to it (2.2), and a chain of structs and pointers.
fn structs(fake: &mut Fake) {
    let word_size = fake.word() as u32;
    let members = [
        ("next", "struct blk_major_name *", 0),
        ("major", "int", word_size),
        ("name", "char [16]", word_size + 4),
    ];
    fake.structure("blk_major_name", word_size + 24, &members);
    let object = |fake: &mut Fake, name: &str, next: u64, major: i32, text: &[u8]| {
        let mut bytes = vec![0; word_size as usize];
        bytes.extend(major.to_le_bytes());
        bytes.extend(text);
        bytes.resize(word_size as usize + 24, 0);
        let at = variable(fake, name, "struct blk_major_name", &bytes);
        fake.put_words(at, &[next]);
        at
    };
    let second = object(fake, "second", 0, -9, b"second");
    let first = object(fake, "svar", second, 8, b"abc\0\x04\x05\x06\x07\x08\x09\x0a");
    let pointer = word(fake, "sptr", "struct blk_major_name *", first);
    word(fake, "pptr", "struct blk_major_name * *", pointer);
    word(fake, "nothing", "struct blk_major_name *", 0);
    word(fake, "nowhere", "struct blk_major_name *", NOWHERE);
    for (name, member, of) in [
        ("s1", "f1", "struct s2"),
        ("s2", "f2", "struct s3 *"),
        ("s3", "f3", "struct s4"),
        ("s4", "f4", "struct s5 *"),
        ("s5", "f5", "unsigned long"),
    ] {
        fake.structure(name, word_size, &[(member, of, 0)]);
    }
    let fifth = fake.place_words(&[55]);
    let third = fake.place_words(&[fifth]);
    word(fake, "chain", "struct s1", third);
}

/// Strings (paper, 2.4.3), bytes, numbers.
fn values(fake: &mut Fake) {
    let text = fake.place(b"abc\0def\0");
    word(fake, "testvar", "char *", text);
    word(fake, "notext", "char *", 0);
    let members = [
        ("plain", "char [4]", 0),
        ("negative", "signed char [4]", 4),
        ("positive", "unsigned char [4]", 8),
        ("numbers", "short [2]", 12),
        ("three", "unsigned int:3+2", 16),
    ];
    fake.structure("bytes", 20, &members);
    let bytes = *b"wxyz\xff\0\x01\x80\xff\0\x01\x80\xfe\xff\x02\x01\x14\0\0\0";
    variable(fake, "bytes", "struct bytes", &bytes);
    variable(fake, "count", "int", &(-5_i32).to_le_bytes());
    fake.structure("in6_addr", 16, &[("u6_addr8", "unsigned char [16]", 0)]);
    fake.structure(
        "tcp_timewait_sock",
        20,
        &[("tw_family", "unsigned short", 0), ("tw_v6_rcv_saddr", "struct in6_addr", 4)],
    );
    let mut waits = vec![10, 0, 0, 0, 0x20, 1, 0x0d, 0xb8];
    waits.resize(20, 0);
    waits[19] = 7;
    variable(fake, "tw", "struct tcp_timewait_sock", &waits);
}

/// Three tasks in a ring around `init_task`, and a list that ends in NULL.
fn lists(fake: &mut Fake) {
    let word_size = fake.word() as u32;
    let pointer = "struct list_head *";
    fake.structure(
        "list_head",
        2 * word_size,
        &[("next", pointer, 0), ("prev", pointer, word_size)],
    );
    let members = [
        ("state", "long", 0),
        ("tasks", "struct list_head", word_size),
        ("comm", "char [16]", 3 * word_size),
    ];
    let size = 3 * word_size + 16;
    fake.structure("task_struct", size, &members);
    let names = [("init_task", "swapper/0"), ("task1", "init"), ("task2", "kthreadd")];
    let tasks: Vec<u64> = names
        .iter()
        .map(|(name, comm)| {
            let mut bytes = vec![0; 3 * word_size as usize];
            bytes.extend(comm.bytes());
            bytes.resize(size as usize, 0);
            variable(fake, name, "struct task_struct", &bytes)
        })
        .collect();
    let links = |at: usize| tasks[at % tasks.len()] + u64::from(word_size);
    for at in 0..tasks.len() {
        fake.put_words(links(at), &[links(at + 1), links(at + tasks.len() - 1)]);
    }
}

/// `spinlock_t` (paper, 2.4.4), and a lock that is held by 7.
fn spinlock(fake: &mut Fake, spelling: Spinlock) {
    match spelling {
        Spinlock::Lock => fake.structure("spinlock", 4, &[("lock", "unsigned int", 0)]),
        Spinlock::Slock => {
            fake.structure("raw_spinlock", 4, &[("slock", "unsigned int", 0)]);
            fake.typedef("raw_spinlock_t", "struct raw_spinlock");
            fake.structure("spinlock", 4, &[("raw_lock", "raw_spinlock_t", 0)]);
        }
    }
    fake.typedef("spinlock_t", "struct spinlock");
    variable(fake, "lck", "spinlock_t", &7_u32.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use postmortem::{Dump, Kernel};

    #[test]
    fn the_paper_s_kernels_are_dumps() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for (name, ..) in KERNELS {
            let dump = Dump::open(&folder.path().join(name), None).unwrap();
            let kernel = Kernel::open(&dump).unwrap();
            let chain = kernel.global("chain").unwrap();
            let end = chain.field("f1.f2.f3.f4.f5").unwrap().number().unwrap();
            assert_eq!(end, 55, "{name}");
        }
    }
}
