//! Names of the functions in traces, all found together.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::kallsyms::{Budget, Kallsyms, MOST_NAMES};
use super::modules::Modules;
use super::trace::{Frame, Trust};
use crate::{Error, VirtualMemory};
use vmcore::ReadPhys;

/// The most bytes of all names. A capture kernel has 512 functions at most.
const MOST_TEXT: usize = 1 << 20;

/// The functions that frames are in, with their names.
#[derive(Debug, Default)]
pub struct Names {
    /// By address; none overlaps another.
    functions: Vec<Function>,
    /// All names, printable ASCII.
    text: Vec<u8>,
}

/// A function.
#[derive(Clone, Debug)]
struct Function {
    start: u64,
    size: u64,
    /// Its number in the kernel's own table; none of a module's function.
    index: Option<u32>,
    name: Range<u32>,
    module: Range<u32>,
}

impl Function {
    const fn contains(&self, at: u64) -> bool {
        self.start <= at && at - self.start < self.size
    }
}

/// The place of a frame, as Linux writes it: `NAME+0xOFFSET/0xSIZE [MODULE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'n> {
    /// Name of the function.
    pub name: &'n str,
    /// Offset of the frame's address in the function, in bytes.
    pub offset: u64,
    /// Length of the function in bytes, to the next symbol.
    pub size: u64,
    /// The module that the function is in.
    pub module: Option<&'n str>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, offset, size, module } = self;
        write!(f, "{name}+{offset:#x}/{size:#x}")?;
        module.map_or(Ok(()), |module| write!(f, " [{module}]"))
    }
}

/// A frame as Linux writes it: a `?` before a guess, the address of one without a name.
#[derive(Clone, Copy, Debug)]
pub struct NamedFrame<'n> {
    /// The frame.
    pub frame: Frame,
    /// The place, if its function has a name.
    pub name: Option<Name<'n>>,
}

impl fmt::Display for NamedFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.frame.trust == Trust::Guess {
            f.write_str("? ")?;
        }
        match self.name {
            Some(name) => name.fmt(f),
            None => write!(f, "{:#x}", self.frame.at),
        }
    }
}

/// The address that decides the function: a call may be the last instruction of one.
const fn key(frame: &Frame) -> u64 {
    frame.at.wrapping_sub(frame.is_return as u64)
}

/// Sources of names.
#[derive(Debug)]
pub struct Sources<'s, 'a, M> {
    /// The memory of the kernel.
    pub memory: VirtualMemory<'a, M>,
    /// The symbols of its image, if they were found.
    pub kallsyms: Option<&'s Kallsyms<'a, M>>,
    /// Its modules.
    pub modules: &'s Modules,
}

impl Names {
    /// Finds the functions of `frames`, at most `most`, and then the names of all in as few passes
    /// as it takes. Functions without a name are left out: beyond `most`, after the end of the
    /// budget, in memory that cannot be read, or where the heap has no room.
    pub fn find<'f, M: ReadPhys>(
        sources: &Sources<'_, '_, M>,
        frames: impl Iterator<Item = &'f Frame>,
        most: usize,
        budget: &mut Budget<'_>,
    ) -> Self {
        let mut names = Self::default();
        let is_complete = names.read(sources, frames, most, budget);
        if let Err(error) = is_complete {
            log::warn!("names of functions: {error}");
        }
        names
    }

    fn read<'f, M: ReadPhys>(
        &mut self,
        sources: &Sources<'_, '_, M>,
        frames: impl Iterator<Item = &'f Frame>,
        most: usize,
        budget: &mut Budget<'_>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for key in frames.map(key) {
            let is_known = self.function(key).is_some();
            if is_known || self.functions.len() >= most || !budget.has_time() {
                continue;
            }
            // A function that cannot be read is one without a name.
            result = result.and(self.add(sources, key, budget));
        }
        result.and(sources.kallsyms.map_or(Ok(()), |kallsyms| self.name(kallsyms, budget)))
    }

    /// Adds the function at `at`.
    fn add<M: ReadPhys>(
        &mut self,
        sources: &Sources<'_, '_, M>,
        at: u64,
        budget: &mut Budget<'_>,
    ) -> Result<(), Error> {
        let &Sources { memory, kallsyms, modules } = sources;
        let located = kallsyms.map_or(Ok(None), |kallsyms| kallsyms.locate(at))?;
        if let Some(located) = located {
            let (start, size, index) = (located.start, located.size, Some(located.index));
            return self.insert(Function { start, size, index, name: 0..0, module: 0..0 });
        }
        let Some(module) = modules.find(at) else { return Ok(()) };
        let module_name = modules.name(memory, module)?;
        let Some(symbol) = modules.locate(memory, module, at, budget)? else { return Ok(()) };
        let (start, size) = (symbol.start, symbol.size);
        let (name, module) = (self.keep(&symbol.name)?, self.keep(&module_name)?);
        self.insert(Function { start, size, index: None, name, module })
    }

    /// Names the functions of the kernel's image.
    fn name<M: ReadPhys>(
        &mut self,
        kallsyms: &Kallsyms<'_, M>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Error> {
        let mut indices = Vec::new();
        indices.try_reserve_exact(self.functions.len()).map_err(|_| Error::NO_MEMORY)?;
        // As the addresses, so the numbers ascend.
        indices.extend(self.functions.iter().filter_map(|function| function.index));
        let mut result = Ok(());
        let mut next = 0;
        for indices in indices.chunks(MOST_NAMES) {
            kallsyms.names(indices, budget, &mut |index, name| {
                let functions = self.functions.iter().skip(next);
                let place = functions.into_iter().position(|other| other.index == Some(index));
                let Some(place) = place.map(|place| place + next) else { return };
                next = place + 1;
                match self.keep(name) {
                    Ok(kept) => self.functions[place].name = kept,
                    Err(error) => result = Err(error),
                }
            })?;
        }
        result
    }

    fn insert(&mut self, function: Function) -> Result<(), Error> {
        self.functions.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
        let place = self.functions.partition_point(|other| other.start < function.start);
        self.functions.insert(place, function);
        Ok(())
    }

    /// Appends a name to the text; a `?` stands for a byte that is not printable.
    fn keep(&mut self, name: &[u8]) -> Result<Range<u32>, Error> {
        let start = self.text.len();
        if start + name.len() > MOST_TEXT {
            return Ok(0..0);
        }
        self.text.try_reserve(name.len()).map_err(|_| Error::NO_MEMORY)?;
        let printable = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
        self.text.extend(name.iter().map(printable));
        Ok(start as u32..self.text.len() as u32)
    }

    fn text(&self, range: &Range<u32>) -> &str {
        let bytes = self.text.get(range.start as usize..range.end as usize);
        bytes.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The function at an address.
    fn function(&self, at: u64) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.start <= at);
        self.functions.get(after.checked_sub(1)?).filter(|function| function.contains(at))
    }

    /// The place of a frame, if its function has a name.
    pub fn get(&self, frame: &Frame) -> Option<Name<'_>> {
        let function = self.function(key(frame))?;
        let name = Some(self.text(&function.name)).filter(|name| !name.is_empty())?;
        let module = Some(self.text(&function.module)).filter(|module| !module.is_empty());
        let offset = frame.at.wrapping_sub(function.start);
        Some(Name { name, offset, size: function.size, module })
    }

    /// The frame with its place.
    pub fn named(&self, frame: Frame) -> NamedFrame<'_> {
        NamedFrame { frame, name: self.get(&frame) }
    }
}

#[cfg(test)]
mod tests;
