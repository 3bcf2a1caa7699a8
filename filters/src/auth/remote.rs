//! A JWK set behind a URL: fetched off the workers, kept through an outage.
//!
//! ```text
//!            time has come, or a token names a key that is not known
//!   at rest ──────────────────────────────────────────────────────────▶ fetching
//!      ▲                one at a time in the whole process                 │
//!      └───────────── a new set, or the last good one stays ───────────────┘
//! ```

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use ringway_engine::clock;
use ringway_engine::filter::{Core, SettingsError, compute};
use ringway_engine::shared::{Shared, SharedFlag, SharedLatest, SharedMap};
use ureq::http::Uri;

use super::keys::{Keys, MAX_KEY_TEXT};
use crate::wrong;

/// How long one fetch may take, and how long a request waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a request looks whether the fetch that it waits for is over.
const LOOK: Duration = Duration::from_millis(20);

/// How long after a fetch that failed the next one comes, unless it is due before.
const RETRY: Duration = Duration::from_secs(10);

/// Where keys are fetched, and how often one filter wants that.
pub(super) struct Remote {
    set: Shared<Set>,
    every: Duration,
    cooldown: Duration,
}

/// The set of one URL, and what is known about the last fetch.
struct Set {
    url: String,
    keys: SharedLatest<Keys>,
    last: SharedLatest<Last>,
    fetching: SharedFlag,
}

/// The sets of the process by URL. Filters that name the same one share it: it is fetched once for
/// all of them, and a filter that a reload changes in an outage begins with the last good one.
static SETS: LazyLock<SharedMap<String, Shared<Set>>> = LazyLock::new(SharedMap::default);

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
        // What no filter has any more is forgotten when the next one comes.
        SETS.retain(|_, set| !set.is_last());
        let set = SETS.get_or_insert_with(url.to_owned(), |url| {
            Shared::new(Set {
                url: url.clone(),
                keys: SharedLatest::new(Shared::new(Keys::default())),
                last: SharedLatest::new(Shared::new(Last::default())),
                fetching: SharedFlag::default(),
            })
        });
        Ok(Remote { set, every, cooldown })
    }

    /// Where the set is.
    pub(super) fn place(&self) -> &str {
        self.set.place()
    }

    /// The keys that were fetched last.
    pub(super) fn keys(&self) -> &SharedLatest<Keys> {
        &self.set.keys
    }

    /// True until a set has been fetched.
    pub(super) fn has_none(&self) -> bool {
        self.set.last.get().text.is_none()
    }

    /// Begins a fetch when its time has come.
    pub(super) fn refresh(&self) {
        let every = self.every;
        let pause = |last: &Last| if last.failed { RETRY.min(every) } else { every };
        Fetch::start(&self.set, |last| last.is_over(pause(last)));
    }

    /// Has the set fetched because a token names a key that is not in it, or waits for a fetch
    /// that is under way. False when nothing was fetched, because it is too soon after the last
    /// time.
    pub(super) async fn ask(&self, core: &dyn Core) -> bool {
        let (set, cooldown) = (&self.set, self.cooldown);
        let before = set.last.get();
        if !set.fetching.is_up() {
            if !before.is_over(cooldown) {
                return false;
            }
            // A thread that was made here would run on this core only. Where the set has been
            // fetched before this comes to that, it is fetched.
            let (set, began) = (set.clone(), before.began);
            let due = move |last: &Last| last.began == began && last.is_over(cooldown);
            if compute(core, move || Fetch::start(&set, due)).await.is_none() {
                return false;
            }
        }
        let until = clock::now() + TIMEOUT;
        while set.fetching.is_up() && clock::now() < until {
            clock::sleep(LOOK).await;
        }
        set.last.get().began != before.began
    }
}

impl Last {
    /// True when it began so long ago, or there was none.
    fn is_over(&self, pause: Duration) -> bool {
        self.began.is_none_or(|began| clock::now() >= began + pause)
    }
}

impl Set {
    /// Where it is; what a query may say is nobody's business.
    fn place(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }
}

/// The right to fetch, which one has at a time. It is given back however the fetch ends.
struct Fetch(Shared<Set>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.fetching.lower();
    }
}

impl Fetch {
    /// Begins one, unless one is under way or, going by the last one, none is due. It runs on a
    /// thread of its own, so that nobody else waits for a slow server: passwords neither.
    fn start(set: &Shared<Set>, due: impl Fn(&Last) -> bool) {
        let is_due = || due(&set.last.get());
        // First without raising the flag, for which requests wait.
        if !is_due() {
            return;
        }
        let Some(fetch) = set.fetching.raise().then(|| Fetch(set.clone())) else { return };
        if !is_due() {
            return;
        }
        let thread = std::thread::Builder::new().name("ringway-jwks".to_owned());
        if let Err(error) = thread.spawn(move || fetch.run()) {
            tracing::error!(%error, "no thread can be made to fetch keys");
        }
    }

    fn run(self) {
        let set = &*self.0;
        let (before, url) = (set.last.get(), set.place());
        let mut last = Last { began: Some(clock::now()), ..(*before).clone() };
        match get(&set.url).and_then(|text| Ok((Keys::set(&text, false)?, text))) {
            Ok((keys, _)) if keys.is_empty() => {
                last.failed = true;
                tracing::error!(url, "there is no key in the JWK set that verifies tokens");
            }
            Ok((keys, text)) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(digest(&SHA256, &text).as_ref());
                last.failed = false;
                // What has not changed is not replaced, so that tokens stay remembered.
                if last.text.replace(hash) != Some(hash) {
                    tracing::info!(url, "fetched a new JWK set");
                    set.keys.set(Shared::new(keys));
                }
            }
            Err(error) => {
                last.failed = true;
                tracing::error!(url, "the JWK set cannot be fetched: {error}; the last one stays");
            }
        }
        set.last.set(Shared::new(last));
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
