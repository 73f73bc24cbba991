//! What an idle connection costs: resident memory of a server, and its CPU time, with thousands of connections that
//! have each made one request and then nothing. `cargo bench --bench idle_memory`.
//!
//! The server is a child process, so that only its memory is seen. A first batch of connections warms it up; what
//! counts is the growth with the second.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use linkpoll::net::{Address, Server};
use linkpoll::service::{Frame, Framed, Peer};

const WARM_UP: usize = 400;
const MEASURED: usize = 9_500;
const IDLE: Duration = Duration::from_secs(3);

fn main() -> io::Result<()> {
    if std::env::args().any(|argument| argument == "serve") {
        return serve();
    }
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let result = measure(&mut child);
    child.kill()?;
    child.wait()?;
    result
}

fn serve() -> io::Result<()> {
    let server = Server::builder().loops(1).bind(&Address::resolve("127.0.0.1:0")?, |_: &Peer| {
        Framed::new(Frame::default(), |request, reply| {
            for piece in request.pieces() {
                reply.write(piece)?;
            }
            Ok(())
        })
    })?;
    println!("{}", server.address());
    server.join()
}

fn measure(child: &mut Child) -> io::Result<()> {
    let output = child.stdout.take().ok_or_else(|| io::Error::other("the child has no output"))?;
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    let address = address.trim();
    let mut connections = Vec::new();
    for _ in 0..WARM_UP {
        connections.push(connect(address)?);
    }
    let before = resident_bytes(child.id())?;
    for _ in 0..MEASURED {
        connections.push(connect(address)?);
    }
    thread::sleep(Duration::from_millis(200));
    let after = resident_bytes(child.id())?;
    let busy = cpu_ticks(child.id())?;
    thread::sleep(IDLE);
    let busy = cpu_ticks(child.id())? - busy;
    println!("{MEASURED} idle connections after one request each (1 KiB)");
    println!("resident memory: {before} bytes before, {after} after");
    println!("growth per connection: {} bytes", after.saturating_sub(before) / MEASURED as u64);
    println!("CPU while idle for {} s: {busy} clock ticks", IDLE.as_secs());
    Ok(())
}

/// Connects, makes one request and reads the reply.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let mut request = 1024_u32.to_be_bytes().to_vec();
    request.resize(4 + 1024, 7);
    stream.write_all(&request)?;
    let mut reply = vec![0; request.len()];
    stream.read_exact(&mut reply)?;
    assert_eq!(reply, request, "the reply is the request");
    Ok(stream)
}

/// The resident set of a process (proc(5), `VmRSS`).
fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    kilobytes.map(|n| n * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// User and system time of a process (proc(5), `stat`), in clock ticks.
fn cpu_ticks(process: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    Ok(fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}
