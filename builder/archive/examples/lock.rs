//! Locks what its arguments ask for from the mirror that this host uses, and prints the lock's contents as a diff.
//!
//! `cargo run -p xenolith-archive --example lock -- dom0=systemd,nftables build=gcc,rustc@trixie-backports > a.lock`
//! A further argument `previous=FILE` updates a lock instead of making a new one, `only=NAME,…` says what may move,
//! `+essential` after the name of a group adds the essential packages to it.

use std::error::Error;
use std::time::Instant;

use xenolith_archive::date::Timestamp;
use xenolith_archive::lock::Lock;
use xenolith_archive::locking::{FetchFailure, LockRequest, update};
use xenolith_archive::mirror::{Mirrors, Places};
use xenolith_archive::resolve::GroupSpec;

const LARGEST_INDEX: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mirrors = Mirrors::find(&Places::of_host(None, None))?;
    let sources = vec!["xen".parse()?];
    let mut request = LockRequest { groups: Vec::new(), sources, only: None, now: Timestamp::now() };
    let mut previous = None;
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').ok_or("arguments are GROUP=PACKAGE,…")?;
        match name {
            "previous" => previous = Some(Lock::parse(&fs_err::read_to_string(value)?)?),
            "only" => {
                let names = value.split(',').filter(|name| !name.is_empty()).map(str::parse);
                request.only = Some(names.collect::<Result<_, _>>()?);
            }
            _ => request.groups.push(GroupSpec {
                name: name.trim_end_matches("+essential").parse()?,
                packages: value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                essential: name.ends_with("+essential"),
                recommends: false,
                exclude: Vec::new(),
            }),
        }
    }
    let started = Instant::now();
    let lock = update(&request, previous.as_ref(), &|archive, path| {
        let mut response = ureq::get(mirrors.file(archive, path).as_str()).call()?;
        Ok::<_, FetchFailure>(response.body_mut().with_config().limit(LARGEST_INDEX).read_to_vec()?)
    })?;
    eprintln!("locked in {:.1?}", started.elapsed());
    eprint!("{}", Lock::diff(&previous.unwrap_or_default(), &lock));
    let text = lock.render();
    assert_eq!(Lock::parse(&text)?, lock, "a lock reads back");
    print!("{text}");
    Ok(())
}
