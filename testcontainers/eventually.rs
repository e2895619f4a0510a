//! Waiting for a state that no event announces.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE_MS_MIN: u64 = 5;
const PAUSE_MS_MAX: u64 = 100;

/// Asks again and again until there is an answer, and panics with `what` when the time is over.
///
/// The pause between two questions grows from 5 to 100 milliseconds, so a state that comes soon costs nothing and a
/// slow one costs no CPU. The question is asked once more after the deadline, so a slow machine is not at fault.
///
/// # Panics
///
/// When no answer came in time.
#[track_caller]
pub fn eventually<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    match poll(timeout, &mut ask) {
        Some(answer) => answer,
        None => panic!("{what}: not within {timeout:?}"),
    }
}

/// The same without the panic.
pub(crate) fn poll<T>(timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    let mut pause_ms = PAUSE_MS_MIN;
    loop {
        let last = start.elapsed() >= timeout;
        let answer = ask();
        if answer.is_some() || last {
            return answer;
        }
        thread::sleep(Duration::from_millis(pause_ms));
        pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_until_there_is_an_answer() {
        let mut asked = 0;
        let answer = eventually("three questions", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer, 3);
    }

    #[test]
    #[should_panic(expected = "a miracle: not within 20ms")]
    fn names_what_did_not_come() {
        eventually("a miracle", Duration::from_millis(20), || None::<()>);
    }

    #[test]
    fn asks_once_even_without_time() {
        assert_eq!(poll(Duration::ZERO, || Some(1)), Some(1));
    }
}
