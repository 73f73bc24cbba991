//! Rules of the house that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use linkpoll_verify::source::{atomic_calls, code_only, enclosing_function, is_shipped, words};

/// The packages with models. What is said of their files holds for the core and for what is proved like it.
const PROVED: [&str; 2] = ["src", "shm/src"];
/// The room that has atomics in memory which no model checker sees: words mapped from a file.
const MAPPED_WORDS: &str = "shm/src/storage/mapped.rs";
/// The most lines that a file of the core, or of shared memory, may have.
const LONGEST_FILE: usize = 500;
/// How many lines of code may stand between an atomic operation and the comment that explains its ordering.
const COMMENT_REACH: usize = 6;
/// Every configuration name in the tree. One that is not compiled by any step of `cargo verify` rots: before a name
/// comes in here, a step must build it.
const CONFIGURATIONS: [&str; 11] = [
    "test",             // step test
    "linkpoll_loom",    // step loom
    "linkpoll_faults",  // step asan
    "fuzzing",          // step fuzz-smoke
    "debug_assertions", // steps test (on) and prop (on); releases (off)
    "feature",          // step features
    "target_os",        // the host's
    "target_arch",
    "target_endian",
    "target_pointer_width",
    "target_env",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// All files under `directory` with this extension, by path from the root; not what is built.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    fn collect(path: &Path, extension: &str, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if path.is_dir() {
                if !hidden && entry.file_name() != "target" {
                    collect(&path, extension, into);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join(directory), extension, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| path.strip_prefix(root()).expect("it is under the root").to_owned())
        .collect()
}

