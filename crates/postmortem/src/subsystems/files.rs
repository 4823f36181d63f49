//! Open files of a task (Linux, `fs/file.c`).

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use super::paths;
use crate::{Error, Kernel, Object, printable};

/// Most descriptors of a task.
const MOST: u64 = 1 << 20;
/// Kinds of files by the type bits of POSIX's `st_mode`, with crash's names.
const KINDS: [(u64, &str); 7] =
    [(1, "FIFO"), (2, "CHR"), (4, "DIR"), (6, "BLK"), (8, "REG"), (10, "LNK"), (12, "SOCK")];

/// The files of a task.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Files {
    /// Its root.
    pub root: Option<String>,
    /// Its current folder.
    pub folder: Option<String>,
    /// Its open files, by descriptor.
    pub files: Vec<OpenFile>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// An open file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OpenFile {
    /// Its descriptor.
    pub descriptor: u64,
    /// Address of its `struct file`.
    pub file: Hex,
    /// Address of its `struct inode`.
    pub inode: Hex,
    /// Its kind: `REG`, `SOCK`.
    pub kind: &'static str,
    /// Its path, or `pipe:[NUMBER]`, `socket:[NUMBER]`, as in `/proc/PID/fd`.
    pub path: String,
    /// The flags of open(2).
    pub flags: Hex,
    /// The place of the next read or write.
    pub position: i64,
}

/// Reads the files of the task whose `task_struct` is at an address.
///
/// # Errors
/// [`Error::NoTypes`]; [`Error::NoMember`], [`Error::Memory`] for the table of descriptors.
pub fn read(kernel: &Kernel<'_>, task: u64) -> Result<Files, Error> {
    let task = kernel.object("struct task_struct", task)?;
    let mut holes = Holes::default();
    let root = holes.take("root", place(&task, "fs.root"));
    let folder = holes.take("current folder", place(&task, "fs.pwd"));
    let mut files = Vec::new();
    if task.field("files")?.number()? != 0 {
        let table = task.field("files.fdt")?.deref()?;
        let descriptors = descriptors(&table)?;
        for number in descriptors {
            let what = format!("descriptor {number}");
            files.extend(holes.take(&what, open_file(&table, number)).flatten());
        }
    }
    Ok(Files { root, folder, files, missing: holes.into_list() })
}

fn place(task: &Object<'_>, path: &str) -> Result<String, Error> {
    let path = task.field(path)?;
    let mount = path.field("mnt")?.deref()?.container_of("struct mount", "mnt")?;
    Ok(printable(&paths::full(&mount, &path.field("dentry")?.deref()?)?))
}

/// The descriptors that are in use, by the table's bits.
fn descriptors(table: &Object<'_>) -> Result<Vec<u64>, Error> {
    let kernel = table.kernel();
    let bits = 8 * kernel.types().word;
    let open = table.field("open_fds")?;
    let mut found = Vec::new();
    for index in 0..table.field("max_fds")?.number()?.min(MOST) / bits {
        let word = open.index(index)?.number()?;
        found.extend((0..bits).filter(|bit| word >> bit & 1 != 0).map(|bit| bits * index + bit));
    }
    Ok(found)
}

/// [`None`]: the descriptor is given to a file that is not open yet.
fn open_file(table: &Object<'_>, descriptor: u64) -> Result<Option<OpenFile>, Error> {
    let Some(file) = table.field("fd")?.index(descriptor)?.deref_or_null()? else {
        return Ok(None);
    };
    let inode = file.field("f_inode")?.deref()?;
    let kind = inode.field("i_mode")?.number()? >> 12 & 0xf;
    let kind = KINDS.iter().find(|(bits, _)| *bits == kind).map_or("UNKN", |(_, name)| name);
    Ok(Some(OpenFile {
        descriptor,
        file: Hex(file.address()),
        inode: Hex(inode.address()),
        kind,
        path: name(&file, &inode)?,
        flags: Hex(file.field("f_flags")?.number()?),
        position: file.field("f_pos")?.signed()?,
    }))
}

/// The path; of a file without one the name that its file system gives it.
fn name(file: &Object<'_>, inode: &Object<'_>) -> Result<String, Error> {
    let dentry = file.field("f_path.dentry")?.deref()?;
    let numbered = |kind| Ok(format!("{kind}:[{}]", inode.field("i_ino")?.number()?));
    let own = || paths::name(&dentry).map(|name| printable(&name));
    match dentry.field("d_sb.s_type.name")?.text()?.as_str() {
        "pipefs" => numbered("pipe"),
        "sockfs" => numbered("socket"),
        "anon_inodefs" => Ok(format!("anon_inode:{}", own()?)),
        _ => {
            let path = paths::of_file(file)?;
            let is_gone = dentry.field("d_hash.pprev")?.number()? == 0
                && dentry.field("d_parent")?.number()? != dentry.address();
            Ok(if is_gone { format!("{path} (deleted)") } else { path })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    /// Descriptors 1 and 65 are pipes, 3 has no file yet, and 64 is closed.
    #[test]
    fn open_descriptors_are_found_by_their_bits() {
        let mut fake = Fake::amd64();
        let members = [("fs", "struct fs_struct *", 0), ("files", "struct files_struct *", 8)];
        fake.structure("task_struct", 16, &members);
        fake.structure("fs_struct", 8, &[("users", "int", 0)]);
        fake.structure("files_struct", 8, &[("fdt", "struct fdtable *", 0)]);
        let members = [
            ("max_fds", "unsigned int", 0),
            ("fd", "struct file **", 8),
            ("open_fds", "unsigned long *", 16),
        ];
        fake.structure("fdtable", 24, &members);
        let members = [("mnt", "void *", 0), ("dentry", "struct dentry *", 8)];
        fake.structure("path", 16, &members);
        let members = [
            ("f_path", "struct path", 0),
            ("f_inode", "struct inode *", 16),
            ("f_flags", "unsigned int", 24),
            ("f_pos", "long", 32),
        ];
        fake.structure("file", 40, &members);
        let members = [("i_ino", "unsigned long", 0), ("i_mode", "unsigned short", 8)];
        fake.structure("inode", 16, &members);
        fake.structure("dentry", 8, &[("d_sb", "struct super_block *", 0)]);
        fake.structure("super_block", 8, &[("s_type", "struct file_system_type *", 0)]);
        fake.structure("file_system_type", 8, &[("name", "char *", 0)]);
        let name = fake.place(b"pipefs\0");
        let kind = fake.place_words(&[name]);
        let system = fake.place_words(&[kind]);
        let dentry = fake.place_words(&[system]);
        let inode = fake.place_words(&[4711, 0o010_200]);
        let file = fake.place_words(&[0, dentry, inode, 0o4001, 0]);
        let mut slots = vec![0; 128];
        (slots[1], slots[64], slots[65]) = (file, file, file);
        let slots = fake.place_words(&slots);
        let bits = fake.place_words(&[1 << 1 | 1 << 3, 1 << 1]);
        let table = fake.place_words(&[128, slots, bits]);
        let files = fake.place_words(&[table]);
        let task = fake.place_words(&[0, files]);
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let found = read(&kernel, task).expect("files");
        let seen = |file: &OpenFile| (file.descriptor, file.kind, file.path.clone());
        let pipe = |number| (number, "FIFO", "pipe:[4711]".to_owned());
        assert_eq!(found.files.iter().map(seen).collect::<Vec<_>>(), [pipe(1), pipe(65)]);
        assert_eq!((found.root, found.missing.len()), (None, 2), "there is no fs_struct");
    }
}
