//! Copies a file from one thread to another: `cargo run --release --example pipe_file -- FROM TO`.
//!
//! One thread reads into pooled blocks, the other writes what arrives, as many pieces at a time as one call takes.
//! Between them is a `LinkBuffer`, through which the blocks go without being copied. Neither end ever waits inside of
//! it; they sleep by `park` and wake each other by `unpark`, whose token is sticky: an `unpark` that comes before the
//! `park` ends it at once, so no wake-up is lost between looking and sleeping.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::{self, Thread};

use linkpoll::buffer::{BlockPool, Chain, LinkBuffer, LinkReader, LinkWriter, PoolOptions, Refill, Tail};

/// The size of a block, and of a read.
const BLOCK: usize = 64 << 10;
/// While so many bytes are on their way, no more are read.
const HIGH_WATER: u64 = 1 << 20;
/// Pieces handed to one call.
const PIECES: usize = 64;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(bytes) => {
            println!("{bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pipe_file: {error}");
            ExitCode::from(if matches!(error, Failure::Usage) { 2 } else { 1 })
        }
    }
}

#[derive(Debug)]
pub(crate) enum Failure {
    Usage,
    SameFile,
    Open(PathBuf, io::Error),
    Read(io::Error),
    Write(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage => f.write_str("usage: pipe_file FROM TO"),
            Self::SameFile => f.write_str("FROM and TO are the same file"),
            Self::Open(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Read(error) => write!(f, "reading: {error}"),
            Self::Write(error) => write!(f, "writing: {error}"),
        }
    }
}

/// Copies the first file named to the second, and answers how many bytes that were.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<u64, Failure> {
    let (Some(from), Some(to), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(Failure::Usage);
    };
    let (from, to) = (PathBuf::from(from), PathBuf::from(to));
    let input = File::open(&from).map_err(|error| Failure::Open(from.clone(), error))?;
    if is_same(&input, &to) {
        return Err(Failure::SameFile);
    }
    let output = File::create(&to).map_err(|error| Failure::Open(to, error))?;
    pipe(input, output)
}

/// Whether writing to the path would overwrite what is being read.
fn is_same(input: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    input
        .metadata()
        .map(identity)
        .ok()
        .is_some_and(|input| fs::metadata(path).map(identity).ok() == Some(input))
}

/// Reads on this thread and writes on another.
fn pipe(input: impl Read, output: impl Write + Send) -> Result<u64, Failure> {
    let (sender, receiver) = LinkBuffer::new();
    let reading = thread::current();
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let result = drain(receiver, output, &reading);
            // The receiving end is gone now; the other side must see that.
            reading.unpark();
            result
        });
        let read = feed(input, sender, writing.thread());
        // The sending end is gone now, too.
        writing.thread().unpark();
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Who failed first is why the other one stopped.
        match (read, written) {
            (Err(error), _) => Err(Failure::Read(error)),
            (Ok(()), Err(error)) => Err(Failure::Write(error)),
            (Ok(()), Ok(bytes)) => Ok(bytes),
        }
    })
}

/// Sends everything there is to read. Ends early, and without complaint, when nobody receives any more.
fn feed(mut input: impl Read, mut sender: LinkWriter, receiver: &Thread) -> io::Result<()> {
    let pool = BlockPool::new(PoolOptions::default());
    let mut tail = pool.allocate(BLOCK)?;
    loop {
        while sender.unconsumed() >= HIGH_WATER && !sender.is_reader_gone() {
            thread::park();
        }
        if tail.is_empty() && !tail.reset() {
            tail = pool.allocate(BLOCK)?;
        }
        let n = read_some(&mut input, &mut tail)?;
        if n == 0 {
            sender.finish();
            return Ok(());
        }
        let mut chain = Chain::new();
        chain.push_written(&mut tail, n);
        if sender.push(chain).is_err() {
            return Ok(());
        }
        receiver.unpark();
    }
}

/// Reads into the unwritten part of a block.
fn read_some(input: &mut impl Read, tail: &mut Tail) -> io::Result<usize> {
    loop {
        match input.read(tail.spare()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes everything that arrives, and answers how many bytes that were.
fn drain(mut receiver: LinkReader, mut output: impl Write, sender: &Thread) -> io::Result<u64> {
    let mut total = 0;
    loop {
        // A severed stream means that reading has failed, which the other side reports.
        let Ok(found) = receiver.refill() else { return Ok(total) };
        total += write_all(receiver.unread(), &mut output)?;
        receiver.release();
        sender.unpark();
        match found {
            Refill::Complete(_) => return output.flush().map(|()| total),
            Refill::Open(0) => thread::park(),
            Refill::Open(_) => {}
        }
    }
}

/// Writes and consumes a whole chain, several pieces at a time.
fn write_all(chain: &mut Chain, output: &mut impl Write) -> io::Result<u64> {
    let total = chain.len() as u64;
    while !chain.is_empty() {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let filled = chain.io_slices(&mut pieces);
        let n = match output.write_vectored(&pieces[..filled]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        chain.skip(n).map_err(io::Error::other)?;
    }
    Ok(total)
}
