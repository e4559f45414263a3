//! Cache managers and publishers of real engines drive the service. The engine and the service are asked the same
//! question: how much of a prompt would be reused?

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::engine::{Process, free_ports};
use crate::common::scratch::Scratch;
use crate::common::serve::Serve;
use crate::common::shared;
use crate::fetched;

const SGLANG: &str = "sglang-0.5.23";
const VLLM: &str = "vllm-0.33.0";

/// Declares a test for each scenario of a driver in `tests/judges`. A scenario is a function of the driver.
macro_rules! driven {
    ($driver:ident of $engine:ident: $($scenario:ident)+) => {
        mod $driver {
            $(#[test]
            fn $scenario() {
                super::drive(super::$engine, stringify!($driver), stringify!($scenario));
            })+
        }
    };
}

driven!(vllm of VLLM:
    ranks resets keys digests duplicates groups full replay replay_duplicates lookahead lookahead_mixed);
driven!(offload of VLLM: chunks chunks_replay places);
driven!(sglang of SGLANG: ranks resets keys namespaces replay pairs pairs_mixed);
driven!(sglang_host of SGLANG: copies copies_replay);

fn drive(engine: &str, driver: &str, scenario: &str) {
    let (Some(mut python), Some(stub)) = (python(engine), shared::shared("check/engine_stub.py")) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/judges/drive_{driver}.py"));
    python.args.push(script.to_str().expect("UTF-8").to_owned());
    python.run(&format!("{driver}-{scenario}"), |command, url| {
        command.arg(scenario).arg("--stub").arg(&stub).args(["--url", url, "--port", &free_ports(16).to_string()]);
    });
}

#[test]
fn the_shared_drivers_agree_with_the_service() {
    for (engine, script) in [(VLLM, "check/vllm_manager.py"), (SGLANG, "check/sglang_radix.py")] {
        let (Some(mut python), Some(script)) = (python(engine), shared::shared(script)) else { continue };
        python.args.push(script.to_str().expect("UTF-8").to_owned());
        python.run(engine, |command, url| {
            command.args(["--url", url]);
            if engine == VLLM {
                command.args(["--replay-port", &free_ports(1).to_string()]);
            }
        });
    }
}

/// A Python interpreter, with the source files of one engine.
struct Python {
    cache: PathBuf,
    sources: PathBuf,
    args: Vec<String>,
}

/// Returns the interpreter for an engine. If `.ci/engines.py` could not fetch it, prints so and returns `None`.
fn python(engine: &str) -> Option<Python> {
    let cache = fetched()?;
    let sources = cache.join("sources").join(engine);
    if sources.exists() {
        return Some(Python { cache, sources, args: vec![] });
    }
    // Write to stderr directly, because the test harness hides what a passing test prints.
    writeln!(io::stderr(), "SKIPPED: run .ci/engines.py to fetch {}", sources.display()).expect("stderr is open");
    None
}

impl Python {
    /// Runs a script against a service of its own, and stops, kills and starts the service when the script asks for it.
    fn run(&self, test: &str, args: impl FnOnce(&mut Command, &str)) {
        let scratch = Scratch::new(test);
        let snapshot = scratch.path("snapshot");
        let mut service = Some(Serve::start(&snapshot, &[]));
        let mut command = Command::new(self.cache.join("venv/bin/python"));
        command.args(&self.args).arg("--source").arg(&self.sources);
        command.env("PYTHONPYCACHEPREFIX", self.cache.join("bytecode"));
        args(&mut command, &service.as_ref().expect("it was started").url);
        let mut driver = Process::start(&mut command);
        let mut lines = Vec::new();
        loop {
            match driver.line().as_str() {
                // The script prints no empty lines, so its output ends here.
                "" => break,
                "stop" => {
                    service.take().expect("it was started").terminate();
                    driver.tell("ended");
                }
                "kill" => {
                    service.take().expect("it was started").kill();
                    driver.tell("ended");
                }
                "start" => {
                    let started = service.insert(Serve::start(&snapshot, &[]));
                    driver.tell(&started.url);
                }
                line => lines.push(line.to_owned()),
            }
        }
        let status = driver.child.wait().expect("it ended");
        let agreed = lines.last().is_some_and(|last| last.ends_with(", different 0"));
        assert!(status.success() && agreed, "{status}\n{}", lines.join("\n"));
    }
}
