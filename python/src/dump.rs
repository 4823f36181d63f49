//! The class `Dump`.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use postmortem::sections::{Command, Section};
use postmortem::{Error, Object, render};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::argument::{Address, TypeArgument, checked};
use crate::ctype::CType;
use crate::error::{OrException, exception};
use crate::object::{self, Attribute, closed};
use crate::session::{Session, Value};
use crate::values;
use crate::walk::Steps;

/// Bytes of a text, unless the caller wants another number.
const TEXT: usize = 4096;

/// A dead or running kernel and its memory.
///
/// Addresses are virtual unless a name says `physical`; sizes and lengths are bytes. A type is
/// spelled as in C (`"struct sock"`, `"u64"`, `"char *"`) or a CType. Only the thread that opened
/// a dump can use it.
#[pyclass(unsendable, frozen, module = "kdump")]
pub(crate) struct Dump {
    session: RefCell<Option<Rc<Session>>>,
}

impl Dump {
    fn session(&self) -> PyResult<Rc<Session>> {
        self.session.borrow().clone().ok_or_else(|| exception(closed()))
    }
}

#[pymethods]
impl Dump {
    /// Opens a dump: a vmcore of any format, a dump disk, /proc/kcore, or a line to a capture
    /// kernel (unix:PATH, tcp:HOST:PORT). `vmlinux` is a file with debug information of the same
    /// kernel. Of a dump disk, `number` chooses the dump.
    #[new]
    #[pyo3(signature = (path, vmlinux=None, number=None))]
    fn new(path: PathBuf, vmlinux: Option<PathBuf>, number: Option<u64>) -> PyResult<Self> {
        let name = path.display().to_string();
        let session =
            Session::open(&name, vmlinux.as_deref(), number, values::read).or_exception()?;
        Ok(Self { session: RefCell::new(Some(Rc::new(session))) })
    }

    /// Closes the dump. Objects that were read before keep it open for themselves.
    fn close(&self) {
        self.session.take();
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        _type: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) {
        self.close();
    }

    fn __repr__(&self) -> String {
        match self.session() {
            Ok(session) => format!("<kdump.Dump {}>", session.path),
            Err(_) => "<kdump.Dump, closed>".to_owned(),
        }
    }

    /// The name by which it was opened.
    #[getter]
    fn path(&self) -> PyResult<String> {
        Ok(self.session()?.path.clone())
    }

    /// The text of VMCOREINFO, with lines that types and symbols added.
    #[getter]
    fn vmcoreinfo(&self) -> PyResult<String> {
        Ok(String::from_utf8_lossy(self.session()?.kernel().vmcoreinfo()).into_owned())
    }

