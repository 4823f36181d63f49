//! Wheels of ticks.

use collector::Hex;
use serde::Serialize;

use super::sleeper::{MOST, Sleeper, sleeper};
use crate::{Error, Kernel, Object};

/// Most wheels of a CPU: three since 6.9.
const MOST_WHEELS: u64 = 3;
/// The function of a task that sleeps for some ticks.
const SLEEP: &str = "process_timeout";
/// The function of work that begins later.
const WORK: &str = "delayed_work_timer_fn";

/// A wheel of ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Wheel {
    /// Its number.
    pub index: u64,
    /// Address of its `timer_base`.
    pub address: Hex,
    /// The tick that it has come to.
    pub clock: u64,
    /// The tick of its next timer, as the kernel knows it.
    pub next_expiry: Option<u64>,
    /// Its timers, the next one first.
    pub timers: Vec<WheelTimer>,
}

/// A timer of a wheel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WheelTimer {
    /// Address of its `timer_list`.
    pub address: Hex,
    /// The tick at which it ends.
    pub expires: u64,
    /// Ticks from now on; negative if it is late.
    pub in_ticks: i64,
    /// Address of its function.
    pub function: Hex,
    /// Name of its function.
    pub name: String,
    /// Name of the function of the work that begins then.
    pub work: Option<String>,
    /// The task that sleeps until then.
    pub sleeper: Option<Sleeper>,
}

/// The wheels of a CPU.
///
/// # Errors
/// There are none, or a wheel cannot be read.
pub(super) fn read(kernel: &Kernel<'_>, cpu: u32, now: u64) -> Result<Vec<Wheel>, Error> {
    let bases = kernel.per_cpu("timer_bases", cpu)?;
    (0..count(kernel, &bases)?).map(|index| wheel(index, &bases.index(index)?, now)).collect()
}

/// Number of wheels: of the array, or what there is room for before the next symbol.
fn count(kernel: &Kernel<'_>, bases: &Object<'_>) -> Result<u64, Error> {
    let known = bases.length()?;
    if known > 0 {
        return Ok(known.min(MOST_WHEELS));
    }
    let symbol = kernel.symbols().find(kernel.symbol("timer_bases")?);
    let room = symbol.map_or(0, |symbol| symbol.size) / bases.index(0)?.size()?.max(1);
    Ok(room.clamp(1, MOST_WHEELS))
}

fn wheel(index: u64, base: &Object<'_>, now: u64) -> Result<Wheel, Error> {
    let mut wheel = Wheel {
        index,
        address: Hex(base.address()),
        clock: base.field("clk")?.number()?,
        next_expiry: base.field("next_expiry").and_then(|tick| tick.number()).ok(),
        timers: Vec::new(),
    };
    let lists = base.field("vectors")?;
    for list in 0..lists.length()? {
        for timer in lists.index(list)?.hlist("struct timer_list", "entry")? {
            if wheel.timers.len() < MOST {
                wheel.timers.push(read_timer(&timer?, now)?);
            }
        }
    }
    wheel.timers.sort_by_key(|timer| timer.in_ticks);
    Ok(wheel)
}

fn read_timer(timer: &Object<'_>, now: u64) -> Result<WheelTimer, Error> {
    let kernel = timer.kernel();
    let expires = timer.field("expires")?.number()?;
    let function = timer.field("function")?.number()?;
    let name = kernel.symbolized(function);
    let distance = expires.wrapping_sub(now);
    let in_ticks = if kernel.is_i386() { (distance as i32).into() } else { distance as i64 };
    let sleeper =
        (name == SLEEP).then(|| sleeper(timer, "struct process_timer", "timer")).flatten();
    let work = || timer.container_of("struct delayed_work", "timer")?.field("work.func")?.number();
    let work = work().ok().filter(|_| name == WORK).map(|work| kernel.symbolized(work));
    let (address, function) = (Hex(timer.address()), Hex(function));
    Ok(WheelTimer { address, expires, in_ticks, function, name, work, sleeper })
}
