//! The thread that looks after endpoints: makes their checks, hears of their failures, and lets
//! time pass for those that are out.
//!
//! One thread for any number of endpoints: each check is a task of a runtime that belongs to this
//! thread alone. A task has one check under way, so an origin that accepts and never answers holds
//! up its own checks, each for one `timeout`, and nothing else.

mod probe;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ringway_config::HealthCheck;
use tokio::task::AbortHandle;

use crate::balance::Rng;
use crate::clock;
use crate::limits::HEALTH_FIRST_CHECK;
use crate::shared::Shared;
use crate::upstream::{Checked, Registry};
use probe::Probe;

/// The checks that are made now, by upstream and address.
type Checks = HashMap<(String, SocketAddr), Check>;

struct Check {
    settings: HealthCheck,
    target: String,
    task: AbortHandle,
}

/// Starts the thread; it ends when the registry is closed.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub(crate) fn start(registry: Shared<Registry>) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let thread = std::thread::Builder::new().name("ringway-health".to_owned());
    thread.spawn(move || runtime.block_on(look_after(registry)))?;
    Ok(())
}

async fn look_after(registry: Shared<Registry>) {
    let Some(mut failing) = registry.failed() else { return };
    let mut checks = Checks::new();
    let mut adopted = None;
    while !registry.is_closed() {
        if adopted != Some(registry.adopted()) {
            adopted = Some(registry.adopted());
            adopt(&registry, &mut checks);
        }
        let wait = registry.advance();
        let pause = tokio::time::sleep(wait.unwrap_or_default());
        tokio::select! {
            () = registry.change() => {}
            Some(state) = failing.recv() => registry.failing(&state),
            () = pause, if wait.is_some() => {}
        }
    }
}

/// Begins the checks that there shall be and ends those that shall not; what is asked in the same
/// way as before goes on.
fn adopt(registry: &Shared<Registry>, checks: &mut Checks) {
    let mut before = std::mem::take(checks);
    for checked in registry.checks() {
        let Some(settings) = checked.plan.settings.health.check.clone() else { continue };
        let key = (checked.plan.name.clone(), checked.address);
        let same = |check: &Check| check.settings == settings && check.target == checked.target;
        let check = match before.remove(&key) {
            Some(check) if same(&check) => check,
            old => {
                old.inspect(|check| check.task.abort());
                let target = checked.target.clone();
                let asking = ask_for_ever(registry.clone(), checked, settings.clone());
                Check { settings, target, task: tokio::spawn(asking).abort_handle() }
            }
        };
        checks.insert(key, check);
    }
    before.values().for_each(|check| check.task.abort());
}

/// Asks one endpoint again and again. Checks begin an interval apart, give or take a tenth, so that
/// those of many endpoints neither come in waves nor ever fall into step.
async fn ask_for_ever(registry: Shared<Registry>, checked: Checked, settings: HealthCheck) {
    let mut rng = Rng::new(clock::seed());
    let mut part = |of: Duration| of.mul_f64(rng.below(1 << 20) as f64 / f64::from(1 << 20));
    let interval = settings.interval.0;
    let probe = Probe::new(&settings, checked.address, &checked.target);
    tokio::time::sleep(part(interval.min(HEALTH_FIRST_CHECK))).await;
    let mut lacking = false;
    loop {
        let begun = clock::now();
        match probe.ask().await {
            Ok(verdict) => {
                lacking = false;
                registry.checked(&checked.plan.name, checked.address, verdict);
            }
            // Not the endpoint's fault, so it is no verdict.
            Err(error) => {
                if !std::mem::replace(&mut lacking, true) {
                    let endpoint = checked.address;
                    tracing::warn!(%endpoint, %error, "no resources to check the endpoint");
                }
            }
        }
        let wait = interval.mul_f64(0.9) + part(interval.mul_f64(0.2));
        tokio::time::sleep_until((begun + wait).into()).await;
    }
}
