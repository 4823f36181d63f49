//! Crash-and-capture cycles under QEMU, and the ground truth.
