//! The sources keep to the structure that ARCHITECTURE.md promises: what each folder may name, and which way imports
//! run.

mod imports;

use std::fs;
use std::path::{Path, PathBuf};

use imports::{Imports, cycles};

/// Returns every `.rs` file below a folder of the repository, or the file itself.
fn sources(place: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder of the repository can be read");
            open.extend(entries.map(|entry| entry.expect("a folder of the repository can be read").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "{place} is gone: change the rule that names it");
    found.sort();
    found
}

/// Returns the code of a file without comments and without the tests at its end.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a file of the repository can be read");
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// A place, the names that its code must not contain, the files that are exempt, and the reason.
struct Rule {
    place: &'static str,
    forbidden: &'static [&'static str],
    except: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        place: "src/index/write",
        forbidden: &["std::thread", "Instant", "Mutex", "RwLock", "Condvar", "Atomic", "index::read", "index::writer"],
        except: &[],
        why: "the writer's state is a plain state machine: no thread, clock or lock, and nothing that readers see",
    },
    Rule {
        place: "src/index/read",
        forbidden: &["std::thread", "Mutex", "RwLock", "Condvar", "index::write", "index::writer"],
        except: &[],
        why: "a lookup takes no lock, and sees snapshots only",
    },
    Rule {
        place: "src/index/shared",
        forbidden: &["std::thread", "Instant", "Mutex", "RwLock", "index::read", "index::write"],
        except: &[],
        why: "what the writer and the readers share knows neither of them",
    },
    Rule {
        place: "src/index",
        forbidden: &["arc_swap"],
        except: &["src/index/publish.rs"],
        why: "there is one place where a snapshot is swapped, and its orderings are argued there",
    },
    Rule {
        place: "src",
        forbidden: &["Acquire", "Ordering::Release", "AcqRel", "SeqCst"],
        except: &["src/sweep/open_loop.rs", "src/sweep/play.rs"],
        why: "an atomic that is not Relaxed names its partner, and ARCHITECTURE.md says where there are any",
    },
    Rule {
        place: "src/index",
        forbidden: &["unsafe"],
        except: &["src/index/shared/prefetch.rs", "src/index/shared/lanes.rs", "src/index/write/bucket.rs"],
        why: "unsafe code is allowed only where a measurement shows that it pays",
    },
    Rule {
        place: "src/index",
        forbidden: &["tokio", "axum", "crate::service", "crate::route", "crate::trace"],
        except: &[],
        why: "the index needs no async runtime, and nothing that is built on it",
    },
    Rule {
        place: "src/route",
        forbidden: &["std::thread", "Instant", "Mutex", "RwLock", "tokio", "crate::service"],
        except: &[],
        why: "a router is plain mutable state: the caller tells it the time",
    },
    Rule {
        place: "src/mock",
        forbidden: &["crate::index", "crate::route", "Instant", "SystemTime", "std::thread"],
        except: &[],
        why: "a simulated engine must not know the index that it is compared with, and its clock is virtual",
    },
    Rule {
        place: "src/service/ingest/sequence.rs",
        forbidden: &["tokio", "std::time", "zmtp", "crate::index"],
        except: &[],
        why: "sequence numbers are judged in a simulated world, without sockets and clocks",
    },
    Rule {
        place: "src/service/wire",
        forbidden: &["crate::index", "tokio", "super::super"],
        except: &[],
        why: "parsers of hostile bytes know nothing else, so that they can be fuzzed alone",
    },
];

#[test]
fn every_folder_keeps_to_its_rules() {
    let mut broken = Vec::new();
    for Rule { place, forbidden, except, why } in RULES {
        for file in sources(place) {
            if except.iter().any(|exempt| file.ends_with(exempt)) {
                continue;
            }
            let code = code(&file);
            let named = forbidden.iter().filter(|name| code.contains(**name));
            broken.extend(named.map(|name| format!("{} names {name}: {why}", file.display())));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Imports between the files and folders of one folder run one way. `mod.rs` and `lib.rs` are left out, because what
/// they define is for every file in their folder.
#[test]
fn imports_do_not_form_cycles() {
    let cycles = cycles(&Imports::read(&sources("src")));
    assert!(cycles.is_empty(), "\n{}", cycles.join("\n"));
}

#[test]
fn imports_inside_the_crate_name_the_module_and_not_a_re_export() {
    let mut broken = Vec::new();
    for file in sources("src") {
        if file.ends_with("src/lib.rs") || file.components().any(|part| part.as_os_str() == "bin") {
            continue;
        }
        let imports = Imports::read(std::slice::from_ref(&file));
        broken.extend(imports.root_names().map(|name| format!("{} imports crate::{name}", file.display())));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The map must have the folders in `src`, in `src/index` and in `src/service`.
#[test]
fn every_folder_is_on_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md can be read");
    let mut missing = Vec::new();
    for parent in ["src", "src/index", "src/service"] {
        for entry in fs::read_dir(root.join(parent)).expect("a folder of the repository can be read") {
            let path = entry.expect("a folder of the repository can be read").path();
            // `hash.rs` and `hash/` belong together.
            if path.is_dir() && !path.with_extension("rs").exists() {
                let name = format!("{parent}/{}/", path.file_name().expect("it has a name").display());
                missing.extend((!map.contains(&name)).then_some(name));
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md does not say what these are for: {missing:?}");
}
