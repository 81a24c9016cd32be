//! The state on two disks: an array (RAID 1) of a partition of each, made by mdadm(8) of 4.4.
//!
//! The kernel knows of no partition before the table is written, so the members are loop devices over the places where the partitions
//! will be. What an array writes about itself holds nothing of that: the initrd starts it from the partitions.

use std::{io, path::Path};

use uuid::Uuid;
use xenolith_layout::{
    Bytes,
    disk::{MIRROR_DATA_OFFSET, STATE_MIRROR, STATE_MIRROR_NAME},
};

use super::device::{Place, run};

const LOSETUP: &str = "/usr/sbin/losetup";
const MDADM: &str = "/usr/sbin/mdadm";

/// A loop device, which goes with this.
pub(super) struct Loop(String);

impl Loop {
    pub(super) fn over(place: &Place<'_>) -> io::Result<Self> {
        let number = |bytes: Bytes| bytes.get().to_string();
        let made = run(
            LOSETUP,
            &[
                "--find",
                "--show",
                "--offset",
                &number(place.first),
                "--sizelimit",
                &number(place.length),
                &place.disk.path,
            ],
        )?;
        Ok(Self(made.trim().to_owned()))
    }

    pub(super) fn node(&self) -> &str {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // One that stays is in nobody's way: the machine starts anew after an installation.
        let _ = run(LOSETUP, &["--detach", &self.0]);
    }
}

/// The running array, which is stopped with this.
struct Array;

impl Array {
    fn stop() -> io::Result<()> {
        run(MDADM, &["--stop", "--quiet", STATE_MIRROR]).map(drop)
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        let _ = Self::stop();
    }
}

/// Makes the array over `places`, and has what lies on it made by `fill`.
///
/// # Errors
/// With the words of the program that failed.
pub(super) fn make_state(
    places: &[Place<'_>],
    array: Uuid,
    fill: impl FnOnce(&str) -> io::Result<()>,
) -> io::Result<()> {
    // A run that was cut short may have left it running.
    if Path::new(STATE_MIRROR).exists() {
        let _ = Array::stop();
    }
    let loops = places.iter().map(Loop::over).collect::<io::Result<Vec<_>>>()?;
    let offset = format!("{}K", MIRROR_DATA_OFFSET.get() >> 10);
    let (count, id) = (format!("--raid-devices={}", loops.len()), format!("--uuid={}", array.simple()));
    let mut args = vec![
        "--create",
        STATE_MIRROR,
        "--quiet",
        "--run",
        "--metadata=1.2",
        "--level=1",
        &count,
        &id,
        "--name",
        STATE_MIRROR_NAME,
        "--homehost=any",
        // A member that was away is brought up to date by what has changed since.
        "--bitmap=internal",
        "--data-offset",
        &offset,
        // All that will ever be read is written to both first.
        "--assume-clean",
    ];
    args.extend(loops.iter().map(|one| one.0.as_str()));
    run(MDADM, &args)?;
    let running = Array;
    fill(STATE_MIRROR)?;
    std::mem::forget(running);
    Array::stop()
}
