//! The `use` declarations of a set of files, as a graph of modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path below the crate, `["index", "write"]`.
type Module = Vec<String>;

/// Which module imports from which paths.
pub(crate) struct Imports {
    modules: BTreeSet<Module>,
    /// An importing module, and an imported path below the crate.
    paths: Vec<(Module, Vec<String>)>,
}

impl Imports {
    pub(crate) fn read(files: &[PathBuf]) -> Self {
        let modules: BTreeSet<_> = files.iter().map(|file| module(file)).collect();
        let mut paths = Vec::new();
        for file in files {
            let (importer, code) = (module(file), super::code(file));
            for declaration in declarations(&code) {
                let path: Vec<_> = declaration.split("::").map(|part| part.trim().to_owned()).collect();
                let up = path.iter().take_while(|part| *part == "super").count();
                let absolute = match path[0].as_str() {
                    "crate" => path[1..].to_vec(),
                    "super" => [&importer[..importer.len() - up], &path[up..]].concat(),
                    _ => [&importer[..], &path[..]].concat(),
                };
                let own = path[0] == "crate" || up > 0;
                if own || modules.contains(&absolute[..=importer.len()]) {
                    paths.push((importer.clone(), absolute));
                }
            }
        }
        Self { modules, paths }
    }

    /// Returns names that are imported from the root of the crate, which only re-exports them for users.
    pub(crate) fn root_names(&self) -> impl Iterator<Item = &str> {
        let roots = self.paths.iter().filter(|(_, path)| path.len() == 1).map(|(_, path)| path[0].as_str());
        roots.filter(|name| name.starts_with(char::is_uppercase))
    }

    /// Returns pairs of an importing and an imported module.
    fn edges(&self) -> impl Iterator<Item = (&Module, &[String])> {
        self.paths.iter().filter_map(|(importer, path)| {
            let imported = (1..=path.len()).rev().map(|len| &path[..len]).find(|part| self.modules.contains(*part))?;
            (imported != importer).then_some((importer, imported))
        })
    }
}

/// Returns the cycles among the files and folders of each folder, in words.
pub(crate) fn cycles(imports: &Imports) -> Vec<String> {
    // For each folder and each of its parts, the parts that it imports from, with an example.
    let mut folders: BTreeMap<&[String], BTreeMap<&str, BTreeMap<&str, String>>> = BTreeMap::new();
    for (importer, imported) in imports.edges() {
        let common = importer.iter().zip(imported).take_while(|(a, b)| a == b).count();
        if common < importer.len() && common < imported.len() {
            let example = format!("{} imports from {}", importer.join("/"), imported.join("/"));
            let parts = folders.entry(&importer[..common]).or_default();
            parts.entry(&importer[common]).or_default().entry(&imported[common]).or_insert(example);
        }
    }
    folders.into_values().filter_map(|parts| cycle(&parts)).collect()
}

/// Finds a cycle among the parts of a folder, by repeatedly removing parts that import from no other part that is left.
fn cycle(parts: &BTreeMap<&str, BTreeMap<&str, String>>) -> Option<String> {
    let mut left = parts.clone();
    while !left.is_empty() {
        let leaf =
            left.iter().find(|(_, from)| from.keys().all(|part| !left.contains_key(part))).map(|(part, _)| *part);
        match leaf {
            Some(leaf) => drop(left.remove(leaf)),
            None => break,
        }
    }
    // Every part that is left imports from another one that is left, so following the imports leads into a cycle.
    let mut at = *left.keys().next()?;
    let mut seen = Vec::new();
    while !seen.contains(&at) {
        seen.push(at);
        at = left[at].keys().find(|part| left.contains_key(*part)).expect("no leaf is left");
    }
    let start = seen.iter().position(|part| *part == at).expect("it was seen");
    let round = seen[start..].iter().zip(seen[start + 1..].iter().chain([&at]));
    Some(format!("a cycle: {}", round.map(|(a, b)| left[a][b].as_str()).collect::<Vec<_>>().join("; ")))
}

/// Returns the module of a file.
fn module(file: &Path) -> Module {
    let parts: Vec<_> = file.with_extension("").iter().map(|part| part.display().to_string()).collect();
    let src = parts.iter().rposition(|part| part == "src").expect("a file below src");
    let mut parts = parts[src + 1..].to_vec();
    parts.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
    parts
}

/// Returns the paths in the `use` declarations of some code, one for each name.
fn declarations(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open: Option<String> = None;
    for line in code.lines().map(str::trim) {
        let visibility = line.split_once("use ").map(|(before, _)| before);
        if visibility.is_some_and(|before| before.is_empty() || before.starts_with("pub") && before.ends_with(' ')) {
            open = line.split_once("use ").map(|(_, path)| path.to_owned());
        } else if let Some(path) = &mut open {
            path.push_str(line);
        }
        if let Some(path) = open.take_if(|path| path.ends_with(';')) {
            expand(path.trim_end_matches(';'), &mut paths);
        }
    }
    paths
}

/// Expands the braces of a path, and adds a path for each name.
fn expand(path: &str, into: &mut Vec<String>) {
    let Some((before, inside)) = path.split_once('{') else {
        let name = path.split(" as ").next().unwrap_or(path).trim();
        into.push(name.to_owned());
        return;
    };
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let (mut depth, mut from) = (0, 0);
    for (at, sign) in inside.char_indices().chain([(inside.len(), ',')]) {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inside[from..at].trim();
                if !part.is_empty() {
                    expand(&format!("{before}{part}"), into);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}
