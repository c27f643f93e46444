//! Builds plugins: `cargo run -p hostd-plugin-build --example build -- plugins/ticket`.

use hostd_plugin_build::{Options, build};

fn main() -> anyhow::Result<()> {
    let options = Options {
        verbose: true,
        ..Options::default()
    };
    for directory in std::env::args().skip(1) {
        let plugin = build(&directory, &options)?;
        let file = plugin.write("target/plugins")?;
        println!(
            "{}  {} bytes, built with {}",
            file.display(),
            plugin.component.len(),
            plugin.toolchain
        );
    }
    Ok(())
}
