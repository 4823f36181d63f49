//! Work on all cores, with results in order.

use std::iter;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// The state that the threads share: the next item to be taken, and the end.
struct Turns<F, E> {
    next: usize,
    take: F,
    error: Option<E>,
}

/// Does `work` on the items `0..count` on all cores, and hands each result to `take`, in order.
/// Each thread has its own tools, which `tools` makes. No thread begins an item before its last
/// result is taken, so memory is bounded by the number of cores.
///
/// # Errors
/// The first error, in the order of the items for `take`; no more is done after it.
pub(crate) fn in_order<S, T, E: Send>(
    count: usize,
    tools: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, usize) -> Result<T, E> + Sync,
    take: impl FnMut(&mut S, usize, T) -> Result<(), E> + Send,
) -> Result<(), E> {
    let turns = Mutex::new(Turns { next: 0, take, error: None });
    let (turn, first) = (Condvar::new(), AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(count);
    let fail = |error| {
        let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.error.get_or_insert(error);
        turn.notify_all();
    };
    // Takes a result when it is its turn; false at the end.
    let hand_over = |tools: &mut S, item, result| {
        let all = turns.lock().unwrap_or_else(PoisonError::into_inner);
        let not_yet = |all: &mut Turns<_, E>| all.next != item && all.error.is_none();
        let mut all = turn.wait_while(all, not_yet).unwrap_or_else(PoisonError::into_inner);
        if all.error.is_none() {
            all.error = (all.take)(tools, item, result).err();
            all.next += 1;
            turn.notify_all();
        }
        all.error.is_none()
    };
    let one = || -> Result<(), E> {
        let mut tools = tools()?;
        let next = || Some(first.fetch_add(1, Ordering::Relaxed)).filter(|item| *item < count);
        for item in iter::from_fn(next) {
            let result = work(&mut tools, item)?;
            if !hand_over(&mut tools, item, result) {
                break;
            }
        }
        Ok(())
    };
    let one = || one().unwrap_or_else(fail);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(one))));
    turns.into_inner().unwrap_or_else(PoisonError::into_inner).error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let mut taken = Vec::new();
        let work = |tool: &mut u64, item: usize| {
            *tool += 1;
            Ok((0..item * 7919 % 1000).sum::<usize>() + item)
        };
        let take = |_: &mut u64, item, result| {
            taken.push((item, result));
            Ok::<_, ()>(())
        };
        in_order(500, || Ok(0), work, take).expect("no error");
        let expected = |item| (item, (0..item * 7919 % 1000).sum::<usize>() + item);
        assert_eq!(taken, (0..500).map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_is_the_end() {
        let mut taken = 0;
        let work = |_: &mut (), item: usize| if item == 40 { Err("work") } else { Ok(item) };
        let take = |_: &mut (), _, _| {
            taken += 1;
            Ok(())
        };
        assert_eq!(in_order(1000, || Ok(()), work, take), Err("work"));
        assert!(taken <= 40, "{taken}");
        let take = |_: &mut (), item, _| if item == 3 { Err("take") } else { Ok(()) };
        assert_eq!(in_order(1000, || Ok(()), |(), item| Ok(item), take), Err("take"));
        assert_eq!(in_order(9, || Err("tools"), |(), item| Ok(item), take), Err("tools"));
        assert_eq!(in_order(0, || Err("tools"), |(), item| Ok(item), take), Ok(()));
    }
}
