//! The gateways that are compared, each with a configuration for the same work.

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod ringway;
mod traefik;
mod varnish;

use std::env;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::reload::{NUMBER, Reload};

/// What a gateway is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Pass requests on, with the usual forwarding fields and a request id.
    Proxy,
    /// What a gateway does: a thousand routes, a token checked, a rate limited, headers changed,
    /// an access log in a file, metrics counted.
    Gateway,
}

/// How a gateway is set up for one row.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) duty: Duty,
    /// An access log also where the duty does not ask for one.
    pub(super) access_log: bool,
    /// It will be told to read its configuration again.
    pub(super) reloads: bool,
    /// Descriptors that a process may have.
    pub(super) descriptors: u64,
    pub(super) listen: SocketAddr,
    pub(super) origin: SocketAddr,
    pub(super) cores: Vec<usize>,
    /// For configuration, logs and whatever else it writes.
    pub(super) folder: PathBuf,
}

impl Setup {
    pub(super) fn workers(&self) -> usize {
        self.cores.len()
    }

    /// Where the access log goes, if there is to be one.
    fn log(&self) -> Option<PathBuf> {
        let wanted = self.access_log || self.duty == Duty::Gateway;
        wanted.then(|| self.folder.join("access.log"))
    }

    /// Writes a file that is to be watched into a folder of its own, where no log wakes who
    /// watches; its path. It gets a number that no reload will have.
    fn write_watched(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(self.folder.join("watched"))?;
        self.write(&format!("watched/{name}"), &text.replace(NUMBER, "1000000"))
    }

    /// Writes a file into the folder; its path.
    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// What starts a gateway, and what it was told.
pub(super) struct Prepared {
    pub(super) command: Command,
    /// The configuration, to be shown.
    pub(super) file: PathBuf,
    /// What it lacks of the duty, in words; empty for nothing.
    pub(super) lacks: &'static str,
    /// How it is told to read its configuration again, if it was set up for that.
    pub(super) reload: Option<Reload>,
}

/// The secret that tokens of the gateway duty are signed with (HS256).
pub(super) const SECRET: &str = "a-secret-of-the-comparison-0123456789abcdef";

/// Routes of the gateway duty.
pub(super) const ROUTES: usize = 1000;

/// A kind of gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    RingwayRing,
    RingwayEpoll,
    Nginx,
    Haproxy,
    Envoy,
    Traefik,
    Caddy,
    Varnish,
    /// The bare relay, which does nothing of HTTP.
    Floor,
}

/// All kinds, in the order of reports, by name.
const KINDS: [(&str, Kind); 9] = [
    ("ringway", Kind::RingwayRing),
    ("ringway-epoll", Kind::RingwayEpoll),
    ("nginx", Kind::Nginx),
    ("haproxy", Kind::Haproxy),
    ("envoy", Kind::Envoy),
    ("traefik", Kind::Traefik),
    ("caddy", Kind::Caddy),
    ("varnish", Kind::Varnish),
    ("floor", Kind::Floor),
];

/// A gateway that is there.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its name in reports: that of its kind, or the one given with `--peer`.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) program: PathBuf,
    pub(super) version: String,
}

impl Peer {
    /// All that are found on the PATH and beside it, and those named as `name=path`; the second
    /// list says who is missing.
    ///
    /// # Errors
    /// When a name is of no known kind, or its program is not there.
    pub(super) fn find(named: &[String]) -> Result<(Vec<Peer>, Vec<&'static str>), String> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for (name, kind) in KINDS {
            let given = named.iter().filter_map(|named| named.split_once('='));
            let mut given = given.filter(|(given, _)| kind_of(given) == Some(kind)).peekable();
            // Ratios are to this program, so another Ringway comes beside it, not instead.
            let beside = matches!(kind, Kind::RingwayRing | Kind::RingwayEpoll)
                && given.clone().all(|(given, _)| given != name);
            if beside || given.peek().is_none() {
                match kind.look_up() {
                    Some(program) => found.push(Peer::new(name.to_owned(), kind, program)),
                    None => missing.push(name),
                }
            }
            for (name, path) in given {
                if !Path::new(path).is_file() {
                    return Err(format!("--peer {name}={path}: there is no such program"));
                }
                found.push(Peer::new(name.to_owned(), kind, path.into()));
            }
        }
        let unknown = named
            .iter()
            .find(|named| named.split_once('=').is_none_or(|(name, _)| kind_of(name).is_none()));
        if let Some(unknown) = unknown {
            let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "--peer {unknown}: write NAME=PATH, with a name that begins with one of {}",
                names.join(", ")
            ));
        }
        Ok((found, missing))
    }

    fn new(name: String, kind: Kind, program: PathBuf) -> Peer {
        let version = kind.version(&program);
        Peer { name, kind, program, version }
    }

    /// Why it cannot take part in a row at all.
    pub(super) fn cannot(&self, duty: Duty, workers: usize) -> Option<&'static str> {
        match self.kind {
            Kind::Floor if duty == Duty::Gateway => Some("it knows nothing of HTTP"),
            Kind::Floor if workers > 1 => Some("it has one worker"),
            _ => None,
        }
    }

    /// Writes its configuration and makes the command that starts it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn prepare(&self, setup: &Setup) -> io::Result<Prepared> {
        match self.kind {
            Kind::RingwayRing => ringway::prepare(&self.program, setup, "io_uring"),
            Kind::RingwayEpoll => ringway::prepare(&self.program, setup, "epoll"),
            Kind::Nginx => nginx::prepare(&self.program, setup),
            Kind::Haproxy => haproxy::prepare(&self.program, setup),
            Kind::Envoy => envoy::prepare(&self.program, setup),
            Kind::Traefik => traefik::prepare(&self.program, setup),
            Kind::Caddy => caddy::prepare(&self.program, setup),
            Kind::Varnish => varnish::prepare(&self.program, setup),
            Kind::Floor => floor(&self.program, setup),
        }
    }
}

