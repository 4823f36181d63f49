//! The value of `kdump.target=`.

use core::fmt;

use crate::number::{split_once, whole_number};

pub(crate) const ANY: &str =
    "disk:id=32 hex digits, virtio-console:name=PORT, serial:port=N,baud=N or none";
const DISK: &str = "disk:id=32 hex digits";
const CONSOLE: &str = "virtio-console:name= and 1 to 64 printable characters but , + and \"";
const SERIAL: &str = "serial:port=0 to 3 (COM1 to COM4) or an I/O port from 0x100 on,baud=50 to \
                      115200 that divides 115200";

/// Longest name of a console port, in bytes.
const LONGEST_NAME: usize = 64;

/// One target of `kdump.target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSpec<'a> {
    /// `disk:id=HEX32`: the disk or partition whose dump-disk header carries this id. Its other
    /// name is `virtio-blk:id=HEX32`.
    Disk {
        /// The id.
        id: [u8; 16],
    },
    /// `virtio-console:name=STR`: the port of a virtio console that has this name.
    VirtioConsole {
        /// 1 to 64 printable ASCII characters without white space, `,`, `+` and `"`.
        name: &'a str,
    },
    /// `serial:port=N,baud=N`: a 16550.
    Serial(SerialPort),
    /// `none`: nothing goes out by itself; read requests on the console's line are served.
    None,
}

/// A 16550 and its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialPort {
    /// Its first I/O port; there are seven more.
    pub port: u16,
    /// Bits per second, a divisor of [`SerialPort::FASTEST`].
    pub baud: u32,
}

impl SerialPort {
    /// I/O ports of COM1 to COM4, as every PC has them.
    pub const COM: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
    /// Highest speed of a 16550 with a PC's clock, in bits per second. Every speed divides it.
    pub const FASTEST: u32 = 115_200;
    /// Lowest speed: the divisor has 16 bits, and nothing is slower than a teletype.
    const SLOWEST: u32 = 50;
    /// Below are the timers and controllers of the board itself.
    const LOWEST: u16 = 0x100;
    /// The last that has room for seven more.
    const HIGHEST: u16 = 0xfff8;
}

impl Default for SerialPort {
    /// COM1 at full speed.
    fn default() -> Self {
        Self { port: Self::COM[0], baud: Self::FASTEST }
    }
}

/// A target and how it follows the one before it in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetEntry<'a> {
    /// The target.
    pub target: TargetSpec<'a>,
    /// A `+` stands before it, not a comma: it is served whatever became of the one before it.
    pub also: bool,
}

impl fmt::Display for TargetSpec<'_> {
    /// As on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { id } => {
                f.write_str("disk:id=")?;
                id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::VirtioConsole { name } => write!(f, "virtio-console:name={name}"),
            Self::Serial(SerialPort { port, baud }) => {
                match SerialPort::COM.iter().position(|com| com == port) {
                    Some(number) => write!(f, "serial:port={number},baud={baud}"),
                    None => write!(f, "serial:port={port:#x},baud={baud}"),
                }
            }
            Self::None => f.write_str("none"),
        }
    }
}

/// The items of a list, each with true if a `+` precedes it. A comma separates items as well as the
/// arguments of one: an argument alone belongs to the item before it.
pub(crate) fn items(list: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let mut rest = Some(list);
    let mut also = false;
    core::iter::from_fn(move || {
        let list = rest?;
        let end = item_end(list);
        let item = (also, &list[..end]);
        also = list.get(end) == Some(&b'+');
        rest = list.get(end + 1..);
        Some(item)
    })
}

/// End of the first item of `list`.
fn item_end(list: &[u8]) -> usize {
    let mut end = part_end(list);
    while list.get(end) == Some(&b',') {
        let part = &list[end + 1..];
        let length = part_end(part);
        if !is_argument(&part[..length]) {
            break;
        }
        end += 1 + length;
    }
    end
}

fn part_end(list: &[u8]) -> usize {
    list.iter().position(|byte| matches!(byte, b',' | b'+')).unwrap_or(list.len())
}

/// `KEY=VALUE`, and not `KIND:KEY=VALUE`.
fn is_argument(part: &[u8]) -> bool {
    part.contains(&b'=') && !split_once(part, b'=').0.contains(&b':')
}

