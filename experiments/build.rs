//! Records which compiler built `lab`, because a measurement without it cannot be repeated.

use std::process::Command;

fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo:rustc-env=LAB_RUSTC={}", version.as_deref().map_or("unknown", str::trim));
    println!("cargo:rerun-if-changed=build.rs");
}
