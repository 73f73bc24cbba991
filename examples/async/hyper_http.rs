//! HTTP/1.1 with hyper over streams: a server and a client, both on linkpoll's loops, their tasks on tokio.
//!
//! tokio brings the executor only; sockets, buffers and wake-ups are linkpoll's.

use std::convert::Infallible;
use std::error::Error;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use linkpoll::net::{Address, Loops, Server};
use linkpoll::stream::{self, Options, Stream};

/// Answers each request with its body, in capital letters.
async fn shout(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes().to_ascii_uppercase(),
        Err(error) => error.to_string().into_bytes(),
    };
    Ok(Response::new(Full::from(body)))
}

/// Serves, asks, checks and ends.
pub fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let spawner = runtime.handle().clone();
    let serve = stream::hand_off(move |stream: Stream| {
        spawner.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            if let Err(error) = connection.serve_connection(TokioIo::new(stream), service_fn(shout)).await {
                eprintln!("a connection ended: {error}");
            }
        });
    });
    let server = Server::builder().loops(1).bind(&Address::resolve("127.0.0.1:0")?, serve)?;
    let clients = Loops::builder().loops(1).start()?;

    let answers = runtime.block_on(async {
        let address = server.address().clone();
        let stream = clients.dialer().dial_stream([address], Options::default()).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut answers = Vec::new();
        for body in ["hello".to_owned(), "x".repeat(1 << 20)] {
            let request = Request::post("/").header("host", "example").body(Full::<Bytes>::from(body))?;
            let answer = sender.send_request(request).await?;
            assert_eq!(answer.status(), StatusCode::OK);
            answers.push(answer.into_body().collect().await?.to_bytes());
        }
        drop(sender);
        connection.await??;
        Ok::<_, Box<dyn Error + Send + Sync>>(answers)
    })?;
    assert_eq!(answers[0], "HELLO");
    assert!(answers[1].len() == 1 << 20 && answers[1].iter().all(|byte| *byte == b'X'));
    println!("two answers, of {} and {} bytes", answers[0].len(), answers[1].len());

    server.stopper().stop();
    // Its connections end by themselves, but their tasks have to run for that.
    runtime.block_on(async { tokio::task::spawn_blocking(move || server.join()).await })??;
    Ok(())
}
