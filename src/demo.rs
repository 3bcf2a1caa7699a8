//! `ringway demo`: two sample services and the gateway in front of them, in one process.

mod orders;
mod running;
mod sample;
mod tokens;
mod tries;
mod users;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use ringway_engine::gateway;

use crate::Exit;
use crate::file;
use crate::logging;
use crate::paint::{Paint, err, out};
use running::Running;

/// Arguments of `ringway demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Starts a user service, an order service and the gateway in front of them, all on 127.0.0.1, and
prints commands to try. Nothing is written to disk. Ctrl-C ends it.

The gateway serves config/examples/demo.yaml: a good file to start your own from.")]
pub(crate) struct Arguments {
    /// Port of the gateway; 0 takes any free one, here and below
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the sample user service
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    user_port: u16,
    /// Port of the sample order service
    #[arg(long, value_name = "PORT", default_value_t = 8082)]
    order_port: u16,
}

/// The file that the demo serves, with its three ports left to variables.
const FILE: &str = include_str!("../config/examples/demo.yaml");

/// Runs the demo until Ctrl-C or SIGTERM.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let log = ringway_config::Log { level: ringway_config::Level::Warn, ..Default::default() };
    let served = logging::start(&log).map_err(Failure::Log).and_then(|_flushed_at_the_end| {
        let demo = Demo::start(arguments)?;
        demo.gateway.stop_on_signals().map_err(Failure::Thread)?;
        out(demo.welcome(Paint::stdout()));
        demo.wait()?;
        out("\nThe demo has ended.\n");
        Ok(())
    });
    match served {
        Ok(()) => Exit::Done,
        Err(failure) => {
            err(format_args!("{}: {failure}\n", Paint::stderr().bad("error")));
            Exit::Failed
        }
    }
}

/// Services and gateway, all answering.
struct Demo {
    gateway: gateway::Running,
    /// Where the gateway listens.
    address: SocketAddr,
    users: Running,
    orders: Running,
}

impl Demo {
    /// Takes all three ports before anything is started, so that a demo starts whole or not at all.
    fn start(arguments: &Arguments) -> Result<Demo, Failure> {
        let users = bind("user service", "--user-port", arguments.user_port)?;
        let orders = bind("order service", "--order-port", arguments.order_port)?;
        // A gateway shares its port among its workers (SO_REUSEPORT), and so would join another
        // gateway of ours on the same port without an error. A plain listener does not.
        let probe = bind("gateway", "--port", arguments.port)?;
        let address = probe.local_addr().map_err(Failure::Thread)?;
        drop(probe);

        let secret = tokens::new_secret().map_err(Failure::Thread)?;
        let signer = tokens::Signer::new(&secret);
        let users = Running::start("user-service", users, users::app(signer));
        let users = users.map_err(Failure::Thread)?;
        let orders =
            Running::start("order-service", orders, orders::app()).map_err(Failure::Thread)?;
        let variable = |name: &str| match name {
            "DEMO_PORT" => Some(address.port().to_string()),
            "DEMO_USER_PORT" => Some(users.address().port().to_string()),
            "DEMO_ORDER_PORT" => Some(orders.address().port().to_string()),
            "DEMO_SECRET" => Some(secret.clone()),
            _ => None,
        };
        let loaded = ringway_config::load_str("demo.yaml", FILE, &variable);
        let opened = file::build(loaded).map_err(|wrong| Failure::File(wrong.to_string()))?;
        let gateway = gateway::start(opened.snapshot).map_err(Failure::Gateway)?;
        Ok(Demo { gateway, address, users, orders })
    }

    /// What runs where, and what to try.
    fn welcome(&self, paint: Paint) -> String {
        let tries: String = tries::all(self.address)
            .iter()
            .map(|one| {
                let command = one.command.replace('\n', "\n  ");
                format!("  {}\n  {command}\n\n", paint.faint(format!("# {}", one.what)))
            })
            .collect();
        format!(
            "\
{title}

  gateway        {gateway}
  user service   http://{users}
  order service  http://{orders}

{invitation}

{tries}The file behind it: config/examples/demo.yaml. Ctrl-C ends the demo.
",
            title = paint.strong("Ringway demo"),
            gateway = paint.good(format_args!("http://{}", self.address)),
            users = self.users.address(),
            orders = self.orders.address(),
            invitation = paint.strong("Try in another terminal:"),
        )
    }

