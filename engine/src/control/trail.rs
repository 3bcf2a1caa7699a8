//! The way to a file: every directory in which an entry decides what the file is, and what tells
//! one content of it from another.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Symbolic links followed on the way; Linux follows as many (path_resolution(7)).
const LINKS: usize = 40;

/// An entry on the way to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The directory, without symbolic links in its path.
    pub(super) directory: PathBuf,
    /// Its entry.
    pub(super) name: OsString,
}

/// The entries on the way to `path`, each in the directory where it really is, as far as there are
/// any: the directories themselves, symbolic links, and the file.
///
/// # Errors
/// When the working directory is not to be had.
pub(super) fn trail(path: &Path) -> io::Result<Vec<Step>> {
    let mut left: VecDeque<OsString> = names(&std::path::absolute(path)?).collect();
    let mut here = PathBuf::from("/");
    let mut steps = Vec::new();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let entry = here.join(&name);
        steps.push(Step { directory: here.clone(), name });
        match fs::read_link(&entry) {
            Ok(target) if links < LINKS => {
                links += 1;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                names(&target).rev().for_each(|name| left.push_front(name));
            }
            // It is no link, or not there.
            _ => here = entry,
        }
    }
    Ok(steps)
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// What tells one content of a file from another without reading it; nothing of one that is not
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp(Option<[i64; 7]>);

impl Stamp {
    /// The file at `path` as it is now.
    pub(super) fn of(path: &Path) -> Stamp {
        let numbers = |file: Metadata| {
            let (device, inode, size) = (file.dev() as i64, file.ino() as i64, file.size() as i64);
            let (mtime, ctime) = (file.mtime(), file.ctime());
            [device, inode, size, mtime, file.mtime_nsec(), ctime, file.ctime_nsec()]
        };
        Stamp(fs::metadata(path).ok().map(numbers))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_a_step() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1")).unwrap();
        fs::write(root.join("releases/1/gateway.yaml"), "a").unwrap();
        symlink("releases/1", root.join("..data")).unwrap();
        symlink("..data/gateway.yaml", root.join("gateway.yaml")).unwrap();
        let steps = trail(&root.join("gateway.yaml")).unwrap();
        let below: Vec<_> = steps
            .iter()
            .filter_map(|step| {
                step.directory
                    .join(&step.name)
                    .strip_prefix(&root)
                    .ok()?
                    .to_str()
                    .map(str::to_owned)
            })
            .filter(|path| !path.is_empty())
            .collect();
        let way = ["gateway.yaml", "..data", "releases", "releases/1", "releases/1/gateway.yaml"];
        assert_eq!(below, way);
    }

    #[test]
    fn a_circle_of_links_and_a_missing_file_come_to_an_end() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(trail(&root.path().join("a/gateway.yaml")).unwrap().len() < 100);
        assert!(!trail(&root.path().join("nowhere/gateway.yaml")).unwrap().is_empty());
        assert_eq!(Stamp::of(&root.path().join("a")), Stamp::default());
    }

    #[test]
    fn another_content_has_another_stamp() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("gateway.yaml");
        fs::write(&path, "a").unwrap();
        let first = Stamp::of(&path);
        assert_eq!(Stamp::of(&path), first);
        fs::write(root.path().join("other"), "b").unwrap();
        fs::rename(root.path().join("other"), &path).unwrap();
        assert_ne!(Stamp::of(&path), first);
    }
}
