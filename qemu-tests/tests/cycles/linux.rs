//! A crash cycle on Debian's unmodified i386 kernel.

use qemu_tests::{FirstKernel, Verdict, run};

use crate::images;

#[test]
fn debian_i386_holds_every_check() {
    let out = tempfile::tempdir().expect("a folder");
    let linux = FirstKernel::Linux {
        name: "debian-i386".to_string(),
        kernel: images::image("KDUMP_LINUX"),
        busybox: images::image("KDUMP_BUSYBOX"),
        loader: images::image("KDUMP_LOADER"),
    };
    let mut config = images::config(linux, out.path());
    config.memory = 128 << 20;
    config.cpus = 2;
    let report = run(&config, &mut |_| {}).expect("the host has what a cycle needs");
    assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
}
