//! A machine's disks for people.

use crate::judge::{NO_DISKS, judge};
use crate::machine::Machine;

/// A line for each disk that says whether it is offered, and the reasons against it below.
pub fn table(machine: &Machine) -> String {
    let mut lines = Vec::new();
    for disk in &machine.disks {
        let refusals = judge(machine, disk).refusals;
        let verdict = if refusals.is_empty() { "offered" } else { "not offered" };
        lines.push(format!(
            "{:<10} {:>10}  {:<6} {:<24} {:<20} {verdict}",
            disk.name,
            disk.size.to_string(),
            disk.bus.to_string(),
            disk.model.as_deref().unwrap_or("-"),
            disk.serial.as_deref().unwrap_or("-")
        ));
        lines.extend(refusals.iter().map(|refusal| format!("{:<10} {refusal}", "")));
    }
    if lines.is_empty() {
        lines.push(NO_DISKS.to_owned());
    }
    lines.join("\n")
}