/// The relay takes two addresses and a core; there is nothing to configure.
fn floor(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let arguments = format!("{} {} {}", setup.listen, setup.origin, setup.cores[0]);
    let file = setup.write("floor.txt", &format!("floor {arguments}\n"))?;
    let mut command = Command::new(program);
    command.args(arguments.split(' '));
    Ok(Prepared { command, file, lacks: "everything of HTTP", reload: None })
}

/// A port of loopback that nobody has now.
pub(super) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// `nginx`, and also `nginx-1.30`.
fn kind_of(name: &str) -> Option<Kind> {
    let exact = KINDS.iter().find(|(known, _)| *known == name);
    let begins = || KINDS.iter().filter(|(known, _)| name.starts_with(&format!("{known}-")));
    exact.or_else(|| begins().max_by_key(|(known, _)| known.len())).map(|(_, kind)| *kind)
}

impl Kind {
    fn look_up(self) -> Option<PathBuf> {
        let program = match self {
            Kind::RingwayRing | Kind::RingwayEpoll => return env::current_exe().ok(),
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
            Kind::Traefik => "traefik",
            Kind::Caddy => "caddy",
            Kind::Varnish => "varnishd",
            Kind::Floor => return None,
        };
        let path = env::var_os("PATH").unwrap_or_default();
        // Where Debian has servers, which is not on the path of every user.
        let beside = ["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
        let folders = env::split_paths(&path).chain(beside);
        folders.map(|folder| folder.join(program)).find(|program| program.is_file())
    }

    /// What the program says of its version: the first thing in it that looks like one.
    fn version(self, program: &Path) -> String {
        let argument = match self {
            Kind::RingwayRing | Kind::RingwayEpoll | Kind::Envoy => "--version",
            Kind::Nginx | Kind::Haproxy => "-v",
            Kind::Traefik | Kind::Caddy => "version",
            Kind::Varnish => "-V",
            Kind::Floor => return String::new(),
        };
        let Ok(output) = Command::new(program).arg(argument).output() else {
            return String::new();
        };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let words = said.split(|c: char| c.is_whitespace() || matches!(c, '/' | '(' | ')' | ','));
        let mut words =
            words.map(|word| word.trim_start_matches("v").trim_start_matches("arnish-"));
        let version =
            words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
        version.unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_kind() {
        assert_eq!(kind_of("nginx"), Some(Kind::Nginx));
        assert_eq!(kind_of("nginx-1.30"), Some(Kind::Nginx));
        assert_eq!(kind_of("ringway-epoll"), Some(Kind::RingwayEpoll));
        assert_eq!(kind_of("ringway-epoll-old"), Some(Kind::RingwayEpoll));
        assert_eq!(kind_of("ringway-old"), Some(Kind::RingwayRing));
        assert_eq!(kind_of("apache"), None);
    }

    #[test]
    fn another_ringway_is_held_beside_this_one() {
        let names = |named: &str| {
            let (found, _) = Peer::find(&[named.to_owned()]).unwrap();
            let ours = found.into_iter().filter(|peer| peer.kind == Kind::RingwayRing);
            ours.map(|peer| peer.name).collect::<Vec<_>>()
        };
        assert_eq!(names("ringway-old=/bin/true"), ["ringway", "ringway-old"]);
        assert_eq!(names("ringway=/bin/true"), ["ringway"]);
    }

    #[test]
    fn a_peer_that_cannot_be_is_named_with_the_remedy() {
        let wrong = |named: &str| Peer::find(&[named.to_owned()]).unwrap_err();
        assert!(wrong("apache=/bin/true").contains("begins with one of ringway"));
        assert!(wrong("nginx").contains("NAME=PATH"));
        assert!(wrong("nginx=/no/such").contains("no such program"));
    }
}
