//! The words of the running kernel's command line that the capture kernel also gets: with
//! `--reuse-cmdline` nearly all; without it, only `virtio_mmio.device=`.
//!
//! Source: kexec(8) (`BOOT_IMAGE` and `crashkernel` are taken out); Linux, `kernel/params.c`
//! (quotation marks, and `--`, after which all words are init's).

/// Words about the source of the running kernel, its reservations, or another capture kernel; with
/// the prefix `kdump.`, those of ours.
const NOT_REUSED: [&str; 4] = ["BOOT_IMAGE", "crashkernel", "memmap", "elfcorehdr"];

/// The words of a running kernel's command line that are of use to a capture kernel, in their order
/// and as they are written.
pub fn reusable(line: &str) -> String {
    let kept =
        words(line).into_iter().take_while(|word| *word != "--").filter(|word| is_kept(word));
    kept.collect::<Vec<_>>().join(" ")
}

/// The words that say where virtio devices have their registers: a capture kernel finds them in no
/// other way.
pub(crate) fn virtio_mmio_words(line: &str) -> String {
    let told = words(line).into_iter().take_while(|word| *word != "--");
    let told = told.filter(|word| key(word) == "virtio_mmio.device");
    told.collect::<Vec<_>>().join(" ")
}

/// True if a word has this key.
pub(crate) fn has_key(line: &str, wanted: &str) -> bool {
    words(line).into_iter().any(|word| key(word) == wanted)
}

/// True if `written` is a spelling of the key.
pub(crate) fn is_key(written: &[u8], wanted: &str) -> bool {
    str::from_utf8(written).is_ok_and(|written| key(written) == wanted)
}

/// Dashes and underscores are the same to Linux; a quotation mark may stand before a key.
fn key(word: &str) -> String {
    word.split('=').next().unwrap_or(word).trim_matches('"').replace('-', "_")
}

fn is_kept(word: &str) -> bool {
    let key = key(word);
    !NOT_REUSED.contains(&key.as_str()) && !key.starts_with("kdump.")
}

/// The words between white space that is not within quotation marks.
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let separates = |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    };
    line.split(separates).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_a_capture_kernel_is_left_out() {
        let line = "BOOT_IMAGE=/vmlinuz-6.1 root=/dev/vda1 ro crashkernel=32M@16M quiet \
                    memmap=64M$16M kdump.target=none elfcorehdr=4K@48508K crashkernel=16M,low x";
        assert_eq!(reusable(line), "root=/dev/vda1 ro quiet x");
        assert_eq!(reusable(""), "");
        assert_eq!(
            reusable("crashkernels=1 memmapped nokaslr"),
            "crashkernels=1 memmapped nokaslr"
        );
    }

    #[test]
    fn quoted_words_stay_whole() {
        let line = "dyndbg=\"file a.c +p; memmap=1\" \"crashkernel=1 M\" root=\"a  b\"";
        assert_eq!(reusable(line), "dyndbg=\"file a.c +p; memmap=1\" root=\"a  b\"");
    }

    /// As QEMU's microvm adds them.
    #[test]
    fn places_of_virtio_devices_are_passed_on() {
        let line = "console=ttyS0 virtio_mmio.device=512@0xfeb00000:5 quiet \
                    virtio-mmio.device=512@0xfeb02e00:12 -- virtio_mmio.device=1@2:3";
        let expected = "virtio_mmio.device=512@0xfeb00000:5 virtio-mmio.device=512@0xfeb02e00:12";
        assert_eq!(virtio_mmio_words(line), expected);
        assert_eq!(virtio_mmio_words("virtio_mmio.devices=1 x=virtio_mmio.device=1"), "");
    }

    /// memmap= would not be seen after it.
    #[test]
    fn what_is_for_init_is_left_out() {
        assert_eq!(reusable("ro -- single"), "ro");
        assert_eq!(reusable("ro --x"), "ro --x");
    }
}
