//! The ESPs of an installation, put together in memory while other steps wait for disks.

use std::{
    io,
    sync::mpsc::{self, Receiver},
    thread::Scope,
};

use xenolith_disk::{esp, sparse::Sparse};
use xenolith_layout::{disk::Role, names};

use super::{Source, steps::layout};
use crate::plan::{Plan, Step};

/// Makes the file systems of these steps, in their order. The next is made when somebody takes the one before: at no time are there more
/// than two.
pub(super) fn ahead<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    plan: &'env Plan,
    source: &'env Source,
    steps: impl Iterator<Item = &'env Step>,
) -> Receiver<io::Result<Sparse>> {
    let (made, take) = mpsc::sync_channel(0);
    let wanted: Vec<(u64, u32)> = steps
        .filter_map(|step| match step {
            Step::MakeEsp { disk, serial } => {
                let layout = layout(plan, disk);
                let esp = layout.partition(Role::Esp).expect("every layout has an ESP");
                Some((layout.length(esp).get(), *serial))
            }
            _ => None,
        })
        .collect();
    scope.spawn(move || {
        for (size, serial) in wanted {
            // Nobody takes it where a step before has failed.
            if made.send(esp::make(size, names::ESP_FS_LABEL, serial, &source.esp)).is_err() {
                return;
            }
        }
    });
    take
}
