//! The raw numbers of a run, kept as JSON.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
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

/// Where a record goes. It is tried before the run, so that a path that cannot be written costs no minutes, and
/// written after it, so that a run that fails leaves nothing behind and harms no earlier record.
#[derive(Debug)]
pub(crate) struct Destination(PathBuf);

impl Destination {
    /// Tries `path`, by default a file under `target/lab` named after the time.
    ///
    /// # Errors
    /// The file or its directory cannot be created or written.
    pub(crate) fn prepare(path: Option<&PathBuf>, unix_time: u64) -> Result<Self, LabError> {
        let path = match path {
            Some(path) => path.clone(),
            None => {
                let what = "create target/lab (--json FILE names another place)";
                fs::create_dir_all("target/lab").map_err(LabError::system(what))?;
                PathBuf::from(format!("target/lab/run-{unix_time}.json"))
            }
        };
        let what = format!("create {}", path.display());
        match File::create_new(&path) {
            Ok(_) => fs::remove_file(&path).map_err(LabError::system(what))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                drop(File::options().write(true).open(&path).map_err(LabError::system(what))?);
            }
            Err(error) => return Err(LabError::system(what)(error)),
        }
        Ok(Self(path))
    }

    /// Writes the record and returns where it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(self, record: &Record<'_>) -> Result<PathBuf, LabError> {
        let what = format!("write {}", self.0.display());
        let mut output = BufWriter::new(File::create(&self.0).map_err(LabError::system(what.clone()))?);
        serde_json::to_writer_pretty(&mut output, record).map_err(LabError::system(what.clone()))?;
        output.flush().map_err(LabError::system(what))?;
        Ok(self.0)
    }
}
