//! How the service begins and ends, as signals say.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use kvleap::service::{Config, Server, StartError, Stopped};

use crate::Outcome;

/// How soon after the first signal to end another one counts as the same: a terminal and a supervisor may both send it.
const SAME: Duration = Duration::from_secs(1);

/// What the main thread is told.
enum Message {
    /// A signal says that the service is to end.
    End,
    /// The service serves, or it did not start; `None` if starting it panicked, which has been reported.
    Started(Option<Result<Server, StartError>>),
    /// The service has stopped; `None` if stopping it panicked.
    Stopped(Option<Stopped>),
}

/// Runs the service until a signal ends it, whatever it is doing then.
pub(super) fn run(config: Config) -> Outcome {
    let (tell, told) = mpsc::channel();
    signals::watch(tell.clone())?;
    let decided = Arc::new(AtomicBool::new(false));
    let by_server = Arc::clone(&decided);
    work(tell.clone(), move || Server::start_unless(config, &by_server), Message::Started)?;
    let mut ends = None;
    let server = loop {
        match told.recv()? {
            // Restoring and copying take long, and are left as they are: nothing of them is on the disk.
            Message::End if !decided.swap(true, Relaxed) => {
                tracing::info!("told to end before the service was ready: ending");
                return Ok(ExitCode::SUCCESS);
            }
            Message::End => ends = Some(Instant::now()),
            Message::Started(started) => break started.ok_or("the service could not be started: it panicked")??,
            Message::Stopped(_) => unreachable!("it was not told to stop"),
        }
    };
    while ends.is_none() {
        if let Message::End = told.recv()? {
            ends = Some(Instant::now());
        }
    }
    tracing::info!("ending");
    work(tell, move || server.stop(), Message::Stopped)?;
    stopped(&told, ends.unwrap_or_else(Instant::now))
}

/// Waits until the service has stopped. A second signal ends it at once, without the last snapshot.
fn stopped(told: &Receiver<Message>, first: Instant) -> Outcome {
    loop {
        match told.recv()? {
            Message::Stopped(Some(stopped)) if stopped.is_complete() => return Ok(ExitCode::SUCCESS),
            Message::Stopped(stopped) => {
                match stopped {
                    None => tracing::error!("stopping the service panicked, and perhaps no last snapshot was saved"),
                    Some(Stopped { unfinished_requests, snapshot }) => {
                        if unfinished_requests {
                            tracing::warn!("some requests could not finish in time");
                        }
                        if let Some(error) = snapshot {
                            tracing::error!(%error, "the last snapshot was not saved");
                        }
                    }
                }
                return Ok(ExitCode::from(1));
            }
            Message::End if first.elapsed() >= SAME => {
                tracing::warn!("told to end again: ending at once, without a last snapshot");
                return Ok(ExitCode::from(1));
            }
            Message::End | Message::Started(_) => {}
        }
    }
}

/// Does something on another thread, so that signals are heard meanwhile. Tells what came of it, or that it panicked.
fn work<T: Send + 'static>(
    tell: Sender<Message>,
    work: impl FnOnce() -> T + Send + 'static,
    message: fn(Option<T>) -> Message,
) -> io::Result<()> {
    let run = move || {
        let done = panic::catch_unwind(AssertUnwindSafe(work)).ok();
        // The main thread may have ended already, and the process with it.
        let _ = tell.send(message(done));
    };
    thread::Builder::new().name("kvleap-lifetime".to_owned()).spawn(run).map(drop)
}

#[cfg(unix)]
mod signals {
    use std::io;
    use std::sync::mpsc::Sender;
    use std::thread;

    use tokio::runtime;
    use tokio::signal::unix::{SignalKind, signal};

    use super::Message;

    /// A file has become as long as the process may write it. Without a handler, this ends the process; with one, the
    /// write fails, as it does on a full disk. The number is the same on all systems where Rust's is a tier-one target.
    const FILE_TOO_LONG: SignalKind = SignalKind::from_raw(25);

    /// Tells of every SIGINT and SIGTERM. Signals that would end the process without a last snapshot, and are sent when a
    /// terminal is closed or logs are rotated, are logged and ignored.
    pub(super) fn watch(tell: Sender<Message>) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let context = runtime.enter();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (mut hangup, mut too_long) = (signal(SignalKind::hangup())?, signal(FILE_TOO_LONG)?);
        let (mut user1, mut user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        drop(context);
        let listen = async move {
            loop {
                let ignored = tokio::select! {
                    _ = interrupt.recv() => None,
                    _ = terminate.recv() => None,
                    _ = hangup.recv() => Some("SIGHUP"),
                    _ = user1.recv() => Some("SIGUSR1"),
                    _ = user2.recv() => Some("SIGUSR2"),
                    // The write that it is about fails, and that is logged.
                    _ = too_long.recv() => continue,
                };
                if let Some(signal) = ignored {
                    tracing::info!(signal, "ignored: to read settings and files again, restart the service");
                    continue;
                }
                if tell.send(Message::End).is_err() {
                    return;
                }
            }
        };
        let run = move || runtime.block_on(listen);
        thread::Builder::new().name("kvleap-signals".to_owned()).spawn(run).map(drop)
    }
}

#[cfg(not(unix))]
mod signals {
    use std::io;
    use std::sync::mpsc::Sender;

    use super::Message;

    /// Tells of every interruption from the terminal.
    pub(super) fn watch(tell: Sender<Message>) -> io::Result<()> {
        // The main thread may have ended already.
        ctrlc::set_handler(move || drop(tell.send(Message::End))).map_err(io::Error::other)
    }
}
