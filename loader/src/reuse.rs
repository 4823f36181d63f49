//! `--reuse-cmdline`: what of the running kernel's command line a capture kernel may have, too.
//!
//! Source: kexec(8) (`BOOT_IMAGE` and `crashkernel` are taken out); Linux, `kernel/params.c`
//! (quotation marks, and `--`, behind which everything is init's).

/// Words that say where the running kernel came from, what it has set aside, or what another capture
/// kernel was told; with `kdump.` in front, what ours was.
const NOT_REUSED: [&str; 4] = ["BOOT_IMAGE", "crashkernel", "memmap", "elfcorehdr"];

/// The words of a running kernel's command line that are of use to a capture kernel, in their order
/// and as they are written.
pub fn reusable(line: &str) -> String {
    let kept =
        words(line).into_iter().take_while(|word| *word != "--").filter(|word| is_kept(word));
    kept.collect::<Vec<_>>().join(" ")
}

/// Dashes and underscores are the same to Linux; a quotation mark may stand before a key.
fn is_kept(word: &str) -> bool {
    let key = word.split('=').next().unwrap_or(word).trim_matches('"').replace('-', "_");
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

    /// memmap= would not be seen behind it.
    #[test]
    fn what_is_for_init_is_left_out() {
        assert_eq!(reusable("ro -- single"), "ro");
        assert_eq!(reusable("ro --x"), "ro --x");
    }
}
