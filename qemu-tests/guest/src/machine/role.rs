//! Task of each CPU, besides sleeping.

use core::sync::atomic::{AtomicU32, Ordering};

/// No CPU.
const NONE: u32 = u32::MAX;
/// Every CPU.
const ALL: u32 = u32::MAX - 1;

/// Actions of a CPU from its start to the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It sleeps.
    Idle,
    /// It spins.
    Spins,
    /// It answers no NMI.
    Deaf,
    /// It crashes.
    Crashes,
}

/// Which CPUs do something else than sleep. (`crash_cpu=`, `spin=`, `deaf=`)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    crash: u32,
    spin: u32,
    deaf: u32,
}

static CRASH: AtomicU32 = AtomicU32::new(0);
static SPIN: AtomicU32 = AtomicU32::new(NONE);
static DEAF: AtomicU32 = AtomicU32::new(NONE);

impl Roles {
    /// Reads the three words from the command line, whose values `value` returns.
    pub(crate) fn parse<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Result<Self, &'static str> {
        let cpu = |key, default, problem| match value(key) {
            None => Ok(default),
            Some("all") if key == "crash_cpu" => Ok(ALL),
            Some(number) => number.parse().map_err(|_| problem),
        };
        Ok(Self {
            crash: cpu("crash_cpu", 0, "crash_cpu=N: not a number")?,
            spin: cpu("spin", NONE, "spin=N: not a number")?,
            deaf: cpu("deaf", NONE, "deaf=N: not a number")?,
        })
    }

    /// Makes these the roles, before any other CPU is started. One that is given to a CPU beyond
    /// `cpus` would never be played.
    pub(crate) fn assign(self, cpus: u32) -> Result<(), &'static str> {
        for (cpu, role) in [(self.crash, &CRASH), (self.spin, &SPIN), (self.deaf, &DEAF)] {
            if cpu < ALL && cpu >= cpus {
                return Err("crash_cpu=N, spin=N, deaf=N: there is no such CPU");
            }
            role.store(cpu, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The task of `cpu`.
pub(crate) fn of(cpu: u32) -> Role {
    let is = |role: &AtomicU32| role.load(Ordering::Relaxed) == cpu;
    match cpu {
        _ if is(&DEAF) => Role::Deaf,
        _ if is(&SPIN) => Role::Spins,
        _ if is(&CRASH) || CRASH.load(Ordering::Relaxed) == ALL => Role::Crashes,
        _ => Role::Idle,
    }
}
