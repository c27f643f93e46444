//! `hostctl`, the command line of hostd. See [`hostd_client::cli`].

fn main() -> std::process::ExitCode {
    hostd_client::cli::main()
}
