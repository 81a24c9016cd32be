//! What takes its time, on a thread of its own.

use std::{
    fmt,
    sync::mpsc::{Receiver, TryRecvError, channel},
};

/// What a thread finds out.
pub struct Later<T>(Receiver<T>);

/// A thread has ended without a word.
#[derive(Clone, Copy, Debug)]
pub struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the installer has a fault")
    }
}

impl<T: Send + 'static> Later<T> {
    /// Begins as soon as what was begun `before` has ended, which nobody wants to hear of any more: two of a kind would be in each
    /// other's way.
    pub fn after(before: Option<Self>, what: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, found) = channel();
        std::thread::spawn(move || {
            before.into_iter().for_each(Self::end);
            // Nobody listens any more where it is not wanted any more.
            drop(sender.send(what()));
        });
        Self(found)
    }

    /// What was found out, once, as soon as it is.
    pub fn take(slot: &mut Option<Self>) -> Option<Result<T, Fault>> {
        let found = match slot.as_ref()?.0.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Ok(found) => Ok(found),
            Err(TryRecvError::Disconnected) => Err(Fault),
        };
        *slot = None;
        Some(found)
    }

    /// Waits until it has ended, however.
    pub fn end(self) {
        drop(self.0.recv());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_begins_when_the_first_has_ended() {
        let (go, wait) = channel::<()>();
        let (said, heard) = channel();
        let second = said.clone();
        let first = Later::after(None, move || {
            wait.recv().unwrap();
            said.send(1).unwrap();
        });
        let mut last = Some(Later::after(Some(first), move || second.send(2).unwrap()));
        assert!(Later::take(&mut last).is_none());
        go.send(()).unwrap();
        last.take().unwrap().end();
        assert_eq!(heard.iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_thread_that_panics_is_no_thread_that_is_waited_for() {
        let mut never = Some(Later::<()>::after(None, || panic!("as it should")));
        let found = loop {
            if let Some(found) = Later::take(&mut never) {
                break found;
            }
            std::thread::yield_now();
        };
        assert!(found.is_err() && never.is_none());
    }
}
