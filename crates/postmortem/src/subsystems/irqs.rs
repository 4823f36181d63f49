//! Interrupts (Linux, `kernel/irq/`, `arch/x86/kernel/irq.c`): the numbers of `/proc/interrupts`.

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use crate::report::{Severity, Warning};
use crate::{Error, Kernel, Object};

/// Most handlers of an interrupt.
const MOST_ACTIONS: usize = 1024;
/// Most kinds of softirqs.
const MOST_SOFTIRQS: u64 = 64;
/// Counters of the architecture: name; member of `irq_cpustat_t` or per-CPU variable; from 7.1 on
/// the enumerator after `IRQ_COUNT_` of an array; meaning.
const COUNTERS: [(&str, &str, &str, &str); 22] = [
    ("NMI", "__nmi_count", "NMI", "Non-maskable interrupts"),
    ("LOC", "apic_timer_irqs", "APIC_TIMER", "Local timer interrupts"),
    ("SPU", "irq_spurious_count", "SPURIOUS", "Spurious interrupts"),
    ("PMI", "apic_perf_irqs", "APIC_PERF", "Performance monitoring interrupts"),
    ("IWI", "apic_irq_work_irqs", "IRQ_WORK", "IRQ work interrupts"),
    ("RTR", "icr_read_retry_count", "ICR_READ_RETRY", "APIC ICR read retries"),
    ("PLT", "x86_platform_ipis", "X86_PLATFORM_IPI", "Platform interrupts"),
    ("RES", "irq_resched_count", "RESCHEDULE", "Rescheduling interrupts"),
    ("CAL", "irq_call_count", "CALL_FUNCTION", "Function call interrupts"),
    ("TLB", "irq_tlb_count", "TLB", "TLB shootdowns"),
    ("TRM", "irq_thermal_count", "THERMAL_APIC", "Thermal event interrupts"),
    ("THR", "irq_threshold_count", "THRESHOLD_APIC", "Threshold APIC interrupts"),
    ("DFR", "irq_deferred_error_count", "DEFERRED_ERROR", "Deferred Error APIC interrupts"),
    ("MCE", "mce_exception_count", "MCE_EXCEPTION", "Machine check exceptions"),
    ("MCP", "mce_poll_count", "MCE_POLL", "Machine check polls"),
    ("HYP", "irq_hv_callback_count", "HYPERVISOR_CALLBACK", "Hypervisor callback interrupts"),
    (
        "HRE",
        "irq_hv_reenlightenment_count",
        "HYPERV_REENLIGHTENMENT",
        "Hyper-V reenlightenment interrupts",
    ),
    ("HVS", "hyperv_stimer0_count", "HYPERV_STIMER0", "Hyper-V stimer0 interrupts"),
    ("PIN", "kvm_posted_intr_ipis", "POSTED_INTR", "Posted-interrupt notification event"),
    ("NPI", "kvm_posted_intr_nested_ipis", "POSTED_INTR_NESTED", "Nested posted-interrupt event"),
    ("PIW", "kvm_posted_intr_wakeup_ipis", "POSTED_INTR_WAKEUP", "Posted-interrupt wakeup event"),
    ("VPMI", "perf_guest_mediated_pmis", "PERF_GUEST_MEDIATED_PMI", "Perf Guest Mediated PMI"),
];

/// All interrupts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Interrupts {
    /// The CPUs of the counts.
    pub cpus: Vec<u32>,
    /// By number: those that have a handler, or came once.
    pub irqs: Vec<Irq>,
    /// Counters of the architecture.
    pub counters: Vec<Counter>,
    /// Softirqs, by number.
    pub softirqs: Vec<Counter>,
    /// Errors of the interrupt controller (`ERR`).
    pub errors: Option<u64>,
    /// Interrupts that came as another kind than they were set up for (`MIS`).
    pub mismatched: Option<u64>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// An interrupt of a device.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Irq {
    /// Its number.
    pub number: u64,
    /// Address of its `struct irq_desc`.
    pub desc: Hex,
    /// Name of the controller: `IO-APIC`. [`None`] if it has none.
    pub chip: Option<String>,
    /// Number at the controller.
    pub hardware: Option<u64>,
    /// `edge` or `fasteoi`.
    pub trigger: String,
    /// Names of the handlers.
    pub handlers: Vec<String>,
    /// Number of interrupts, by CPU.
    pub counts: Vec<u64>,
    /// Number of times that it was disabled and not enabled again.
    pub disabled: u64,
    /// True if the kernel disabled it because no handler took it (`nobody cared`).
    pub is_spurious: bool,
}

/// A counter.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counter {
    /// Its name: `LOC`, `TIMER`.
    pub name: String,
    /// Its meaning.
    pub text: &'static str,
    /// Counts, by CPU.
    pub counts: Vec<u64>,
}

