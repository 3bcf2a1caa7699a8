//! A JWK set behind a URL: fetched off the workers, kept through an outage.
//!
//! ```text
//!            time has come, or a token names a key that is not known
//!   at rest ──────────────────────────────────────────────────────────▶ fetching
//!      ▲                one at a time in the whole process                 │
//!      └───────────── a new set, or the last good one stays ───────────────┘
//! ```

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use ringway_engine::clock;
use ringway_engine::filter::{Core, SettingsError, compute};
use ringway_engine::shared::{Shared, SharedFlag, SharedLatest};
use ureq::http::Uri;

use super::keys::{Keys, MAX_KEY_TEXT};
use crate::wrong;

/// How long one fetch may take, and how long a request waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a request looks whether the fetch that it waits for is over.
const LOOK: Duration = Duration::from_millis(20);

/// How long after a fetch that failed the next one comes, unless it is due before.
const RETRY: Duration = Duration::from_secs(10);

/// The set, and what is known about the last fetch.
pub(super) struct Remote {
    url: String,
    every: Duration,
    cooldown: Duration,
    pub(super) keys: SharedLatest<Keys>,
    last: SharedLatest<Last>,
    fetching: SharedFlag,
}

/// The last fetch. Only who fetches writes it.
#[derive(Clone, Default)]
struct Last {
    began: Option<Instant>,
    failed: bool,
    /// SHA-256 of the text of the last good set.
    text: Option<[u8; 32]>,
}

impl Remote {
    pub(super) fn new(
        url: &str,
        every: Duration,
        cooldown: Duration,
    ) -> Result<Self, SettingsError> {
        let help = "write `https://host/path`";
        let uri: Uri = url.parse().map_err(|_| wrong("jwks_url", "this is no URL", help))?;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.is_empty() {
            return Err(wrong("jwks_url", "this is no URL of HTTP", help));
        }
        if authority.contains('@') {
            let help = "leave user and password out: public keys need none";
            return Err(wrong("jwks_url", "there is a password in the URL", help));
        }
        Ok(Remote {
            url: url.to_owned(),
            every,
            cooldown,
            keys: SharedLatest::new(Shared::new(Keys::default())),
            last: SharedLatest::new(Shared::new(Last::default())),
            fetching: SharedFlag::default(),
        })
    }

    /// Where the set is; what a query may say is nobody's business.
    pub(super) fn place(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// True until a set has been fetched.
    pub(super) fn has_none(&self) -> bool {
        self.last.get().text.is_none()
    }

    /// Begins a fetch when its time has come; it runs on a thread of its own, so that nobody else
    /// waits for a slow server.
    pub(super) fn refresh(this: &Shared<Remote>) {
        let last = this.last.get();
        let pause = if last.failed { RETRY.min(this.every) } else { this.every };
        let due = last.began.is_none_or(|began| clock::now() >= began + pause);
        if due && let Some(fetch) = Fetch::begin(this) {
            let thread = std::thread::Builder::new().name("ringway-jwks".to_owned());
            if let Err(error) = thread.spawn(move || fetch.run()) {
                tracing::error!(%error, "no thread can be made to fetch keys");
            }
        }
    }

    /// Has the set fetched because a token names a key that is not in it, or waits for a fetch
    /// that is under way. False when that is too soon after the last one.
    pub(super) async fn ask(this: &Shared<Remote>, core: &dyn Core) -> bool {
        let Some(fetch) = Fetch::begin(this) else {
            let until = clock::now() + TIMEOUT;
            while this.fetching.is_up() && clock::now() < until {
                clock::sleep(LOOK).await;
            }
            return true;
        };
        let began = this.last.get().began;
        if began.is_some_and(|began| clock::now() < began + this.cooldown) {
            return false;
        }
        compute(core, move || fetch.run()).await.is_some()
    }
}

/// The right to fetch, which one has at a time. It is given back however the fetch ends.
struct Fetch(Shared<Remote>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.fetching.lower();
    }
}

impl Fetch {
    fn begin(remote: &Shared<Remote>) -> Option<Fetch> {
        remote.fetching.raise().then(|| Fetch(remote.clone()))
    }

    fn run(self) {
        let remote = &*self.0;
        let before = remote.last.get();
        let mut last = Last { began: Some(clock::now()), ..(*before).clone() };
        match get(&remote.url).and_then(|text| Ok((Keys::set(&text, false)?, text))) {
            Ok((keys, _)) if keys.is_empty() => {
                last.failed = true;
                let url = remote.place();
                tracing::error!(url, "there is no key in the JWK set that verifies tokens");
            }
            Ok((keys, text)) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(digest(&SHA256, &text).as_ref());
                last.failed = false;
                // What has not changed is not replaced, so that tokens stay remembered.
                if last.text.replace(hash) != Some(hash) {
                    tracing::info!(url = remote.place(), "fetched a new JWK set");
                    remote.keys.set(Shared::new(keys));
                }
            }
            Err(error) => {
                last.failed = true;
                let url = remote.place();
                tracing::error!(url, "the JWK set cannot be fetched: {error}; the last one stays");
            }
        }
        remote.last.set(Shared::new(last));
    }
}

/// What the URL gives. Redirects are not followed: who serves keys is for the file to say.
fn get(url: &str) -> Result<Vec<u8>, String> {
    // Fails where it was done before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier);
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(true)
        .proxy(None)
        .user_agent("ringway")
        .tls_config(tls.build())
        .build()
        .new_agent();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("the answer is {}", response.status()));
    }
    let body = response.body_mut().with_config().limit(MAX_KEY_TEXT as u64);
    body.read_to_vec().map_err(|error| error.to_string())
}