fn proved_files() -> impl Iterator<Item = PathBuf> {
    PROVED.into_iter().flat_map(|directory| files(directory, "rs"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).expect("a source file is readable text")
}

fn is_primitives(path: &Path) -> bool {
    path.starts_with("src/sync")
}

fn assert_none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

/// What stands in the brackets of every `cfg(..)`, `cfg!(..)` and `cfg_attr(..)`.
fn predicates(code: &str) -> Vec<&str> {
    let opening = ["cfg(", "cfg!(", "cfg_attr("];
    let starts = opening.iter().flat_map(|word| code.match_indices(word).map(|(at, word)| at + word.len()));
    starts.map(|start| within_brackets(&code[start..])).collect()
}

fn within_brackets(text: &str) -> &str {
    let mut depth = 1_usize;
    for (at, c) in text.char_indices() {
        depth = match c {
            '(' => depth + 1,
            ')' => depth - 1,
            // Of `cfg_attr(predicate, attribute)` only the predicate matters; at depth 1 nothing else has a comma.
            ',' if depth == 1 => 0,
            _ => depth,
        };
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

#[test]
fn every_configuration_is_built_by_some_step() {
    let mut faults = Vec::new();
    for path in files("", "rs").into_iter().chain(files("", "toml")) {
        let text = read(&path);
        let code = if path.extension().is_some_and(|e| e == "rs") { code_only(&text) } else { text };
        for predicate in predicates(&code) {
            let unquoted: String = predicate.split('"').step_by(2).collect();
            let known = |word: &&str| {
                ["any", "all", "not", "true", "false"].contains(word) || CONFIGURATIONS.contains(word)
            };
            faults.extend(
                words(&unquoted)
                    .filter(|word| !known(word))
                    .map(|word| format!("{}: {word}", path.display())),
            );
        }
    }
    assert_none(&faults, "cfg names that no step of `cargo verify` is known to build");
}

#[test]
fn only_sync_knows_the_model_checker() {
    let outside = proved_files().filter(|path| !is_primitives(path));
    let mut faults = Vec::new();
    for path in outside {
        let code = code_only(&read(&path));
        let inside = predicates(&code)
            .into_iter()
            .any(|predicate| words(predicate).any(|word| word == "linkpoll_loom"));
        let named = code.contains("loom::");
        faults.extend((inside || named).then(|| path.display().to_string()));
    }
    assert_none(&faults, "files outside src/sync that know loom");
}

/// Calls of the kernel in the code of a file of `src/sys`, and whether each goes through a site: byte offset, and the
/// call's beginning.
///
/// A call is a function of `libc`, a function of `nix` (their types begin with capitals), a method of one of its
/// descriptors (`self.0.add(..)`), or one of the functions of `std` that are named here.
fn system_calls(code: &str) -> Vec<(usize, &str)> {
    const STD: [&str; 6] = [
        "fs::",
        "UnixStream::connect(",
        "TcpStream::connect(",
        "thread::Builder::",
        "Builder::new(",
        "map_anon(",
    ];
    const CONSTRUCTORS: [&str; 7] = [
        "epoll::Epoll::new(",
        "from_value_and_flags(",
        ".map_raw(",
        ".map_raw_read_only(",
        ".advise(",
        ".try_clone(",
        ".read_exact_at(",
    ];
    let functions = code.split("use nix::").skip(1).flat_map(|import| {
        let import = import.split(';').next().unwrap_or_default();
        words(import).filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
    });
    let functions: BTreeSet<String> = functions.map(|word| format!("{word}(")).collect();
    let opens = |at: usize| {
        let start =
            code[..at].rfind(|c: char| !(c.is_alphanumeric() || "_:.".contains(c))).map_or(0, |p| p + 1);
        &code[start..=at]
    };
    let calls = code.match_indices('(').filter_map(|(at, _)| {
        let callee = opens(at);
        let of_libc = callee.strip_prefix("libc::").or_else(|| callee.strip_prefix("nix::sys::socket::"));
        let is_function = of_libc
            .is_some_and(|name| !name.contains("::") && name.starts_with(|c: char| c.is_ascii_lowercase()))
            || functions.contains(callee);
        let is_method = callee.starts_with("self.0.") && callee.matches('.').count() == 2;
        let is_named = STD.iter().any(|name| callee.starts_with(name) && !callee.ends_with("::"))
            || CONSTRUCTORS.iter().any(|name| callee.ends_with(name));
        let is_query = ["as_fd(", "as_raw_fd(", "data(", "events(", "intersects(", "contains(", "bits("]
            .iter()
            .any(|q| callee.ends_with(q));
        ((is_function || is_method || is_named) && !is_query).then_some((at + 1 - callee.len(), callee))
    });
    calls.collect()
}

/// What stands in the brackets of every `at(Site::..)` and its kin, by byte range.
fn at_sites(code: &str) -> Vec<std::ops::Range<usize>> {
    let starts = code.match_indices("(Site::").map(|(at, _)| at + 1);
    starts.map(|start| start..start + within_brackets_with_commas(&code[start..]).len()).collect()
}

fn within_brackets_with_commas(text: &str) -> &str {
    let mut depth = 1_usize;
    for (at, c) in text.char_indices() {
        depth = match c {
            '(' => depth + 1,
            ')' => depth - 1,
            _ => depth,
        };
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

#[test]
fn every_system_call_goes_through_a_site() {
    goes_through_sites("src/sys");
    goes_through_sites("shm/src/sys");
}

fn goes_through_sites(room: &str) {
    let (proper, table) = (Path::new(room).join("faults"), Path::new(room).join("faults.rs"));
    let injected = |path: &PathBuf| !path.starts_with(&proper) && *path != table;
    // Moments between calls are passed anywhere in the package.
    let package = room.trim_end_matches("/sys");
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for path in files(package, "rs").into_iter().filter(injected) {
        let code = code_only(&read(&path));
        let sites = at_sites(&code);
        used.extend(sites.iter().filter_map(|site| words(&code[site.clone()]).nth(1).map(str::to_owned)));
        if !path.starts_with(room) {
            continue;
        }
        let outside = system_calls(&code).into_iter().filter(|(at, _)| !sites.iter().any(|s| s.contains(at)));
        faults
            .extend(outside.map(|(at, callee)| {
                format!("{}:{} {callee}..)", path.display(), code[..at].lines().count())
            }));
    }
    assert_none(&faults, "system calls that no test can make fail: `at(Site::.., || ..)`");

    let sites = code_only(&read(&Path::new(room).join("site.rs")));
    let sites = within_braces(&sites[sites.find("pub enum Site").expect("the sites")..]);
    let unused: Vec<String> = words(sites).filter(|site| !used.contains(*site)).map(str::to_owned).collect();
    assert_none(&unused, "sites through which no call goes");
}

fn within_braces(text: &str) -> &str {
    let (start, end) = (text.find('{').map_or(0, |at| at + 1), text.find('}').unwrap_or(text.len()));
    &text[start..end]
}

#[test]
fn calls_without_a_site_are_found() {
    let code = "use nix::sys::socket::{SockaddrIn, bind};\nfn f() {\n    at(Site::Bind, || bind(fd.as_raw_fd(), &a))?;\n    \
                bind(fd, &b)?;\n    retry(Site::Receive, |_| unsafe { libc::recv(fd, p, n) });\n    unsafe { libc::read(fd) };\n    \
                self.0.add(fd);\n    fs::remove_file(x);\n    SockaddrIn::from(y);\n}\n";
    let sites = at_sites(code);
    let found = system_calls(code).into_iter().filter(|(at, _)| !sites.iter().any(|s| s.contains(at)));
    assert_eq!(
        found.map(|(_, callee)| callee).collect::<Vec<_>>(),
        ["bind(", "libc::read(", "self.0.add(", "fs::remove_file("]
    );
}

#[test]
fn only_sys_makes_system_calls() {
    const FOREIGN: [&str; 5] = ["libc::", "nix::", "fs::", "TcpStream", "UnixStream"];
    let all = files("src", "rs").into_iter().chain(files("shm/src", "rs"));
    let outside = all.filter(|path| !path.starts_with("src/sys") && !path.starts_with("shm/src/sys"));
    let mut faults = Vec::new();
    for path in outside.filter(|path| !is_primitives(path)) {
        let code = code_only(&read(&path));
        let shipped = |line: usize| is_shipped(&path.to_string_lossy(), &code, line);
        for (number, line) in code.lines().enumerate().filter(|(number, _)| shipped(number + 1)) {
            // What a call has answered may be looked at anywhere.
            let is_answer = line.contains("fs::Metadata") || line.contains("os::unix::fs::MetadataExt");
            let is_foreign = FOREIGN.iter().any(|name| line.contains(name)) && !is_answer;
            faults.extend(is_foreign.then(|| format!("{}:{}", path.display(), number + 1)));
        }
    }
    assert_none(&faults, "files outside src/sys that call the kernel");
}

#[test]
fn only_sys_knows_fault_injection() {
    let all = files("src", "rs").into_iter().chain(files("shm/src", "rs"));
    let outside = all.filter(|path| !path.starts_with("src/sys") && !path.starts_with("shm/src/sys"));
    let knows = outside.filter(|path| {
        let code = code_only(&read(path));
        let inside = predicates(&code).into_iter().flat_map(words).any(|word| word == "linkpoll_faults");
        inside && path != Path::new("src/lib.rs")
    });
    let faults: Vec<String> = knows.map(|path| path.display().to_string()).collect();
    assert_none(&faults, "files outside src/sys that know fault injection");
}

#[test]
fn the_librarys_files_are_short() {
    let long = ["src", "shm/src"].into_iter().flat_map(|room| files(room, "rs")).filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > LONGEST_FILE).then(|| format!("{}: {lines} lines", path.display()))
    });
    assert_none(&long.collect::<Vec<_>>(), &format!("files of more than {LONGEST_FILE} lines"));
}

#[test]
fn shared_state_comes_from_sync() {
    const ROOMS: [&str; 4] = ["std::sync::", "core::sync::", "std::cell::", "core::cell::"];
    const BANNED: [&str; 8] =
        ["atomic", "Arc", "Mutex", "RwLock", "Condvar", "Cell", "RefCell", "UnsafeCell"];
    let mut faults = Vec::new();
    let has_its_own = |path: &Path| is_primitives(path) || path == Path::new(MAPPED_WORDS);
    for path in proved_files().filter(|path| !has_its_own(path)) {
        let code = code_only(&read(&path));
        for (number, line) in code.lines().enumerate() {
            let is_foreign = ROOMS.iter().any(|room| line.contains(room));
            if is_foreign && words(line).any(|word| BANNED.contains(&word)) {
                faults.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert_none(&faults, "atomics, cells or locks of the standard library outside src/sync");
}

#[test]
fn every_ordering_is_explained() {
    let mut faults = Vec::new();
    for path in proved_files().filter(|path| !is_primitives(path)) {
        let text = read(&path);
        let code = code_only(&text);
        for call in atomic_calls(&code) {
            let name = path.to_string_lossy();
            if is_shipped(&name, &code, call.line) && !is_explained(&text, &code, call.line) {
                faults.push(format!("{name}:{} {}", call.line, call.method));
            }
        }
    }
    assert_none(
        &faults,
        &format!("atomic operations without an ORDERING: comment up to {COMMENT_REACH} lines above"),
    );
}

/// Whether an `ORDERING:` comment stands on the line, or above it: in the same function, with at most
/// [`COMMENT_REACH`] lines of code in between. Lines of comment are not counted.
fn is_explained(text: &str, code: &str, line: usize) -> bool {
    let function = enclosing_function(code, line);
    let lines: Vec<&str> = text.lines().collect();
    let mut reach = COMMENT_REACH;
    for number in (1..=line).rev() {
        let above = lines[number - 1].trim();
        if above.contains("ORDERING:") {
            return true;
        }
        if number == line || above.is_empty() || above.starts_with("//") {
            continue;
        }
        if reach == 0 || enclosing_function(code, number) != function {
            return false;
        }
        reach -= 1;
    }
    false
}

#[test]
fn an_explanation_is_found_where_it_may_be() {
    let explained = |text: &str, line| is_explained(text, &code_only(text), line);
    let text = "fn a() {\n    // ORDERING: Release, pairs with\n    // the other.\n    x\n        .store(1, Release);\n}\n\
                fn b() {\n    x.load(Acquire);\n}\n";
    assert!(explained(text, 5));
    assert!(!explained(text, 8));
    let far = format!(
        "fn a() {{\n    // ORDERING: far\n{}    x.load(Acquire);\n}}\n",
        "    y();\n".repeat(COMMENT_REACH + 1)
    );
    assert!(!explained(&far, 10));
}

/// An id of a claim, such as `B-12`: one capital, a dash, a number.
fn claim_ids(text: &str) -> BTreeSet<&str> {
    let bytes = text.as_bytes();
    let starts = text.match_indices('-').filter_map(|(dash, _)| {
        let capital = dash.checked_sub(1).filter(|at| bytes[*at].is_ascii_uppercase())?;
        let alone =
            capital == 0 || !(bytes[capital - 1].is_ascii_alphanumeric() || bytes[capital - 1] == b'-');
        let digits = bytes[dash + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let end = dash + 1 + digits;
        let ends = !bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric());
        (alone && digits > 0 && digits < 4 && ends).then(|| &text[capital..end])
    });
    starts.collect()
}

/// Tests that a claim names: in backquotes, a name of three words or more, or a path that ends in one.
fn named_tests(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|word| {
        let is_path =
            word.chars().all(|c| c == '_' || c == ':' || c.is_ascii_lowercase() || c.is_ascii_digit());
        is_path && word.rsplit("::").next().is_some_and(|name| name.matches('_').count() >= 2)
    })
}

#[test]
fn claims_name_tests_that_exist_and_code_cites_claims_that_exist() {
    let page = root().join("docs/claims.md");
    if !page.exists() {
        return;
    }
    let page = fs::read_to_string(page).unwrap();
    let claims = claim_ids(&page);
    let sources: Vec<(PathBuf, String)> =
        files("", "rs").into_iter().map(|path| (path.clone(), read(&path))).collect();

    let mut functions = BTreeSet::new();
    for (_, text) in &sources {
        let code = code_only(text);
        let mut words = words(&code);
        while words.by_ref().any(|word| word == "fn") {
            functions.extend(words.next().map(str::to_owned));
        }
    }
    let mut faults = Vec::new();
    let mut given = BTreeSet::new();
    let ids = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    for id in ids.filter(|id| id.contains(|c: char| c.is_ascii_digit())) {
        if !given.insert(id) || !claims.contains(id) {
            faults.push(format!("docs/claims.md: `{id}` is no id, or that of another claim, too"));
        }
    }
    for line in page.lines().filter(|line| !claim_ids(line).is_empty()) {
        for test in named_tests(line) {
            let name = test.rsplit("::").next().unwrap();
            if !functions.contains(name) {
                faults.push(format!("docs/claims.md: there is no test `{test}`"));
            }
        }
    }
    for (path, text) in sources.iter().filter(|(path, _)| !path.starts_with("tests/verify")) {
        let cited = claim_ids(text);
        faults.extend(
            cited.difference(&claims).map(|id| format!("{}: cites {id}, which is no claim", path.display())),
        );
    }
    assert_none(&faults, "claims and their proofs have come apart");
}

#[test]
fn claims_are_read_from_tables() {
    let line =
        "| B-1 | no wake is lost | `waker::models::no_wake_lost`, `Waker::wake`, `push` | X-12, UTC-8, A-B |";
    assert_eq!(claim_ids(line), BTreeSet::from(["B-1", "X-12"]));
    assert_eq!(named_tests(line).collect::<Vec<_>>(), ["waker::models::no_wake_lost"]);
}
