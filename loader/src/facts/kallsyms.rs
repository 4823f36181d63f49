//! `/proc/kallsyms`: addresses of the kernel's symbols.

use std::io::BufRead;

/// The addresses of symbols of the kernel's image, in the order of `names`. Names that are not
/// there, or that stand for several addresses, have none. [`None`] if the kernel hides addresses:
/// all of them are zero then (`kernel.kptr_restrict`).
pub(crate) fn addresses(file: impl BufRead, names: &[&str]) -> Option<Vec<Option<u64>>> {
    let mut found: Vec<Vec<u64>> = vec![Vec::new(); names.len()];
    let mut is_shown = false;
    let mut lines = file.split(b'\n').map_while(Result::ok);
    while let Some((address, name)) = lines.next().as_deref().and_then(symbol) {
        is_shown |= address != 0;
        if let Some(place) = names.iter().position(|other| other.as_bytes() == name) {
            found[place].push(address);
        }
    }
    let only = |mut addresses: Vec<u64>| {
        addresses.dedup();
        if addresses.len() == 1 { addresses.pop() } else { None }
    };
    is_shown.then(|| found.into_iter().map(only).collect())
}

/// The symbol in a line of the image: `ADDRESS TYPE NAME`. Those of modules come after them, and
/// their lines have one more word.
fn symbol(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut words = line.split(|byte| b" \t".contains(byte));
    let (address, _, name) = (words.next()?, words.next()?, words.next()?);
    let address = u64::from_str_radix(str::from_utf8(address).ok()?, 16).ok()?;
    words.next().is_none().then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0000000000000000 A fixed_percpu_data\n0000000000019d00 D current_task\n\
        ffffffff81000000 T _stext\nffffffff81000000 T _text\nffffffff81200000 t twice\n\
        ffffffff81300000 t twice\nffffffff82e1aa40 D init_task\nffffffff82e1aa40 D init_task\n\
        ffffffffc0401000 t init_once\t[ext4]\nffffffffc0402000 t of_module\n";

    #[test]
    fn symbols_of_the_image_are_found() {
        let names = ["init_task", "current_task", "twice", "absent", "init_once", "of_module"];
        let found = addresses(TEXT.as_bytes(), &names);
        let expected = [Some(0xffff_ffff_82e1_aa40), Some(0x19d00), None, None, None, None];
        assert_eq!(found.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn hidden_addresses_are_none() {
        let hidden = "00000000 T _stext\n00000000 D init_task\n";
        assert_eq!(addresses(hidden.as_bytes(), &["init_task"]), None);
        assert_eq!(addresses(&b""[..], &["init_task"]), None);
        assert_eq!(addresses(&b"ffffffff81000000 T \xff\n"[..], &["x"]), Some(vec![None]));
    }
}
