//! Lists, trees and structs in the memory of a dead kernel.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use postmortem::fake::Fake;
use postmortem::{Dump, Error, Kernel};

/// Bytes of memory.
const LENGTH: usize = 8192;
/// Numbers below this are places in the memory: the fuzzer finds those.
const PLACES: u64 = 2 * LENGTH as u64;

/// A kernel whose memory is written anew for each input.
struct Target {
    file: File,
    offset: u64,
    start: u64,
    dump: &'static Dump,
    kernel: &'static Kernel<'static>,
}

thread_local! {
    static TARGET: Target = target();
}

/// Walks and shows what the bytes are as memory. Each walk ends; none is longer than the memory
/// allows.
///
/// # Panics
/// Panics if a walk does not end.
pub fn objects(bytes: &[u8]) {
    TARGET.with(|target| {
        target.write(bytes);
        for place in (0..bytes.len().min(LENGTH)).step_by(8).take(16) {
            let _ = target.walk(target.start + place as u64);
        }
    });
}

impl Target {
    /// Writes the words of the input, small ones as pointers into the memory.
    fn write(&self, bytes: &[u8]) {
        let mut memory = vec![0; LENGTH];
        for (into, word) in memory.chunks_exact_mut(8).zip(bytes.chunks(8)) {
            let mut all = [0; 8];
            all[..word.len()].copy_from_slice(word);
            let word = u64::from_le_bytes(all);
            let is_place = (8..PLACES).contains(&word);
            let word = if is_place { self.start + word } else { word };
            into.copy_from_slice(&word.to_le_bytes());
        }
        self.file.write_all_at(&memory, self.offset).expect("the vmcore can be written");
        self.dump.refresh();
    }

    fn walk(&self, at: u64) -> Result<(), Error> {
        let object = |name: &str| self.kernel.object(name, at);
        let list = object("struct list_head")?;
        count(list.nodes().into_iter().flatten());
        count(list.hlist("struct thing", "list").into_iter().flatten());
        count(list.hlist_nulls("struct thing", "list").into_iter().flatten());
        count(object("struct rb_root")?.rb_nodes().into_iter().flatten());
        for name in ["xarray", "radix_tree_root", "idr", "maple_tree"] {
            let root = object(&format!("struct {name}"))?;
            count(root.entries().into_iter().flatten());
            count(root.indexed("struct thing").into_iter().flatten());
        }
        let thing = object("struct thing")?;
        let shown = thing.shown();
        assert!(shown.to_string().len() < 1 << 20, "more text than memory");
        let _ = (thing.field("next.next.next.name"), thing.field("text").map(|text| text.text()));
        let _ = (thing.field("colour")?.enumerator(), thing.field("wide")?.number());
        Ok(())
    }
}

/// A node has at least eight bytes, and a list that leads back is noticed after twice its length.
fn count<T>(walk: impl Iterator<Item = T>) {
    assert!(walk.take(16 * LENGTH).count() < 16 * LENGTH, "the walk does not end");
}

fn target() -> Target {
    let mut fake = Fake::amd64();
    types(&mut fake);
    let start = fake.place_aligned(&[0; LENGTH], LENGTH);
    let path = std::env::temp_dir().join(format!("fuzz-objects-{:?}", std::thread::current().id()));
    let path = path.with_extension(std::process::id().to_string());
    fs::write(&path, fake.file()).expect("room for a vmcore");
    let file = File::options().write(true).open(&path).expect("the vmcore");
    let dump: &Dump = Box::leak(Box::new(Dump::open(&path, None).expect("a vmcore")));
    // It stays open.
    fs::remove_file(&path).expect("the vmcore");
    let kernel = Box::leak(Box::new(Kernel::open(dump).expect("a kernel")));
    Target { file, offset: fake.offset(start), start, dump, kernel }
}

fn types(fake: &mut Fake) {
    let pointer = "void *";
    fake.structure("list_head", 16, &[("next", pointer, 0), ("prev", pointer, 8)]);
    let node =
        [("__rb_parent_color", "long", 0), ("rb_right", pointer, 8), ("rb_left", pointer, 16)];
    fake.structure("rb_node", 24, &node);
    fake.structure("rb_root", 8, &[("rb_node", pointer, 0)]);
    let node = [("shift", "u8", 0), ("parent", pointer, 8), ("slots", "void *[4]", 16)];
    fake.structure("xa_node", 48, &node);
    fake.structure("radix_tree_node", 48, &node);
    fake.structure("xarray", 16, &[("xa_head", pointer, 8)]);
    fake.structure("radix_tree_root", 16, &[("rnode", pointer, 8)]);
    fake.structure("idr", 24, &[("idr_rt", "struct xarray", 0), ("idr_base", "u32", 16)]);
    let (pivots, slots) = ("unsigned long [3]", "void *[4]");
    let node = [("parent", pointer, 0), ("pivot", pivots, 8), ("slot", slots, 32)];
    fake.structure("maple_range_64", 64, &node);
    fake.structure("maple_arange_64", 96, &node);
    fake.structure("maple_node", 64, &[("parent", pointer, 0), ("slot", "void *[7]", 8)]);
    let kinds = ["maple_dense", "maple_leaf_64", "maple_range_64", "maple_arange_64"];
    fake.enumeration("maple_type", &kinds.into_iter().zip(0..).collect::<Vec<_>>());
    fake.structure("maple_tree", 16, &[("ma_root", pointer, 8)]);
    fake.enumeration("colour", &[("RED", 0), ("BLUE", -2)]);
    fake.structure(
        "thing",
        96,
        &[
            ("next", "struct thing *", 0),
            ("text", "char *", 8),
            ("name", "char [16]", 16),
            ("list", "struct list_head", 32),
            ("colour", "enum colour", 48),
            ("low", "unsigned int:3+5", 52),
            ("wide", "long:63+1", 56),
            ("roots", "struct rb_root [4]", 64),
        ],
    );
}
