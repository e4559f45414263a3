//! What all requests share: memory for bodies and answers, threads that may wait, and transfers of the whole state.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::service::config::Config;

/// How many requests may occupy a thread while they wait for writers or for another process. Further ones wait without
/// a thread.
const WAITING: usize = 64;

/// How many threads serve metrics, the figures of the live page and the list of workers. The first two wait for the
/// writers of all models.
const FIGURES: usize = 8;

/// From which length on a body is long, in bytes. Parsing one takes milliseconds, in which a thread of the server would
/// serve hundreds of others.
const LONG: usize = 1 << 20;

/// How long a request waits for such a thread, or for a transfer to end, before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of every body is not counted, and which answers are not, in bytes, so that small requests do not wait for
/// memory behind large ones.
pub(super) const UNCOUNTED: usize = 64 << 10;

/// Returns how many threads for blocking work requests and transfers may take together.
pub(in crate::service) fn blocking_threads(config: &Config) -> usize {
    // No operating system has more threads than this, and the runtime could not count them.
    config.max_transfers.min(1 << 20) + WAITING + FIGURES + computing(config)
}

/// Returns how many threads answer requests with long bodies: as many as the server has.
fn computing(config: &Config) -> usize {
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    if config.threads > 0 { config.threads } else { cores() }
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shares {
    waiting: Arc<Semaphore>,
    figures: Arc<Semaphore>,
    computing: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    /// Bytes.
    bodies: Arc<Semaphore>,
    /// For one body that may take what it needs, although there is no memory left. Without it, many bodies that have a
    /// part of what they need could wait for each other.
    exempt: Arc<Semaphore>,
    /// Bytes.
    answers: Arc<Semaphore>,
    max_answers_bytes: usize,
}

impl Shares {
    pub(super) fn new(config: &Config) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            waiting: semaphore(WAITING),
            figures: semaphore(FIGURES),
            computing: semaphore(computing(config)),
            transfers: semaphore(config.max_transfers),
            bodies: semaphore(config.max_bodies_bytes),
            exempt: semaphore(1),
            answers: semaphore(config.max_answers_bytes),
            max_answers_bytes: config.max_answers_bytes,
        }
    }

    /// Changes something. That may wait for a writer or another process, so it is done on a thread for blocking work.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        blocking(&self.waiting, "too many requests are waiting for writers; try again later", work).await
    }

    /// Collects figures, like [`change`](Self::change). Neither can take the threads of the other.
    pub(super) async fn collect<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        blocking(&self.figures, "too many requests for figures are waiting for writers; try again later", work).await
    }

    /// Computes an answer from a body of this length: at once, or on another thread if it takes long.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        length: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if length < LONG {
            return Ok(work());
        }
        blocking(&self.computing, "too many requests with long bodies are waiting; try again later", work).await
    }

    /// Waits until a transfer of the whole state may begin. It ends when the permit is dropped.
    pub(super) async fn transfer(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy =
            || Refusal::busy("other transfers of the whole state are in progress (max_transfers); try again later");
        soon(&self.transfers).await.ok_or_else(busy)
    }

    /// Returns memory for an answer of this length, until the permit is dropped. An answer that is longer than all may
    /// be takes all there is.
    pub(super) fn answer(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(length.min(self.max_answers_bytes)).unwrap_or(u32::MAX);
        Arc::clone(&self.answers).try_acquire_many_owned(bytes).ok()
    }

    /// Waits for memory for more bytes of a body.
    pub(super) async fn memory(&self, held: &mut Held, bytes: usize) {
        if held.exempt.is_some() {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Neither of them is ever closed.
        tokio::select! {
            biased;
            Ok(permit) = Arc::clone(&self.bodies).acquire_many_owned(bytes) => match &mut held.bytes {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            },
            Ok(permit) = Arc::clone(&self.exempt).acquire_owned() => held.exempt = Some(permit),
            else => {}
        }
    }
}

/// The memory that a body has of what all bodies may take.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Option<OwnedSemaphorePermit>,
    exempt: Option<OwnedSemaphorePermit>,
}

/// Does work on a thread for blocking work, when there is a permit for it.
async fn blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    busy: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let permit = soon(permits).await.ok_or_else(|| Refusal::busy(busy))?;
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "this request failed; the log may say why");
    let work = move || {
        // Held by the thread, because the client may hang up before the work is done.
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

async fn soon(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    timeout(PATIENCE, Arc::clone(semaphore).acquire_owned()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn bodies_wait_for_memory_and_never_all_of_them() {
        let shares = Shares::new(&Config { max_bodies_bytes: 100, ..Config::default() });
        let [mut first, mut second, mut third] = [const { None::<Held> }; 3].map(Option::unwrap_or_default);
        let takes = |held: &mut Held, bytes| pin!(shares.memory(held, bytes)).now_or_never().is_some();
        assert!(takes(&mut first, 60) && takes(&mut first, 40));
        // One body gets what it needs although there is nothing left; the next waits.
        assert!(takes(&mut second, 1) && takes(&mut second, 1_000_000));
        assert!(!takes(&mut third, 1));
        drop(first);
        assert!(takes(&mut third, 100));
        drop(second);
        assert!(takes(&mut third, 1));
    }

    #[test]
    fn requests_for_figures_and_for_changes_do_not_take_each_others_threads() {
        let shares = Shares::new(&Config::default());
        let taken = Arc::clone(&shares.waiting).try_acquire_many_owned(WAITING as u32).expect("all of them");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        assert!(runtime.block_on(shares.collect(|| ())).is_ok());
        assert!(shares.change(|| ()).now_or_never().is_none(), "it waits");
        drop(taken);
        assert!(runtime.block_on(shares.change(|| ())).is_ok());
    }
}
