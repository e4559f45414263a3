//! The files that the process may have open, and what they are for: every connection is one.

/// What snapshots, logs, peers, name lookups and the threads' own files may take together.
const OTHERS: usize = 64;

/// What one engine may take: its subscription, and a replay or a second subscription.
const OF_AN_ENGINE: usize = 2;

/// How the files that may be open are shared out, so that no use of them can take what others need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// How many files the process may have open.
    pub(super) limit: usize,
    /// How many connections of clients there may be, beside `reserve` more.
    pub(super) connections: usize,
    /// How many engines may be listened to.
    pub(super) engines: usize,
}

/// How many connections there may be beyond the limit on them, for probes.
pub(super) const RESERVE: usize = 32;

impl Files {
    /// Shares out the files that the process may have open, of which clients want this many.
    pub(super) fn share(max_connections: usize) -> Self {
        Self::share_of(limit(), max_connections)
    }

    /// Clients get what they want, but no more than half, and the engines get the rest.
    fn share_of(limit: usize, max_connections: usize) -> Self {
        let free = limit.saturating_sub(OTHERS + RESERVE);
        let connections = max_connections.min(free / 2).max(1);
        Self { limit, connections, engines: free.saturating_sub(connections) / OF_AN_ENGINE }
    }
}

/// Returns how many files the process may have open.
#[cfg(unix)]
fn limit() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
fn limit() -> usize {
    usize::MAX
}

/// Raises the number of files that this process may have open to the most that it may raise it to (on Unix, the soft
/// limit to the hard one), because the usual soft limit is 1,024 and every connection is a file. For `kvleap serve`:
/// a library does not change what belongs to the whole process. A failure is logged, and leaves the limit as it was.
pub fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current == maximum {
            return;
        }
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::warn!(%error, ?current, ?maximum, "the limit of open files could not be raised");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_clients_nor_engines_get_the_files_of_the_other() {
        for (limit, wanted, connections, engines) in [
            (1 << 20, 1024, 1024, 523_728),
            (4096, 1024, 1024, 1488),
            (1024, 1024, 464, 232),
            (1024, 100, 100, 414),
            (64, 1024, 1, 0),
        ] {
            assert_eq!(Files::share_of(limit, wanted), Files { limit, connections, engines });
            let used = connections + engines * OF_AN_ENGINE + RESERVE + OTHERS;
            assert!(used <= limit || limit == 64, "{limit}: {used}");
        }
    }
}
