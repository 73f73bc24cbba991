//! The examples check themselves; here they are run.

#[path = "../hyper_http.rs"]
#[expect(unreachable_pub, reason = "the file is a program, too")]
mod hyper_http;
#[path = "../tls_echo.rs"]
#[expect(unreachable_pub, reason = "the file is a program, too")]
mod tls_echo;
#[path = "../tokio_echo.rs"]
#[expect(unreachable_pub, dead_code, reason = "the file is a program, too")]
mod tokio_echo;

#[test]
fn http_by_hyper() {
    hyper_http::main().expect("it checks itself");
}

#[test]
fn tls_by_rustls() {
    tls_echo::main().expect("it checks itself");
}

#[test]
fn an_echo_by_tokio() {
    tokio_echo::run_both().expect("it checks itself");
}
