//! How much memory a process and all below it take, at most.
//!
//! The resident memory of every process of the tree is added up ten times a second, from `/proc/<pid>/status`
//! (proc_pid_status(5)). Pages that two processes share count twice, so the figure is an upper bound; a peak shorter than the
//! time between two looks is missed. `getrusage` would know only the largest single process, and a control group's
//! `memory.peak` counts the page cache and cannot be had by every user.

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::Duration,
};

use fs_err as fs;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    /// In bytes; a kernel thread or a zombie has none.
    resident: u64,
}

/// Watches a process tree until it is asked.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Watch {
    /// Begins with the process `root`.
    pub fn start(root: u32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            loop {
                peak = peak.max(tree(&processes(), root));
                if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return peak;
                }
            }
        });
        Self { stop, thread }
    }

    /// The most that it was, in bytes.
    pub fn peak(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap_or(0)
    }
}

/// All processes of this machine; those that end meanwhile are left out.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| parse(&fs::read_to_string(entry.path().join("status")).ok()?))
        .collect()
}

/// Reads `/proc/<pid>/status`.
fn parse(status: &str) -> Option<Process> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some(Process {
        pid: field("Pid")?.try_into().ok()?,
        parent: field("PPid")?.try_into().ok()?,
        resident: field("VmRSS").unwrap_or(0).saturating_mul(1024),
    })
}

/// The sum over `root` and all below it.
fn tree(processes: &[Process], root: u32) -> u64 {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut sum = processes.iter().find(|process| process.pid == root).map_or(0, |process| process.resident);
    let mut todo = vec![root];
    while let Some(pid) = todo.pop() {
        // Removed, so that a loop, which numbers used again could make, ends.
        for child in children.remove(&pid).unwrap_or_default() {
            sum = sum.saturating_add(child.resident);
            todo.push(child.pid);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_a_process_without_memory_has_none() {
        let status = "Name:\tcc1\nPid:\t42\nPPid:\t7\nVmHWM:\t  3000 kB\nVmRSS:\t  2000 kB\n";
        assert_eq!(parse(status), Some(Process { pid: 42, parent: 7, resident: 2_048_000 }));
        let zombie = "Name:\tsh\nState:\tZ (zombie)\nPid:\t43\nPPid:\t7\n";
        assert_eq!(parse(zombie), Some(Process { pid: 43, parent: 7, resident: 0 }));
        assert_eq!(parse("Name:\tsh\n"), None);
    }

    #[test]
    fn a_tree_is_a_process_and_all_below_it_and_nothing_else() {
        let process = |pid, parent, resident| Process { pid, parent, resident };
        let all = [
            process(1, 0, 1),
            process(5, 1, 10),
            process(6, 5, 100),
            process(7, 6, 1000),
            process(8, 1, 10_000),
        ];
        assert_eq!(tree(&all, 5), 1110);
        assert_eq!(tree(&all, 9), 0);
        assert_eq!(tree(&[process(5, 6, 1), process(6, 5, 2)], 5), 4);
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(Watch::start(std::process::id()).peak() > 0);
    }
}
