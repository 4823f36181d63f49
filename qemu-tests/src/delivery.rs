//! The way of the dump out of the guest: its targets, and the fate of the collectors.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::controller::Controller;
use crate::host::machine_type::{MachineType, option_path};
use crate::line::Rates;

/// The name of the guest's virtio-console port.
pub const PORT_NAME: &str = "kdump";
/// Speed that the serial ports are set to, in bits per second. QEMU does not keep to it.
const BAUD: u32 = 115_200;

/// One way out of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A dump disk on such a controller.
    Disk(Controller),
    /// A partition of a virtio-blk disk, between two others.
    Partition,
    /// A port of a virtio console, which is a socket on the host.
    VirtioConsole,
    /// COM1, which is the console of both kernels as well.
    Serial,
    /// COM2, which has no other use. Machines of the kind `pc` have one.
    SecondSerial,
}

impl Way {
    /// Those that are no whole disks, by the words of the command line.
    const OTHERS: [(&str, Self); 4] = [
        ("partition", Self::Partition),
        ("virtio-console", Self::VirtioConsole),
        ("serial", Self::Serial),
        ("serial2", Self::SecondSerial),
    ];

    /// All of them, by the words of the command line. `disk` is another word for the first.
    fn names() -> impl Iterator<Item = (&'static str, Self)> {
        let disks = Controller::ALL.map(|controller| (controller.name(), Self::Disk(controller)));
        let usual = ("disk", Self::Disk(Controller::default()));
        disks.into_iter().chain([usual]).chain(Self::OTHERS)
    }

    /// Its word on the command line.
    pub fn name(self) -> &'static str {
        Self::names().find(|(_, way)| *way == self).map_or("", |(name, _)| name)
    }

    /// The controller of its dump disk, if it is one.
    pub fn disk(self) -> Option<Controller> {
        match self {
            Self::Disk(controller) => Some(controller),
            Self::Partition => Some(Controller::default()),
            _ => None,
        }
    }

    /// True if a collector takes the dump from it.
    pub fn is_line(self) -> bool {
        self.disk().is_none()
    }

    /// Returns its part of `kdump.target=`; `disk` is the dump disk's.
    fn target(self, disk: &str) -> String {
        match self {
            Self::Disk(_) | Self::Partition => disk.to_string(),
            Self::VirtioConsole => format!("virtio-console:name={PORT_NAME}"),
            Self::Serial => format!("serial:port=0,baud={BAUD}"),
            Self::SecondSerial => format!("serial:port=1,baud={BAUD}"),
        }
    }
}

impl FromStr for Way {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::names().find(|(name, _)| *name == text);
        let names = || Self::names().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        found.map(|(_, way)| way).with_context(|| format!("`{text}` is none of {}", names()))
    }
}

/// The targets, in their order. Each is there once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    ways: Vec<Way>,
    /// Every one gets the dump, and not only the first that works.
    all: bool,
}

impl Default for Targets {
    fn default() -> Self {
        Way::Disk(Controller::default()).into()
    }
}

impl Targets {
    /// The ways, in their order.
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// True if this way is one of them.
    pub fn has(&self, way: Way) -> bool {
        self.ways.contains(&way)
    }

    /// The controller of the dump disk, if one is among them.
    pub fn disk(&self) -> Option<Controller> {
        self.ways.iter().find_map(|way| way.disk())
    }

    /// True if every target must get the dump, and not only the first that works.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// The value of `kdump.target=`; `disk` is the dump disk's part of it.
    pub fn words(&self, disk: &str) -> String {
        let words: Vec<_> = self.ways.iter().map(|way| way.target(disk)).collect();
        words.join(self.separator())
    }

    fn separator(&self) -> &'static str {
        if self.all { "+" } else { "," }
    }
}

impl From<Way> for Targets {
    fn from(way: Way) -> Self {
        Self { ways: vec![way], all: true }
    }
}

impl FromStr for Targets {
    type Err = anyhow::Error;

    /// `virtio-blk`, `virtio-console+serial` for both, `virtio-console,serial` for the first that
    /// works.
    fn from_str(text: &str) -> Result<Self> {
        let all = !text.contains(',');
        let is_mixed = !all && text.contains('+');
        ensure!(!is_mixed, "either `+` (every one) or `,` (the first that works), not both");
        let mut ways = Vec::new();
        for word in text.split(['+', ',']) {
            let way: Way = word.parse()?;
            ensure!(!ways.contains(&way), "`{word}` is there twice");
            ways.push(way);
        }
        let disks = ways.iter().filter(|way| !way.is_line()).count();
        ensure!(disks < 2, "the machine has one dump disk, and `{text}` names {disks}");
        Ok(Self { ways, all })
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.ways.iter().map(|way| way.name()).collect();
        f.write_str(&names.join(self.separator()))
    }
}

