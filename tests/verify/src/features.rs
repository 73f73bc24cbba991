//! Every combination of features compiles, without warnings.

use std::collections::BTreeSet;

use crate::cargo::{self, LIMIT, cargo};
use crate::step::{Failure, Request, Result, Shell};

/// The packages that have features to combine.
const PACKAGES: [&str; 2] = ["linkpoll", "linkpoll-experiments"];
/// Up to this many features all subsets are tried; with more, those of one and two, none, and all.
const ALL_SUBSETS: usize = 6;

/// Checks each package with each combination.
pub(crate) fn step(shell: &Shell, request: &Request) -> Result<String> {
    let metadata = cargo::metadata(shell)?;
    let mut checked = 0;
    let mut failures = Vec::new();
    for package in
        metadata.packages.iter().filter(|p| PACKAGES.contains(&p.name.as_str()) && request.admits(&p.name))
    {
        let features: Vec<&str> =
            package.features.keys().map(String::as_str).filter(|&f| f != "default").collect();
        for combination in combinations(&features) {
            let list = combination.join(",");
            let mut command = cargo(&["check", "-p", &package.name, "--no-default-features"]);
            if !list.is_empty() {
                command.args(["--features", &list]);
            }
            let warned = shell.run(command, LIMIT).map(|finished| cargo::has_warnings(&finished.output));
            let fault = match warned {
                Ok(false) => None,
                Ok(true) => Some("warnings"),
                Err(_) => Some("errors"),
            };
            checked += 1;
            failures
                .extend(fault.map(|fault| format!("{} with features [{list}] has {fault}", package.name)));
        }
    }
    match failures.is_empty() {
        _ if checked == 0 => Err(Failure("no package to check".to_owned())),
        true => Ok(format!("{checked} combinations")),
        false => Err(Failure(failures.join("; "))),
    }
}

fn combinations<'a>(features: &[&'a str]) -> BTreeSet<Vec<&'a str>> {
    let n = features.len();
    if n <= ALL_SUBSETS {
        let chosen = |bits: usize| (0..n).filter(|i| bits & (1 << i) != 0).map(|i| features[i]).collect();
        return (0..1_usize << n).map(chosen).collect();
    }
    let pairs = (0..n).flat_map(|a| (a..n).map(move |b| (a, b)));
    pairs
        .map(|(a, b)| if a == b { vec![features[a]] } else { vec![features[a], features[b]] })
        .chain([Vec::new(), features.to_vec()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::combinations;

    #[test]
    fn few_features_give_all_subsets() {
        assert_eq!(combinations(&[]).len(), 1);
        assert_eq!(combinations(&["a", "b", "c"]).len(), 8);
    }

    #[test]
    fn many_features_give_pairs() {
        // none, 7 alone, 21 pairs, all.
        assert_eq!(combinations(&["a", "b", "c", "d", "e", "f", "g"]).len(), 30);
    }
}
