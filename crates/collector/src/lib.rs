//! The host side: format a dump disk, extract the vmcore.
