//! How a dump is stored and sent: the dump disk.
