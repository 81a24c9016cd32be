//! How long somebody waits who does not know the password: twice as long each time, until it is known.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);

/// Wrong passwords, and what follows from them. A time is one since the program began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    failures: u32,
    until: Duration,
}

impl Lock {
    /// A wrong password.
    pub fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let wait = FIRST.saturating_mul(1u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX));
        self.until = now.saturating_add(wait.min(LONGEST));
    }

    /// The right one.
    pub fn passed(&mut self) {
        *self = Self::default();
    }

    /// How long nobody may try yet, if so.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_password_costs_twice_the_time_up_to_five_minutes() {
        let (mut lock, mut now, mut waits) = (Lock::default(), Duration::ZERO, Vec::new());
        for _ in 0..10 {
            assert_eq!(lock.wait(now), None);
            lock.failed(now);
            let wait = lock.wait(now).unwrap();
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        for _ in 0..100 {
            lock.failed(now);
            assert_eq!(lock.wait(now), Some(LONGEST));
        }
        lock.passed();
        assert_eq!(lock, Lock::default());
    }
}
