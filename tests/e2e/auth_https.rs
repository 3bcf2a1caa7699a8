//! A JWK set behind https, from a server whose certificate an authority of its own has signed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::auth_keys::Pair;
use crate::harness::{Driver, Gateway, Origin, forward_route, ok, scenes};

scenes![
    keys_are_taken_from_a_server_of_the_authority_that_is_named,
    keys_are_not_taken_from_a_server_that_nobody_vouches_for,
    keys_are_not_taken_from_a_server_of_another_name,
];

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A file with its certificate, for those who trust it.
    fn file(&self) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(self.0.pem().as_bytes()).unwrap();
        file
    }

    /// A server that calls itself this and answers every connection with `text`; where it is.
    fn server(&self, name: &str, text: String) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let config = Arc::new(config.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who does not trust this server goes away.
                let _ = answer(stream, config.clone(), &text);
            }
        });
        address
    }
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>, text: &str) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    stream.write_all(ok(text).as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn gateway(driver: Driver, origin: &Origin, server: SocketAddr, trusted: &Path) -> Gateway {
    let auth = format!(
        "
        filters:
          - auth:
              type: jwt
              jwks_url: https://{server}/keys
        "
    );
    let file = forward_route(origin, &auth);
    Gateway::start_with_env(driver, &file, ("SSL_CERT_FILE", trusted))
}

fn keys_are_taken_from_a_server_of_the_authority_that_is_named(driver: Driver) {
    let (pair, authority) = (Pair::new("first"), Authority::new());
    let server = authority.server("127.0.0.1", pair.set());
    let (origin, trusted) = (Origin::saying("hi"), authority.file());
    let gateway = gateway(driver, &origin, server, trusted.path());
    let mut client = gateway.client();
    client.get_with("/", &[&pair.token()]).expect(200);
    client.get_with("/", &[&Pair::new("second").token()]).expect_error(401);
}

fn keys_are_not_taken_from_a_server_that_nobody_vouches_for(driver: Driver) {
    let pair = Pair::new("first");
    let server = Authority::new().server("127.0.0.1", pair.set());
    let (origin, trusted) = (Origin::saying("hi"), Authority::new().file());
    let gateway = gateway(driver, &origin, server, trusted.path());
    gateway.await_log(&["the JWK set cannot be fetched", "certificate"]);
    gateway.client().get_with("/", &[&pair.token()]).expect_error(503);
    assert_eq!(origin.connections(), 0);
}

fn keys_are_not_taken_from_a_server_of_another_name(driver: Driver) {
    let (pair, authority) = (Pair::new("first"), Authority::new());
    let server = authority.server("login.example.com", pair.set());
    let (origin, trusted) = (Origin::saying("hi"), authority.file());
    let gateway = gateway(driver, &origin, server, trusted.path());
    gateway.await_log(&["the JWK set cannot be fetched", "certificate"]);
    gateway.client().get_with("/", &[&pair.token()]).expect_error(503);
}
