//! `ringway demo`: two sample services and the gateway in front of them, in one process.

mod orders;
mod running;
mod sample;
mod users;

use crate::Exit;

/// Arguments of `ringway demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Port of the gateway
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    let a = running::Running::start("users", running::bind(8081).unwrap(), users::app());
    let b = running::Running::start("orders", running::bind(8082).unwrap(), orders::app());
    eprintln!("{}", arguments.port);
    std::thread::park();
    drop((a, b));
    Exit::Done
}
