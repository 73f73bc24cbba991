//! TLS with rustls over streams: an echo server and a client, with a certificate made for this run.

use std::error::Error;
use std::sync::Arc;

use linkpoll::net::{Address, Loops, Server};
use linkpoll::stream::{self, Options, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Failure = Box<dyn Error + Send + Sync>;

/// A server and a client that trust each other.
fn configurations() -> Result<(TlsAcceptor, TlsConnector), Failure> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key.into())?;
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok((Arc::new(server).into(), Arc::new(client).into()))
}

async fn echo(acceptor: TlsAcceptor, stream: Stream) -> Result<(), Failure> {
    let (mut from, mut to) = tokio::io::split(acceptor.accept(stream).await?);
    tokio::io::copy(&mut from, &mut to).await?;
    // The goodbye of TLS, then the end of our direction.
    to.shutdown().await?;
    Ok(())
}

/// Serves, asks, checks and ends.
pub fn main() -> Result<(), Failure> {
    let (acceptor, connector) = configurations()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let spawner = runtime.handle().clone();
    let serve = stream::hand_off(move |stream: Stream| {
        let acceptor = acceptor.clone();
        spawner.spawn(async move {
            if let Err(error) = echo(acceptor, stream).await {
                eprintln!("a connection ended: {error}");
            }
        });
    });
    let server = Server::builder().loops(1).bind(&Address::resolve("127.0.0.1:0")?, serve)?;
    let clients = Loops::builder().loops(1).start()?;

    let message: Vec<u8> = (0..1_u32 << 20).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let echoed = runtime.block_on(async {
        let stream = clients.dialer().dial_stream([server.address().clone()], Options::default()).await?;
        let tls = connector.connect(ServerName::try_from("localhost")?, stream).await?;
        let (mut from, mut to) = tokio::io::split(tls);
        let send = async {
            to.write_all(&message).await?;
            to.shutdown().await
        };
        let mut echoed = Vec::new();
        tokio::try_join!(send, from.read_to_end(&mut echoed))?;
        Ok::<_, Failure>(echoed)
    })?;
    assert!(echoed == message);
    println!("{} bytes came back through TLS", echoed.len());
    // Before the server, which waits for the streams in its tasks.
    drop(runtime);
    Ok(())
}