/// The fate of the collectors. None of them is there before the panic. Bytes are those that came
/// from the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// They are there, and stay.
    #[default]
    Stays,
    /// Nobody ever comes.
    Absent,
    /// They come this long after the capture kernel has turned to its targets.
    Late(Duration),
    /// They are killed after this many bytes, as soon as a map names some of the bytes received: on
    /// a serial line some of the vmcore, else any view.
    Killed {
        /// Number of bytes that they get.
        after: u64,
        /// Time until they are started again, if they are.
        back: Option<Duration>,
    },
    /// They do nothing for a time, after so many bytes.
    Stalls {
        /// Number of bytes that they get before.
        after: u64,
        /// For how long.
        pause: Duration,
    },
    /// The endpoint speaks another version of the protocol.
    OtherVersion,
    /// They stay, but the guest is gone after so many bytes, as when its power is cut: they get
    /// none after these.
    PowerCut {
        /// Number of bytes that they get.
        after: u64,
    },
}

/// A part of a view, to be pulled with `kdump-collector read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The view.
    pub view: &'static str,
    /// Its start: a physical address in oldmem, else an offset.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The way of the dump out of the guest.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Over which targets.
    pub targets: Targets,
    /// The collector program; lines need it.
    pub collector: PathBuf,
    /// Fate of the collectors.
    pub fate: Fate,
    /// A line that is among the targets, and that the machine does not have.
    pub missing: Option<Way>,
    /// Damage by the serial lines to their bytes, once the collector is there.
    pub noise: Option<Noise>,
    /// Parts to pull over the first link, instead of receiving a dump. The cycle ends with the
    /// last.
    pub pulls: Vec<Pull>,
    /// The program crashinfo, which reads over the same link after the last of the pulls.
    pub crashinfo: Option<PathBuf>,
}

/// Damage by a bad line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    /// Its rates.
    pub rates: Rates,
    /// To which bytes: the same ones with the same seed.
    pub seed: u64,
}

impl Delivery {
    /// True if this way is among the targets, and its device in the machine.
    pub fn has_device(&self, way: Way) -> bool {
        self.targets.has(way) && self.missing != Some(way)
    }

    /// QEMU's words for the devices of the lines; their sockets are in the folder `sockets`.
    pub fn devices(&self, machine: MachineType, sockets: &Path) -> Vec<String> {
        let socket = |name: &str| {
            let path = option_path(&sockets.join(name));
            format!("socket,id={name},path={path},server=on,wait=off")
        };
        let mut words = Vec::new();
        if self.has_device(Way::VirtioConsole) {
            let name = Way::VirtioConsole.name();
            let port = format!("virtserialport,chardev={name},name={PORT_NAME}");
            let device = machine.console_device();
            words.extend(
                ["-chardev", &socket(name), "-device", device, "-device", &port].map(String::from),
            );
        }
        if self.has_device(Way::SecondSerial) {
            let name = Way::SecondSerial.name();
            let port = format!("chardev:{name}");
            words.extend(["-chardev", &socket(name), "-serial", &port].map(String::from));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_targets() {
        let all: Targets = "virtio-blk+virtio-console+serial".parse().unwrap();
        assert!(all.is_all() && all.has(Way::Serial) && !all.has(Way::SecondSerial));
        assert_eq!(
            all.words("disk:id=00"),
            "disk:id=00+virtio-console:name=kdump+serial:port=0,baud=115200"
        );
        let first: Targets = "serial2,virtio-blk".parse().unwrap();
        assert!(!first.is_all());
        let disk = Controller::VirtioBlk;
        assert_eq!(first.ways(), [Way::SecondSerial, Way::Disk(disk)]);
        assert_eq!((first.disk(), "serial".parse::<Targets>().unwrap().disk()), (Some(disk), None));
        assert_eq!(first.words("DISK"), "serial:port=1,baud=115200,DISK");
        assert_eq!(first.to_string(), "serial2,virtio-blk");
        for word in ["virtio-blk", "disk"] {
            assert_eq!(word.parse::<Targets>().unwrap(), Targets::default());
        }
    }

    #[test]
    fn what_is_no_list_of_targets() {
        let mixed = "serial+virtio-blk,serial2";
        for bad in [
            "",
            "floppy",
            "serial+serial",
            "serial,",
            "a+b,c",
            mixed,
            "nvme,ahci",
            "disk+partition",
        ] {
            assert!(bad.parse::<Targets>().is_err(), "{bad}");
        }
    }
}