    /// Waits until the gateway has ended, and only then ends the services: what it still serves
    /// needs them.
    fn wait(self) -> Result<(), Failure> {
        let Demo { gateway, users, orders, .. } = self;
        let served = gateway.wait().map_err(Failure::Gateway);
        drop((users, orders));
        served
    }
}

/// Takes `port` on loopback for `who`; `flag` is how another one is chosen.
fn bind(who: &'static str, flag: &'static str, port: u16) -> Result<TcpListener, Failure> {
    // A sample service is for this machine only.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| Failure::Port {
        port,
        who,
        flag,
        error,
    })
}

/// Why there is no demo.
#[derive(Debug)]
enum Failure {
    Port { port: u16, who: &'static str, flag: &'static str, error: io::Error },
    Log(String),
    Thread(io::Error),
    File(String),
    Gateway(gateway::StartError),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Port { port, who, flag, error } => {
                let reason = match error.kind() {
                    io::ErrorKind::AddrInUse => "another program has it".to_owned(),
                    io::ErrorKind::PermissionDenied => "ports below 1024 are for root".to_owned(),
                    _ => error.to_string(),
                };
                write!(
                    out,
                    "the {who} needs port {port} of 127.0.0.1, but {reason}\n\n  \
                     Choose another port:  ringway demo {flag} {}\n  \
                     Or any free one:      ringway demo {flag} 0",
                    another(*port)
                )
            }
            Failure::Thread(error) => write!(out, "the demo could not be started: {error}"),
            Failure::Gateway(error) => error.fmt(out),
            Failure::Log(message) | Failure::File(message) => out.write_str(message),
        }
    }
}

/// A port that is likely to be free, and easily remembered beside the one that is not.
fn another(port: u16) -> u16 {
    port.checked_add(10_000).unwrap_or_else(|| port - 10_000)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn another_port_is_one_for_every_port() {
        for port in 0..=u16::MAX {
            assert_ne!(another(port), port);
        }
    }

    const ANY_PORTS: Arguments = Arguments { port: 0, user_port: 0, order_port: 0 };

    /// In one shell, as a newcomer would: a later command uses what an earlier one has kept.
    #[test]
    fn every_command_that_the_demo_prints_works() {
        let demo = Demo::start(&ANY_PORTS).unwrap_or_else(|failure| panic!("{failure}"));
        let welcome = demo.welcome(Paint::PLAIN);
        let mut kept = String::new();
        for one in tries::all(demo.address) {
            assert!(welcome.contains(&one.command.replace('\n', "\n  ")));
            let script = format!("{kept}{}", one.command);
            let ran = Command::new("sh").args(["-c", &script]).output().expect("a shell");
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(ran.status.success(), "{}: {ran:?}", one.command);
            assert!(said.contains(one.shows), "{}\n{said}\nlacks {}", one.command, one.shows);
            if one.keeps {
                kept += &format!("{}\n", one.command);
            }
        }
        demo.gateway.stop();
        demo.wait().expect("a demo that ends well");
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_need_and_its_flag() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("an address").port();
        for (arguments, who, flag) in [
            (Arguments { port, ..ANY_PORTS }, "gateway", "--port"),
            (Arguments { user_port: port, ..ANY_PORTS }, "user service", "--user-port"),
            (Arguments { order_port: port, ..ANY_PORTS }, "order service", "--order-port"),
        ] {
            let failure = Demo::start(&arguments).err().expect("the port is taken").to_string();
            for part in [who, &port.to_string(), "another program has it", &format!("demo {flag} ")]
            {
                assert!(failure.contains(part), "{failure}");
            }
        }
    }
}
