//! The raw numbers of a run, kept as JSON.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::measure::Window;
use super::row::Row;
use crate::environment::Environment;
use crate::error::LabError;

/// Everything a run found out.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    pub(crate) unix_time: u64,
    pub(crate) quick: bool,
    pub(crate) environment: &'a Environment,
    /// Where processor times come from.
    pub(crate) cpu_time: &'static str,
    pub(crate) warmup_seconds: f64,
    pub(crate) window_seconds: f64,
    pub(crate) rows: &'a [Row],
    pub(crate) windows: &'a [Window],
}

/// A file that is opened before the run, so that a path that cannot be written costs no minutes.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    file: File,
}

impl Destination {
    /// Opens `path`, by default a file under `target/lab` named after the time.
    ///
    /// # Errors
    /// The file or its directory cannot be created.
    pub(crate) fn open(path: Option<&PathBuf>, unix_time: u64) -> Result<Self, LabError> {
        let path = match path {
            Some(path) => path.clone(),
            None => {
                fs::create_dir_all("target/lab").map_err(LabError::system("create target/lab"))?;
                PathBuf::from(format!("target/lab/run-{unix_time}.json"))
            }
        };
        let file = File::create(&path).map_err(LabError::system(format!("create {}", path.display())))?;
        Ok(Self { path, file })
    }

    /// Writes the record and returns where it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(self, record: &Record<'_>) -> Result<PathBuf, LabError> {
        let what = format!("write {}", self.path.display());
        let mut output = BufWriter::new(self.file);
        serde_json::to_writer_pretty(&mut output, record).map_err(LabError::system(what.clone()))?;
        output.flush().map_err(LabError::system(what))?;
        Ok(self.path)
    }

    /// Removes the empty file of a run that failed.
    pub(crate) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}
