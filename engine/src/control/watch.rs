//! Notices that the file has changed.
//!
//! What is watched is not the file but every directory on the way to it ([`trail`]), so that a file
//! put in its place by a rename, and a symbolic link that turns, are seen as well as one that is
//! written to. When nothing has happened for a moment, the file's [`Stamp`] tells whether it is
//! another one. For file systems that tell nobody of changes, it is looked at now and then.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Event;
use super::trail::{Stamp, trail};
use crate::clock;
use crate::limits::{SETTLED_AFTER, SETTLED_AT_LAST, WATCHED_EVERY};
use crate::shared::{Shared, SharedLatest};

/// What the thread that watches is told.
enum Told {
    /// Watch this file, which is about to be read as it is now; or none.
    Follow(Option<PathBuf>, Stamp),
    /// Something has happened on the way to it.
    Happened,
    /// Nobody wants to know any more.
    Stop,
}

/// Things that may wait to be looked at. More would tell nothing new.
const WAITING: usize = 256;

/// The thread that watches, as the one that reloads sees it.
pub(super) struct Watch {
    told: Sender<Told>,
    path: Option<PathBuf>,
}

impl Watch {
    /// Starts the thread; it watches nothing yet.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(super) fn start(events: Sender<Event>) -> io::Result<Watch> {
        let (sender, told) = bounded(WAITING);
        let happened = sender.clone();
        std::thread::Builder::new().name("ringway-watch".to_owned()).spawn(move || {
            Watching {
                happened,
                events,
                path: None,
                seen: Stamp::default(),
                watcher: None,
                directories: BTreeSet::new(),
                names: Shared::new(SharedLatest::new(Shared::default())),
            }
            .work(&told);
        })?;
        Ok(Watch { told: sender, path: None })
    }

    /// Watches this file from now on, if it does not yet; none when there is none.
    pub(super) fn follow(&mut self, path: Option<PathBuf>) {
        if self.path != path {
            self.path = path;
            self.reading();
        }
    }

    /// The file is about to be read: what it is now is no change later.
    pub(super) fn reading(&self) {
        let stamp = self.path.as_deref().map(Stamp::of).unwrap_or_default();
        let _ = self.told.send(Told::Follow(self.path.clone(), stamp));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.told.send(Told::Stop);
    }
}

/// The thread itself.
struct Watching {
    /// Where the watcher tells what happened.
    happened: Sender<Told>,
    events: Sender<Event>,
    path: Option<PathBuf>,
    /// The file as it was when it was read last.
    seen: Stamp,
    watcher: Option<RecommendedWatcher>,
    /// The directories on the way to the file.
    directories: BTreeSet<PathBuf>,
    /// The names of the entries in them that matter.
    names: Shared<SharedLatest<BTreeSet<OsString>>>,
}

impl Watching {
    fn work(mut self, told: &Receiver<Told>) {
        loop {
            match told.recv_timeout(WATCHED_EVERY) {
                Ok(Told::Follow(path, stamp)) => self.follow(path, stamp),
                Ok(Told::Happened) => {
                    if !self.settle(told) {
                        return;
                    }
                    self.look();
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn follow(&mut self, path: Option<PathBuf>, seen: Stamp) {
        self.seen = seen;
        if self.path == path {
            return;
        }
        self.path = path;
        self.watcher = None;
        self.directories.clear();
        if self.path.is_some() {
            let (happened, names) = (self.happened.clone(), self.names.clone());
            let watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
                if event.is_err() || event.is_ok_and(|event| concerns(&event, &names.get())) {
                    // Full, there is enough to be looked at.
                    let _ = happened.try_send(Told::Happened);
                }
            });
            match watcher {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => tracing::warn!(
                    %error,
                    "changes of the file are noticed late: SIGHUP has it read at once"
                ),
            }
            self.watch();
            // It may have changed before it was watched.
            self.look();
        }
    }

    /// Waits until nothing has happened for a moment: a file is written in several steps, and
    /// several files are replaced together. False when nobody wants to know any more.
    fn settle(&mut self, told: &Receiver<Told>) -> bool {
        let last = clock::now() + SETTLED_AT_LAST;
        let mut end = clock::now() + SETTLED_AFTER;
        loop {
            match told.recv_timeout(end.min(last).saturating_duration_since(clock::now())) {
                Ok(Told::Follow(path, stamp)) => self.follow(path, stamp),
                Ok(Told::Happened) => end = clock::now() + SETTLED_AFTER,
                Err(RecvTimeoutError::Timeout) => return true,
                Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Asks for a reload if the file is another one than was read last.
    fn look(&mut self) {
        // First, so that no change comes unseen between the look and the watch.
        self.watch();
        let Some(path) = &self.path else { return };
        let stamp = Stamp::of(path);
        if stamp != self.seen {
            self.seen = stamp;
            let _ = self.events.send(Event::Reload { why: "the file has changed", reply: None });
        }
    }

    /// Watches the directories that are on the way to the file now.
    fn watch(&mut self) {
        let (Some(path), Some(watcher)) = (&self.path, &mut self.watcher) else { return };
        let Ok(steps) = trail(path) else { return };
        let directories: BTreeSet<_> = steps.iter().map(|step| step.directory.clone()).collect();
        let names = steps.iter().map(|step| step.name.clone()).collect();
        self.names.set(Shared::new(names));
        for gone in self.directories.difference(&directories) {
            // One that is not there any more is not watched any more.
            let _ = watcher.unwatch(gone);
        }
        let nearest = steps.last().map(|step| &step.directory);
        for directory in &directories {
            // Also those that were watched before: another directory may have taken their place.
            let watched = watcher.watch(directory, RecursiveMode::NonRecursive);
            match watched {
                Err(error) if nearest == Some(directory) => {
                    tracing::warn!(directory = %directory.display(), %error, "cannot be watched");
                }
                // Those above may be closed to us, and hardly ever change.
                _ => {}
            }
        }
        self.directories = directories;
    }
}

/// True for what may have made another file of the one that is watched; not for who only looked.
fn concerns(event: &notify::Event, names: &BTreeSet<OsString>) -> bool {
    let looked = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    let mut named = event.paths.iter().filter_map(|path| path.file_name());
    !looked && named.any(|name| names.contains(name))
}
