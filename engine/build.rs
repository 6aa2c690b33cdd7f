//! The standard library offers AVX-512 from Rust 1.89 on: an older one builds the engine without most of `simd/gcm`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_avx512)");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") && minor().is_some_and(|it| it >= 89) {
        println!("cargo::rustc-cfg=has_avx512");
    }
}

/// The 89 of `rustc 1.89.0 (..)`; None when it cannot be told.
fn minor() -> Option<u32> {
    let output = Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.split('.').nth(1)?.parse().ok()
}