    /// The notes of the dump as an ELF file has them: registers of the CPUs, VMCOREINFO.
    #[getter]
    fn notes<'py>(&self, py: Python<'py>) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.session()?.dump().vmcore().all_notes()))
    }

    /// The kernel's release, as `uname -r` shows it; None if the dump does not have it.
    #[getter]
    fn release(&self) -> PyResult<Option<String>> {
        let text = self.vmcoreinfo()?;
        Ok(text.lines().find_map(|line| line.strip_prefix("OSRELEASE=")).map(ToOwned::to_owned))
    }

    /// Bytes of a pointer: 4 or 8.
    #[getter]
    fn word_size(&self) -> PyResult<u64> {
        Ok(self.session()?.kernel().types().word)
    }

    /// True for a 32-bit kernel.
    #[getter]
    fn is_i386(&self) -> PyResult<bool> {
        Ok(self.session()?.kernel().is_i386())
    }

    /// Sources of types: `BTF`, `DWARF`. Empty if there are none.
    #[getter]
    fn type_sources(&self) -> PyResult<Vec<&'static str>> {
        Ok(self.session()?.kernel().types().kinds().collect())
    }

    /// Number of reads that the dump itself has answered; the others came from memory.
    #[getter]
    fn reads(&self) -> PyResult<u64> {
        Ok(self.session()?.dump().reads())
    }

    /// Forgets all memory that was read: that of a running kernel changes.
    fn refresh(&self) -> PyResult<()> {
        self.session()?.dump().refresh();
        Ok(())
    }

    /// Reads bytes. Raises MemoryFault if one of them is not there.
    fn read<'py>(&self, py: Python<'py>, address: Address, length: usize) -> PyResult<Bytes<'py>> {
        let mut bytes = vec![0; checked(length)?];
        self.session()?.kernel().read(address.0, &mut bytes).or_exception()?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Reads bytes at a physical address of the dead kernel. Raises MemoryFault.
    fn read_physical<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: usize,
    ) -> PyResult<Bytes<'py>> {
        let mut bytes = vec![0; checked(length)?];
        self.session()?.read_physical(address, &mut bytes).or_exception()?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Reads an unsigned little-endian number of `size` bytes, at most 8.
    fn number(&self, address: Address, size: usize) -> PyResult<u64> {
        let usage = || exception(Error::Usage(format!("a number of {size} bytes: 1 to 8")));
        (1..=8).contains(&size).then_some(()).ok_or_else(usage)?;
        self.session()?.kernel().number(address.0, size).or_exception()
    }

    /// Reads a pointer, or an `unsigned long`.
    fn word(&self, address: Address) -> PyResult<u64> {
        self.session()?.kernel().word(address.0).or_exception()
    }

    /// Reads the text at an address up to its NUL, `most` bytes at most. Bytes that are no text
    /// are shown as \xNN.
    #[pyo3(signature = (address, most=TEXT))]
    fn text(&self, address: Address, most: usize) -> PyResult<String> {
        let text = self.session()?.kernel().text(address.0, checked(most)?).or_exception()?;
        Ok(postmortem::printable(&text))
    }

    /// Address of a symbol. Raises NoSymbol.
    fn address(&self, symbol: &str) -> PyResult<u64> {
        self.session()?.kernel().symbol(symbol).or_exception()
    }

    /// True if the kernel has this symbol.
    fn has_symbol(&self, symbol: &str) -> PyResult<bool> {
        Ok(self.session()?.kernel().has_symbol(symbol))
    }

    /// The symbol at an address with an offset, as Linux writes it; the address where there is
    /// none.
    fn symbol_at(&self, address: Address) -> PyResult<String> {
        Ok(self.session()?.kernel().symbolized(address.0))
    }

    /// All symbols of the kernel's image by address: name, address, size in bytes, and the type as
    /// nm(1) shows it. Those of modules are not among them.
    fn symbols(&self) -> PyResult<Vec<SymbolTuple>> {
        let session = self.session()?;
        let symbols = session.kernel().symbols().iter();
        Ok(symbols.map(|one| (one.name.to_owned(), one.at, one.size, one.kind)).collect())
    }

    /// The value of a global variable. Raises NoSymbol, also if the variable's type is not known.
    fn symbol(&self, py: Python<'_>, name: &str) -> PyResult<Value> {
        let session = self.session()?;
        let object = session.kernel().global(name).or_exception()?;
        session.value(py, object.type_id(), object.address())
    }

    /// The type of a global variable. Raises NoSymbol.
    fn symbol_type(&self, name: &str) -> PyResult<CType> {
        let session = self.session()?;
        let object = session.kernel().global(name).or_exception()?;
        Ok(CType::new(&session, object.type_id()))
    }

    /// The value of this type at an address; of a struct its object, of which nothing is read yet.
    fn object(&self, py: Python<'_>, r#type: TypeArgument, address: Address) -> PyResult<Value> {
        let session = self.session()?;
        let of = r#type.find(&session)?;
        session.value(py, of, address.0)
    }

    /// The type of this name. Raises NoType.
    fn r#type(&self, name: &str) -> PyResult<CType> {
        let session = self.session()?;
        let of = TypeArgument::Name(name.to_owned()).find(&session)?;
        Ok(CType::new(&session, of))
    }

    /// True if the kernel has this type.
    fn has_type(&self, name: &str) -> PyResult<bool> {
        Ok(self.session()?.kernel().types().spelled(name).is_ok())
    }

    /// True if the type has the member at this path, `sk.sk_prot`.
    fn has_member(&self, r#type: TypeArgument, path: &str) -> PyResult<bool> {
        let session = self.session()?;
        let types = session.kernel().types();
        Ok(r#type.find(&session).is_ok_and(|of| Attribute::chain(types, of, path).is_ok()))
    }

    /// Size of a type.
    fn sizeof(&self, r#type: TypeArgument) -> PyResult<u64> {
        let session = self.session()?;
        let of = r#type.find(&session)?;
        session.kernel().types().size(of).or_exception()
    }

    /// Offset of a member. Raises NoMember.
    fn offsetof(&self, r#type: TypeArgument, member: &str) -> PyResult<u64> {
        let session = self.session()?;
        let of = r#type.find(&session)?;
        Ok(session.kernel().types().field(of, member).or_exception()?.bits / 8)
    }

    /// The value of an enumerator of any enum. Raises NoType.
    fn enumerator(&self, name: &str) -> PyResult<i64> {
        self.session()?.kernel().types().enumerator(name).or_exception()
    }

    /// The enum that has this enumerator; None if the types do not say it.
    fn enumeration(&self, name: &str) -> PyResult<Option<CType>> {
        let session = self.session()?;
        let of = session.kernel().types().enumeration(name);
        Ok(of.map(|of| CType::new(&session, of)))
    }

    /// Gives the objects of a struct another attribute: the first of these chains of members that
    /// the kernel has, or the value of a function of the object. False if it has none of them.
    fn set_attribute(
        &self,
        py: Python<'_>,
        r#type: TypeArgument,
        name: &str,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let session = self.session()?;
        object::set_attribute(py, &session, r#type.find(&session)?, name, value)
    }

    /// The structs whose `member`, a list_head, is in the list of `head`.
    fn list(&self, head: Address, r#type: TypeArgument, member: &str) -> PyResult<Steps> {
        self.walk("struct list_head", head, (r#type, member), |head| Ok(Box::new(head.nodes()?)))
    }

    /// The same for an hlist_head, a llist_head, or another list that NULL ends.
    fn hlist(&self, head: Address, r#type: TypeArgument, member: &str) -> PyResult<Steps> {
        self.walk("struct hlist_head", head, (r#type, member), |head| {
            Ok(Box::new(head.hlist_nodes()?))
        })
    }

    /// The same for an hlist_nulls_head.
    fn hlist_nulls(&self, head: Address, r#type: TypeArgument, member: &str) -> PyResult<Steps> {
        self.walk("struct hlist_nulls_head", head, (r#type, member), |head| {
            Ok(Box::new(head.hlist_nulls_nodes()?))
        })
    }

    /// The structs whose `member`, an rb_node, is in the tree of `root`, in order.
    fn rbtree(&self, root: Address, r#type: TypeArgument, member: &str) -> PyResult<Steps> {
        self.walk("struct rb_root", root, (r#type, member), |root| Ok(Box::new(root.rb_nodes()?)))
    }

    /// The entries of an xarray, radix tree, IDR or maple tree: pairs of an index and a word, which
    /// is a pointer, or a number in the bits above bit 0.
    fn entries(&self, tree: &Bound<'_, PyAny>) -> PyResult<Steps> {
        let session = self.session()?;
        let object = tree.cast::<crate::object::StructResult>();
        let usage = || exception(Error::Usage("entries of a struct: an object is needed".into()));
        let object = object.map_err(|_| usage())?.borrow();
        let (of, at) = (object.of, object.at);
        Steps::entries(&session, move |kernel| {
            let entries = Object::new(kernel, of, at).entries()?;
            Ok(Box::new(entries.map(|entry| entry.map(|entry| (entry.word, entry.first)))))
        })
    }

    /// The variable of a CPU.
    fn per_cpu(&self, py: Python<'_>, name: &str, cpu: u32) -> PyResult<Value> {
        let session = self.session()?;
        let object = session.kernel().per_cpu(name, cpu).or_exception()?;
        session.value(py, object.type_id(), object.address())
    }

    /// The value of a CPU that a __percpu pointer points to.
    fn per_cpu_of(&self, py: Python<'_>, pointer: &Bound<'_, PyAny>, cpu: u32) -> PyResult<Value> {
        let session = self.session()?;
        let Address(address) = pointer.extract()?;
        let at = session.kernel().per_cpu_at(address, cpu).or_exception()?;
        match pointer.cast::<crate::object::StructResult>() {
            Ok(object) => object::object(py, &session, object.borrow().of, at),
            Err(_) => {
                let target: PyRef<'_, CType> = pointer.getattr("target")?.extract()?;
                session.value(py, target.of, at)
            }
        }
    }

    /// Numbers of the CPUs that were online.
    #[getter]
    fn online_cpus(&self) -> PyResult<Vec<u32>> {
        self.session()?.kernel().online_cpus().or_exception()
    }

    /// Numbers of the CPUs that may be there.
    #[getter]
    fn possible_cpus(&self) -> PyResult<Vec<u32>> {
        self.session()?.kernel().possible_cpus().or_exception()
    }

    /// The text of a section of crashinfo: `dump.section("kmem -i")`.
    fn section(&self, line: &str) -> PyResult<String> {
        let mut text = Vec::new();
        let answer = self.answer(line)?;
        render::text(&answer, &mut text).map_err(Error::from).or_exception()?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The answer of a section of crashinfo as data: a dict of title, warnings, missing and data.
    fn section_data(&self, py: Python<'_>, line: &str) -> PyResult<Value> {
        let answer = serde_json::to_string(&self.answer(line)?);
        let answer = answer.map_err(|error| Error::Output(error.into())).or_exception()?;
        Ok(py.import("json")?.call_method1("loads", (answer,))?.unbind())
    }
}

/// Addresses of the nodes of a container.
type Nodes<'k> = Box<dyn Iterator<Item = Result<u64, Error>> + 'k>;

/// A symbol: name, address, size, type.
type SymbolTuple = (String, u64, u64, char);

/// Bytes of Python.
type Bytes<'py> = Bound<'py, PyBytes>;

impl Dump {
    fn answer(&self, line: &str) -> PyResult<postmortem::report::Answer> {
        let session = self.session()?;
        let command = Command::parse(line).or_exception()?;
        command.answer(session.kernel(), &mut |_, _| ()).or_exception()
    }

    /// The structs that have a member at each node of a container.
    fn walk(
        &self,
        container: &'static str,
        Address(head): Address,
        (of, member): (TypeArgument, &str),
        nodes: impl for<'k> FnOnce(Object<'k>) -> Result<Nodes<'k>, Error>,
    ) -> PyResult<Steps> {
        let session = self.session()?;
        let types = session.kernel().types();
        let of = types.plain(of.find(&session)?).or_exception()?.0;
        let offset = types.field(of, member).or_exception()?.bits / 8;
        Steps::structs(&session, of, move |kernel| {
            let nodes = nodes(kernel.object(container, head)?)?;
            Ok(Box::new(nodes.map(move |node| Ok((node?.wrapping_sub(offset), 0)))))
        })
    }
}