/// Reads the interrupts of the CPUs that are online.
///
/// # Errors
/// The reason why the CPUs are not known.
pub fn read(kernel: &Kernel<'_>) -> Result<Interrupts, Error> {
    let cpus = kernel.online_cpus()?;
    let mut holes = Holes::default();
    let name = if kernel.has_symbol("sparse_irqs") { "sparse_irqs" } else { "irq_desc_tree" };
    let tree = kernel.global(name).and_then(|tree| tree.indexed("struct irq_desc"));
    let mut irqs = Vec::new();
    for found in holes.take("interrupts", tree).into_iter().flatten() {
        let Some((number, desc)) = holes.take("interrupt", found) else { continue };
        let irq = holes.take("interrupt", irq(number, &desc, &cpus));
        let is_shown = |irq: &Irq| !irq.handlers.is_empty() || irq.counts.iter().any(|n| *n > 0);
        irqs.extend(irq.filter(is_shown));
    }
    let counters = COUNTERS.iter().filter_map(|row| counter(kernel, row, &cpus, &mut holes));
    let counters = counters.collect();
    let softirqs = holes.take("softirqs", softirqs(kernel, &cpus)).unwrap_or_default();
    let number = |name, enumerator| {
        let one = kernel.global(name).and_then(|count| count.number());
        let each = || Some(counts(kernel, name, enumerator, &cpus).ok()?.iter().sum());
        one.ok().or_else(each)
    };
    let errors = number("irq_err_count", "PIC_APIC_ERROR");
    let mismatched = number("irq_mis_count", "IOAPIC_MISROUTED");
    let missing = holes.into_list();
    Ok(Interrupts { cpus, irqs, counters, softirqs, errors, mismatched, missing })
}

fn irq(number: u64, desc: &Object<'_>, cpus: &[u32]) -> Result<Irq, Error> {
    let kernel = desc.kernel();
    let per_cpu = desc.field("kstat_irqs")?;
    let mut counts = Vec::new();
    if per_cpu.number()? != 0 {
        let count = |cpu: &u32| kernel.per_cpu_of(per_cpu, *cpu)?.number();
        counts = cpus.iter().map(count).collect::<Result<_, _>>()?;
    }
    let (mut handlers, mut next) = (Vec::new(), desc.field("action")?);
    while let Some(action) = next.deref_or_null()? {
        if handlers.len() >= MOST_ACTIONS {
            return Err(Error::Damaged {
                what: "list of handlers",
                at: action.address(),
                why: "too long",
            });
        }
        let name = action.field("name")?;
        handlers.push(if name.number()? == 0 { String::new() } else { name.text()? });
        next = action.field("next")?;
    }
    let chip = desc.field("irq_data.chip")?.deref_or_null()?;
    let chip = chip.map(|chip| chip.field("name")?.text()).transpose();
    let has_domain = desc.field("irq_data.domain")?.number()? != 0;
    let hardware = has_domain.then(|| desc.field("irq_data.hwirq")?.number()).transpose()?;
    let state = desc.field("core_internal_state__do_not_mess_with_it")?.number()?;
    let spurious = kernel.types().enumerator("IRQS_SPURIOUS_DISABLED").unwrap_or(0) as u64;
    let name = desc.field("name")?;
    Ok(Irq {
        number,
        desc: Hex(desc.address()),
        chip: chip.unwrap_or(Some("?".to_owned())),
        hardware,
        trigger: if name.number()? == 0 { String::new() } else { name.text()? },
        handlers,
        counts,
        disabled: desc.field("depth")?.number()?,
        is_spurious: state & spurious != 0,
    })
}

/// A counter of the architecture. [`None`] if this kernel does not have it.
fn counter(
    kernel: &Kernel<'_>,
    (name, place, enumerator, text): &(&str, &str, &str, &'static str),
    cpus: &[u32],
    holes: &mut Holes,
) -> Option<Counter> {
    let counts = match counts(kernel, place, enumerator, cpus) {
        Err(Error::NoMember { .. } | Error::NoType(_)) => None,
        counts => holes.take(name, counts),
    };
    Some(Counter { name: (*name).to_owned(), text, counts: counts? })
}

/// Counts by CPU.
fn counts(
    kernel: &Kernel<'_>,
    place: &str,
    enumerator: &str,
    cpus: &[u32],
) -> Result<Vec<u64>, Error> {
    let is_variable = kernel.has_symbol(place);
    let count = |cpu: &u32| {
        if is_variable {
            return kernel.per_cpu(place, *cpu)?.number();
        }
        let all = kernel.per_cpu("irq_stat", *cpu)?;
        if all.has("counts") {
            let place = kernel.types().enumerator(&format!("IRQ_COUNT_{enumerator}"))?;
            return all.field("counts")?.index(place as u64)?.number();
        }
        all.field(place)?.number()
    };
    cpus.iter().map(count).collect()
}

fn softirqs(kernel: &Kernel<'_>, cpus: &[u32]) -> Result<Vec<Counter>, Error> {
    let names = kernel.global("softirq_to_name")?;
    let kinds = kernel.per_cpu("kstat", 0)?.field("softirqs")?.length()?.min(MOST_SOFTIRQS);
    let softirq = |kind: u64| {
        let count =
            |cpu: &u32| kernel.per_cpu("kstat", *cpu)?.field("softirqs")?.index(kind)?.number();
        let counts = cpus.iter().map(count).collect::<Result<_, _>>()?;
        Ok(Counter { name: names.index(kind)?.text()?, text: "", counts })
    };
    (0..kinds).map(softirq).collect()
}

/// Warnings about interrupts that the kernel gave up.
pub fn warnings(interrupts: &Interrupts) -> Vec<Warning> {
    let given_up = interrupts.irqs.iter().filter(|irq| irq.is_spurious);
    let text = |irq: &Irq| {
        let names = irq.handlers.join(", ");
        format!("interrupt {} ({names}) is disabled: no handler took it", irq.number)
    };
    let warning = |irq| Warning { severity: Severity::Warning, text: text(irq), section: "irq" };
    given_up.map(warning).collect()
}
