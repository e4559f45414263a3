//! A process for every trial, so that what one trial leaves in caches and on the heap does not affect the next.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Answers, Load, Spec, SweepError, System, Trial, check, play};

/// What a process is started to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Play a trial.
    Trial(Spec),
    /// Compare a backend's answers with the reference model's.
    Answers {
        /// The backend.
        system: System,
        /// For how long.
        budget: Duration,
    },
}

/// The result of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The result of a trial.
    Trial(Box<Trial>),
    /// The result of a comparison.
    Answers(Answers),
}

impl Job {
    fn system(&self) -> System {
        match self {
            Self::Trial(spec) => spec.system,
            Self::Answers { system, .. } => *system,
        }
    }

    /// Does the job in this process.
    ///
    /// # Errors
    /// The errors of [`play`] and [`check`].
    pub fn perform(&self, load: Load) -> Result<Reply, SweepError> {
        match self {
            Self::Trial(spec) => play(load, spec).map(|trial| Reply::Trial(Box::new(trial))),
            Self::Answers { system, budget } => check(&load, *system, *budget).map(Reply::Answers),
        }
    }
}

impl Reply {
    pub(super) fn trial(self, system: System) -> Result<Trial, SweepError> {
        match self {
            Self::Trial(trial) => Ok(*trial),
            Self::Answers(_) => Err(SweepError::Trial { system, what: "it compared answers instead".to_owned() }),
        }
    }

    pub(super) fn answers(self, system: System) -> Result<Answers, SweepError> {
        match self {
            Self::Answers(answers) => Ok(answers),
            Self::Trial(_) => Err(SweepError::Trial { system, what: "it played a trial instead".to_owned() }),
        }
    }
}

/// Starts a process for every job.
///
/// The load is in a file without a name, which the system removes when no process has it open any more.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    subcommand: &'static str,
    load: File,
}

impl Launcher {
    /// Writes the load to a file. Jobs are run as `program subcommand JOB` with the load on standard input; that program
    /// must pass both to [`perform`], print the result, and exit.
    ///
    /// # Errors
    /// [`SweepError::Load`], for instance when the disk is full.
    pub fn new(load: &Load, program: PathBuf, subcommand: &'static str) -> Result<Self, SweepError> {
        let file = tempfile::tempfile().map_err(SweepError::Load)?;
        load.write(&file).map_err(SweepError::Load)?;
        Ok(Self { program, subcommand, load: file })
    }

    /// Does the job in a process of its own.
    ///
    /// # Errors
    /// [`SweepError::Trial`] if the process cannot be started, fails, or prints something other than a result, and
    /// [`SweepError::Interrupted`] after [`interrupt`].
    pub fn launch(&mut self, job: &Job) -> Result<Reply, SweepError> {
        let fail = |what: String| SweepError::Trial { system: job.system(), what };
        // The position in the file is shared with the previous process, which left it at the end.
        self.load.rewind().map_err(SweepError::Load)?;
        let load = self.load.try_clone().map_err(SweepError::Load)?;
        let text = serde_json::to_string(job).map_err(|error| fail(error.to_string()))?;
        let mut process = Command::new(&self.program);
        let process = process.arg(self.subcommand).arg(text).stdin(Stdio::from(load));
        // A terminal sends Ctrl-C to the whole group. This process alone decides what becomes of its jobs.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(process, 0);
        let printed = Running::output(process, fail)?;
        serde_json::from_slice(&printed).map_err(|error| fail(error.to_string()))
    }
}

/// The processes of jobs that run now.
static RUNNING: Mutex<Running> = Mutex::new(Running { interrupted: false, processes: Vec::new() });

struct Running {
    interrupted: bool,
    processes: Vec<Child>,
}

/// Ends the jobs that any [`Launcher`] of this process is doing, and all to come, with [`SweepError::Interrupted`].
pub fn interrupt() {
    let mut running = Running::lock();
    running.interrupted = true;
    // One that has ended cannot be killed, and need not be.
    running.processes.iter_mut().for_each(|process| drop(process.kill()));
}

impl Running {
    fn lock() -> MutexGuard<'static, Self> {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job to its end, and returns what it printed. `fail` makes an error of why it could not.
    fn output(command: &mut Command, fail: impl Fn(String) -> SweepError) -> Result<Vec<u8>, SweepError> {
        let mut running = Self::lock();
        if running.interrupted {
            return Err(SweepError::Interrupted);
        }
        let mut process = command.stdout(Stdio::piped()).spawn().map_err(|error| fail(error.to_string()))?;
        let (id, printed) = (process.id(), process.stdout.take());
        running.processes.push(process);
        drop(running);

        let mut output = Vec::new();
        let read = printed.map_or(Ok(0), |mut printed| printed.read_to_end(&mut output));
        let mut running = Self::lock();
        let place = running.processes.iter().position(|process| process.id() == id).expect("nobody else takes it out");
        // It has closed its output, so this does not take long.
        let status = running.processes.swap_remove(place).wait();
        if running.interrupted {
            return Err(SweepError::Interrupted);
        }
        match (read, status) {
            (Ok(_), Ok(status)) if status.success() => Ok(output),
            (Ok(_), Ok(status)) => Err(fail(status.to_string())),
            (Err(error), _) | (_, Err(error)) => Err(fail(error.to_string())),
        }
    }
}

/// Does the job for which a [`Launcher`] started this process, and returns what to print.
///
/// # Errors
/// [`SweepError::Load`] if this is not a job or not a load, and the errors of the job.
pub fn perform(job: &str, load: impl Read) -> Result<String, SweepError> {
    let job: Job = serde_json::from_str(job).map_err(|error| SweepError::Load(error.into()))?;
    let limit = match &job {
        Job::Trial(spec) => spec.operations,
        Job::Answers { .. } => usize::MAX,
    };
    let load = Load::read(load, limit).map_err(SweepError::Load)?;
    let reply = job.perform(load)?;
    serde_json::to_string(&reply).map_err(|error| SweepError::Load(error.into()))
}
