//! Shows that every memory ordering of the packages with models is needed.
//!
//! Each atomic operation that a model reaches is made one step weaker, one at a time, in the same test programs. A
//! weakening that breaks a model is *killed*: the model proves that the ordering is needed. One that breaks none
//! *survives*, and must be listed with its reason. Atomic operations that no model reaches are failures too.

mod run;
mod site;
mod source;
mod survivors;
mod verdict;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cargo;
use crate::loom::Models;
use crate::parallel;
use crate::step::{Context as _, Failure, Request, Result, Shell};
use run::{Fate, Recording};
use site::{Name, Order, Site};
use source::Sources;
use survivors::{LIST, Weakening};
use verdict::Verdict;

/// A weakening to try.
struct Mutant<'a> {
    site: &'a Site,
    weaker: Order,
    weakening: Weakening,
}

/// Tries all weakenings of the sites whose file or function the filters admit.
pub(crate) fn step(shell: &Shell, request: &Request) -> Result<String> {
    let listed = survivors::read(Path::new(LIST))?;
    let sources = Sources::read()?;
    let models = Models::build(shell)?;
    let recordings = record(shell, &models)?;
    let recorded: BTreeSet<Site> =
        recordings.iter().flat_map(|recording| recording.sites.iter().cloned()).collect();
    let mut sites = sources.names(recorded.iter().filter(|site| sources.ships(site)));
    sites.retain(|_, name| request.admits(&name.to_string()));

    let mutants: Vec<Mutant<'_>> = sites.iter().flat_map(|(site, name)| mutants(site, name)).collect();
    let fates = parallel::map(&mutants, |mutant| {
        let reaching: Vec<&Recording> = recordings.iter().filter(|r| r.sites.contains(mutant.site)).collect();
        run::attempt(&models, &reaching, mutant.site, mutant.weaker)
    });
    let fates: Vec<Fate> = fates.into_iter().collect::<Result<_>>()?;
    show(shell, &mutants, &fates);

    let mut verdict = Verdict::default();
    for (mutant, fate) in mutants.iter().zip(&fates) {
        verdict.add(mutant, fate, &listed);
    }
    let tried: BTreeSet<&Weakening> = mutants.iter().map(|mutant| &mutant.weakening).collect();
    verdict
        .stale
        .extend(listed.keys().filter(|w| request.admits(&w.name.to_string()) && !tried.contains(w)).cloned());
    verdict.unreached = sources.unreached(&recorded);
    verdict.unreached.retain(|place| request.admits(place));
    verdict.show(shell);

    let summary = format!("{} sites, {} weakenings, {verdict}", sites.len(), mutants.len());
    if verdict.is_green() { Ok(summary) } else { Err(Failure(summary)) }
}

fn mutants<'a>(site: &'a Site, name: &Name) -> impl Iterator<Item = Mutant<'a>> {
    site.weaker().iter().map(move |&weaker| {
        let mutation = format!("{}->{weaker}", site.order);
        Mutant { site, weaker, weakening: Weakening { name: name.clone(), mutation } }
    })
}

/// Every model's sites, the cheapest model first.
fn record(shell: &Shell, models: &Models) -> Result<Vec<Recording>> {
    let directory = cargo::scratch("loom").join("ledger");
    // What an earlier build recorded must not be mistaken for this one's; there may be nothing to remove.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).context(directory.display())?;
    let tests = models.list(shell)?;
    let results = parallel::map(&tests, |test| {
        let recording = run::record(models, test, &directory)?;
        run::control(models, &recording)?;
        Ok(recording)
    });
    let mut recordings = Vec::new();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(recording) => recordings.push(recording),
            Err(Failure(text)) => failures.push(text),
        }
    }
    if !failures.is_empty() {
        failures.iter().for_each(|failure| shell.detail(failure));
        return Err(Failure(format!("{} models fail without a weakening: {}", failures.len(), failures[0])));
    }
    recordings.sort_by_key(|recording| recording.elapsed);
    for recording in &recordings {
        let (test, sites, ms) = (&recording.test, recording.sites.len(), recording.elapsed.as_millis());
        shell.detail(&format!("recorded {test}: {sites} sites, {ms} ms"));
    }
    Ok(recordings)
}

fn show(shell: &Shell, mutants: &[Mutant<'_>], fates: &[Fate]) {
    for (mutant, fate) in mutants.iter().zip(fates) {
        let fate = match fate {
            Fate::Killed { test, cause } => format!("killed by {test} ({cause})"),
            Fate::Survived => "survived".to_owned(),
            Fate::TimedOut { test } => format!("timed out in {test}"),
        };
        shell.detail(&format!("{:<70} {fate}", mutant.weakening.to_string()));
    }
}
