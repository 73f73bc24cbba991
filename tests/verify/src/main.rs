//! `cargo verify` and the suites it is made of; see the library for what they do.

fn main() -> std::process::ExitCode {
    linkpoll_verify::main()
}