/// One item, or the right syntax.
pub(crate) fn parse(item: &[u8]) -> Result<TargetSpec<'_>, &'static str> {
    let (kind, arguments) = split_once(item, b':');
    match kind {
        b"none" if kind == item => Ok(TargetSpec::None),
        b"serial" => {
            let arguments = (kind != item).then_some(arguments);
            parse_serial(arguments).map(TargetSpec::Serial).ok_or(SERIAL)
        }
        b"disk" | b"virtio-blk" => {
            parse_id(arguments).map(|id| TargetSpec::Disk { id }).ok_or(DISK)
        }
        b"virtio-console" => {
            parse_name(arguments).map(|name| TargetSpec::VirtioConsole { name }).ok_or(CONSOLE)
        }
        _ => Err(ANY),
    }
}

/// `id=` and exactly 32 hexadecimal digits.
fn parse_id(arguments: &[u8]) -> Option<[u8; 16]> {
    let (pairs, rest) = arguments.strip_prefix(b"id=")?.as_chunks::<2>();
    let mut id = [0; 16];
    if pairs.len() != id.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in id.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(id)
}

fn parse_name(arguments: &[u8]) -> Option<&str> {
    let name = arguments.strip_prefix(b"name=")?;
    let fits = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'+' | b'"');
    let right = (1..=LONGEST_NAME).contains(&name.len()) && name.iter().all(fits);
    core::str::from_utf8(name).ok().filter(|_| right)
}

/// `port=` and `baud=`, each once at most, in any order; nothing at all is [`None`].
fn parse_serial(arguments: Option<&[u8]>) -> Option<SerialPort> {
    let (mut port, mut baud) = (None, None);
    for argument in arguments.into_iter().flat_map(|list| list.split(|byte| *byte == b',')) {
        let (key, value) = split_once(argument, b'=');
        let before = match key {
            b"port" => port.replace(parse_port(value)?).map(u32::from),
            b"baud" => baud.replace(parse_baud(value)?),
            _ => return None,
        };
        if before.is_some() {
            return None;
        }
    }
    let default = SerialPort::default();
    Some(SerialPort { port: port.unwrap_or(default.port), baud: baud.unwrap_or(default.baud) })
}

fn parse_port(value: &[u8]) -> Option<u16> {
    let number = usize::try_from(whole_number(value)?).ok()?;
    let port = SerialPort::COM.get(number).copied().or_else(|| u16::try_from(number).ok())?;
    (SerialPort::LOWEST..=SerialPort::HIGHEST).contains(&port).then_some(port)
}

