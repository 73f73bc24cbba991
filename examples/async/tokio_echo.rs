//! The same echo of bytes, on a current-thread tokio runtime, over linkpoll's streams or over tokio's own sockets: to
//! see what the way from a loop to a task and back costs.
//!
//! ```text
//! cargo run --release -p linkpoll-async --example tokio_echo -- linkpoll 127.0.0.1:9000
//! cargo run --release -p linkpoll-async --example tokio_echo -- tokio 127.0.0.1:9001
//! cargo run --release -- load --connect 127.0.0.1:9000 --connections 100
//! ```
//!
//! Without arguments it runs both once, with a few connections, checks them, and ends.

use std::error::Error;
use std::io::{Read as _, Write as _};

use linkpoll::net::{Address, Server};
use linkpoll::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

type Failure = Box<dyn Error + Send + Sync>;

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        match stream.read(&mut bytes).await {
            Ok(n) if n > 0 => {
                if stream.write_all(&bytes[..n]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// A server whose sockets are the loop's, and whose tasks are the runtime's.
fn serve_streams(address: &str, runtime: &Runtime) -> Result<Server, Failure> {
    let spawner = runtime.handle().clone();
    let hand_off = stream::hand_off(move |stream: Stream| drop(spawner.spawn(echo(stream))));
    Ok(Server::builder().loops(1).bind(&Address::resolve(address)?, hand_off)?)
}

/// A server all of which is the runtime's.
async fn serve_sockets(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        // As linkpoll's sockets are.
        drop(stream.set_nodelay(true));
        tokio::spawn(echo(stream));
    }
}

/// Whether bytes come back, on a few connections.
fn check(address: &str) -> Result<(), Failure> {
    for n in 1..=3 {
        let mut client = std::net::TcpStream::connect(address)?;
        let sent = vec![n; 100_000];
        client.write_all(&sent)?;
        let mut echoed = vec![0; sent.len()];
        client.read_exact(&mut echoed)?;
        assert!(echoed == sent);
    }
    Ok(())
}

/// Both, once.
pub fn run_both() -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
    let server = serve_streams("127.0.0.1:0", &runtime)?;
    check(&server.address().to_string())?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?.to_string();
    runtime.spawn(serve_sockets(listener));
    check(&address)?;
    println!("both echo");
    Ok(())
}

/// As the arguments say.
pub fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["linkpoll", address] => {
            let runtime = Builder::new_current_thread().build()?;
            let _server = serve_streams(address, &runtime)?;
            runtime.block_on(std::future::pending::<()>());
        }
        ["tokio", address] => {
            let runtime = Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(async {
                serve_sockets(TcpListener::bind(address).await?).await;
                Ok::<_, Failure>(())
            })?;
        }
        [] => run_both()?,
        _ => return Err("linkpoll ADDRESS, tokio ADDRESS, or nothing".into()),
    }
    Ok(())
}
