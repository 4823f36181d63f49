//! What a dump is: memory ranges, command line, ELF core headers, notes, views.