fn parse_baud(value: &[u8]) -> Option<u32> {
    let baud = u32::try_from(whole_number(value)?).ok()?;
    let right = (SerialPort::SLOWEST..=SerialPort::FASTEST).contains(&baud)
        && SerialPort::FASTEST.is_multiple_of(baud);
    right.then_some(baud)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Problem};
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use alloc::{borrow::ToOwned, format, vec};
    use proptest::prelude::*;

    /// The entries of a list, as they are written, and its fault.
    fn parse_list(list: &str) -> (Vec<(bool, String)>, Vec<String>) {
        let line = format!("kdump.target={list}");
        let mut problems = Vec::new();
        let complain = &mut |problem: Problem<'_>| problems.push(problem.to_string());
        let options = Options::parse(line.as_bytes(), complain);
        let targets = options.targets.iter();
        (targets.map(|entry| (entry.also, entry.target.to_string())).collect(), problems)
    }

    fn entries(list: &str) -> Vec<(bool, String)> {
        let (entries, problems) = parse_list(list);
        assert_eq!(problems, [""; 0], "{list}");
        entries
    }

    fn serial(list: &str) -> SerialPort {
        match parse(list.as_bytes()) {
            Ok(TargetSpec::Serial(serial)) => serial,
            other => panic!("{list}: {other:?}"),
        }
    }

    const A_DISK: &str = "disk:id=00112233445566778899aabbccddeeff";

    #[test]
    fn a_comma_separates_targets_and_the_arguments_of_one() {
        let list = format!("{A_DISK},serial:port=1,baud=9600,virtio-console:name=kdump,none");
        let expected = [
            (false, A_DISK.to_owned()),
            (false, "serial:port=1,baud=9600".to_owned()),
            (false, "virtio-console:name=kdump".to_owned()),
            (false, "none".to_owned()),
        ];
        assert_eq!(entries(&list), expected);
    }

    #[test]
    fn a_disk_has_two_names() {
        let id = A_DISK.strip_prefix("disk:").expect("a disk");
        assert_eq!(entries(&format!("virtio-blk:{id}")), [(false, A_DISK.to_owned())]);
    }

    #[test]
    fn a_plus_serves_the_next_as_well() {
        let list = "serial:baud=19200,port=0x3e8+virtio-console:name=a=b:c,none+serial";
        let expected = [
            (false, "serial:port=2,baud=19200".to_owned()),
            (true, "virtio-console:name=a=b:c".to_owned()),
            (false, "none".to_owned()),
            (true, "serial:port=0,baud=115200".to_owned()),
        ];
        assert_eq!(entries(list), expected);
    }

    #[test]
    fn serial_ports_and_speeds() {
        assert_eq!(serial("serial"), SerialPort { port: 0x3f8, baud: 115_200 });
        assert_eq!(serial("serial:port=3"), SerialPort { port: 0x2e8, baud: 115_200 });
        assert_eq!(serial("serial:baud=50"), SerialPort { port: 0x3f8, baud: 50 });
        assert_eq!(serial("serial:port=0x100,baud=300").port, 0x100);
        assert_eq!(serial("serial:port=65528").port, 0xfff8);
        let board = parse_list("serial:port=0xc000").0;
        assert_eq!(board, [(false, "serial:port=0xc000,baud=115200".to_owned())]);
    }

    #[test]
    fn what_is_no_target_is_said_and_the_rest_stands() {
        let (entries, problems) = parse_list("tape:drive=1,speed=3,none");
        assert_eq!(entries, [(false, "none".to_owned())]);
        let whole =
            format!("kdump.target=tape:drive=1,speed=3: not understood, ignored; right is {ANY}");
        assert_eq!(problems, [whole]);
        let long = format!("virtio-console:name={}", "x".repeat(65));
        let bad = [
            ("", ANY),
            ("None", ANY),
            ("none:", ANY),
            ("port=1", ANY),
            ("disk", DISK),
            ("virtio-blk", DISK),
            ("disk:id=00112233445566778899aabbccddeef", DISK),
            ("virtio-blk:id=00112233445566778899aabbccddeef", DISK),
            ("virtio-blk:id=00112233445566778899aabbccddeeff0", DISK),
            ("virtio-blk:id=00112233445566778899aabbccddeeg0", DISK),
            ("virtio-blk:id=00112233445566778899aabbccddeeff,x=1", DISK),
            ("virtio-console", CONSOLE),
            ("virtio-console:name=", CONSOLE),
            ("virtio-console:name=a,b=c", CONSOLE),
            ("virtio-console:name=\u{e4}", CONSOLE),
            (&long, CONSOLE),
            ("serial:", SERIAL),
            ("serial:port=4", SERIAL),
            ("serial:port=0xff", SERIAL),
            ("serial:port=0xfff9", SERIAL),
            ("serial:port=0x103f8", SERIAL),
            ("serial:port=0,port=1", SERIAL),
            ("serial:baud=0", SERIAL),
            ("serial:baud=45", SERIAL),
            ("serial:baud=230400", SERIAL),
            ("serial:baud=10000", SERIAL),
            ("serial:speed=9600", SERIAL),
        ];
        for (item, right) in bad {
            let (entries, problems) = parse_list(item);
            assert!(entries.is_empty(), "{item}: {entries:?}");
            assert_eq!(problems.len(), 1, "{item}: {problems:?}");
            assert!(problems[0].ends_with(&format!("right is {right}")), "{}", problems[0]);
        }
    }

    #[test]
    fn empty_items_are_said_each() {
        for (list, count) in [("none,", 1), ("+none", 1), ("none,+none", 1), (",", 2)] {
            assert_eq!(parse_list(list).1.len(), count, "{list}");
        }
    }

    fn any_target() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("none".to_owned()),
            any::<u128>().prop_map(|id| format!("disk:id={id:032x}")),
            "[!#-*\\--~]{1,64}".prop_map(|name| format!("virtio-console:name={name}")),
            (0..4_u16, prop::sample::select(vec![50, 75, 300, 9600, 57_600, 115_200]))
                .prop_map(|(port, baud)| format!("serial:port={port},baud={baud}")),
            (0x400..=0xfff8_u16).prop_map(|port| format!("serial:port={port:#x},baud=1200")),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(list in prop::collection::vec((any::<bool>(), any_target()), 1..=4)) {
            let text: String = list.iter().map(|(also, target)| {
                format!("{}{target}", if *also { '+' } else { ',' })
            }).collect();
            let mut expected = list;
            expected[0].0 = false;
            prop_assert_eq!(entries(&text[1..]), expected);
        }

        #[test]
        fn items_are_the_whole_list(list in "[a-c:=,+]{0,30}") {
            let joined: String = items(list.as_bytes()).enumerate().map(|(index, (also, item))| {
                let mark = match (index, also) { (0, _) => "", (_, true) => "+", (_, false) => "," };
                format!("{mark}{}", String::from_utf8_lossy(item))
            }).collect();
            prop_assert_eq!(joined, list);
        }
    }
}
