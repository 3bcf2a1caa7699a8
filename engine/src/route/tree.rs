//! The radix tree over the bytes of paths. All host groups grow in one set of arrays, each from its
//! own root; a walk yields the lists of routes that a path passes, and decides nothing.
//!
//! ```text
//! ""─"/"─┬─"api/"─┬─"users"   here: path /api/users
//!        │        │           below: prefix /api/users, pattern /api/users/*rest
//!        │        └─(param)    here: pattern /api/:id
//!        └─"health"           here: path /health
//! ```
//!
//! A walk visits a node at most once, because a parameter is one whole segment and the segment that
//! a node stands for is fixed: no path makes it exponential.

use std::collections::BTreeMap;

use super::shape::{Piece, Shape, segment_end};

/// A route of one host group, in the one order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The place in the order of all entries; the lowest wins.
    pub(super) rank: u32,
    /// The index of the route in the file.
    pub(super) route: u32,
    /// Whether host and path are all that it asks for.
    pub(super) free: bool,
    /// Whether its path has no parameters, so that there is nothing to find in a path.
    pub(super) plain: bool,
}

/// Entries that lie together, the best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    start: u32,
    len: u32,
}

impl List {
    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The list without its first entry.
    pub(super) fn rest(self) -> List {
        List { start: self.start + 1, len: self.len - 1 }
    }
}

/// A root, or no tree at all.
pub(super) type Root = Option<u32>;

/// The trees of all host groups.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    labels: Vec<u8>,
    /// The first byte of each child, in the order of the children.
    keys: Vec<u8>,
    entries: Vec<Entry>,
}

/// One cache line: with thousands of routes the way down is as long as the lines that it touches.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Node {
    /// The bytes of the label, if they fit.
    short: [u8; SHORT],
    /// Where its bytes are in `labels`, if they don't.
    label: u32,
    label_len: u32,
    /// Its children's place in `nodes` and in `keys`: the children of a node lie side by side.
    children: u32,
    keys: u32,
    children_len: u16,
    /// Of the node for one whole segment; [`NO_NODE`] if there is none.
    param: u32,
    /// Routes that take a path which ends here.
    here: List,
    /// Routes that take a path which ends here or goes on below.
    below: List,
}

const NO_NODE: u32 = u32::MAX;

/// The longest label that lies in its node: what a cache line leaves.
const SHORT: usize = 26;

/// A branch that is still to be walked: a node, and the place in the path.
pub(super) type Branch = (u32, u32);

impl Tree {
    /// The best entry of a list.
    pub(super) fn first(&self, list: List) -> Option<&Entry> {
        self.all(list).first()
    }

    /// The entries of a list, the best first.
    pub(super) fn all(&self, list: List) -> &[Entry] {
        &self.entries[list.start as usize..(list.start + list.len) as usize]
    }

    /// Puts the lists of all routes whose path fits into `lists`, in no order. `branches` is
    /// memory.
    pub(super) fn walk(
        &self,
        root: Root,
        path: &[u8],
        branches: &mut Vec<Branch>,
        lists: &mut Vec<List>,
    ) {
        branches.clear();
        lists.clear();
        branches.extend(root.map(|root| (root, 0)));
        while let Some((index, at)) = branches.pop() {
            let mut node = &self.nodes[index as usize];
            let mut at = at as usize;
            loop {
                let label = self.label(node);
                if !path[at..].starts_with(label) {
                    break;
                }
                at += label.len();
                let next = path.get(at);
                if next.is_none() && !node.here.is_empty() {
                    lists.push(node.here);
                }
                if !node.below.is_empty() && (is_slash(next) || is_after_slash(path, at)) {
                    lists.push(node.below);
                }
                let Some(&next) = next else { break };
                if node.param != NO_NODE && next != b'/' {
                    branches.push((node.param, segment_end(path, at) as u32));
                }
                let Some(child) = self.child(node, next) else { break };
                node = child;
            }
        }
    }

    fn label<'t>(&'t self, node: &'t Node) -> &'t [u8] {
        let len = node.label_len as usize;
        match node.short.get(..len) {
            Some(label) => label,
            None => &self.labels[node.label as usize..node.label as usize + len],
        }
    }

    /// The child whose label may begin with this byte.
    fn child(&self, node: &Node, next: u8) -> Option<&Node> {
        let place = match usize::from(node.children_len) {
            0 => return None,
            // Its label tells as well, without a look at the keys.
            1 => 0,
            len => memchr::memchr(next, &self.keys[node.keys as usize..node.keys as usize + len])?,
        };
        self.nodes.get(node.children as usize + place)
    }

    /// Adds a list of entries that is in no tree.
    pub(super) fn add_list(&mut self, mut entries: Vec<Entry>) -> List {
        entries.sort_unstable_by_key(|entry| entry.rank);
        let list = List { start: self.entries.len() as u32, len: entries.len() as u32 };
        self.entries.extend(entries);
        list
    }

    /// Adds a tree.
    pub(super) fn plant(&mut self, draft: Draft) -> u32 {
        let root = self.nodes.len() as u32;
        // Depth first, so that what hangs in a chain lies in a row.
        let mut drafts = vec![(root, draft)];
        self.nodes.push(Node::BARE);
        while let Some((index, draft)) = drafts.pop() {
            let mut short = [0; SHORT];
            let label = self.labels.len() as u32;
            match short.get_mut(..draft.label.len()) {
                Some(short) => short.copy_from_slice(&draft.label),
                None => self.labels.extend_from_slice(&draft.label),
            }
            let mut node = Node {
                short,
                label,
                label_len: draft.label.len() as u32,
                keys: self.keys.len() as u32,
                children: self.nodes.len() as u32,
                children_len: draft.children.len() as u16,
                here: self.add_list(draft.here),
                below: self.add_list(draft.below),
                ..Node::BARE
            };
            for (key, child) in draft.children {
                self.keys.push(key);
                drafts.push((self.nodes.len() as u32, child));
                self.nodes.push(Node::BARE);
            }
            if let Some(param) = draft.param {
                node.param = self.nodes.len() as u32;
                drafts.push((node.param, *param));
                self.nodes.push(Node::BARE);
            }
            self.nodes[index as usize] = node;
        }
        root
    }
}

/// A path that ends lies on the boundary of a segment as well.
fn is_slash(next: Option<&u8>) -> bool {
    next.is_none_or(|&next| next == b'/')
}

fn is_after_slash(path: &[u8], at: usize) -> bool {
    at > 0 && path[at - 1] == b'/'
}

impl Node {
    const BARE: Node = Node {
        short: [0; SHORT],
        label: 0,
        label_len: 0,
        children: 0,
        keys: 0,
        children_len: 0,
        param: NO_NODE,
        here: List { start: 0, len: 0 },
        below: List { start: 0, len: 0 },
    };
}

/// A tree that still grows.
#[derive(Debug, Default)]
pub(super) struct Draft {
    label: Vec<u8>,
    children: BTreeMap<u8, Draft>,
    param: Option<Box<Draft>>,
    here: Vec<Entry>,
    below: Vec<Entry>,
}

impl Draft {
    /// Adds a route; true if its path is one for the tree.
    pub(super) fn insert(&mut self, shape: &Shape, entry: Entry) -> bool {
        match shape {
            Shape::Exact(text) => self.literal(text).here.push(entry),
            Shape::Prefix(text) => self.literal(text).below.push(entry),
            Shape::Pattern(pattern) => {
                let mut node = self;
                for piece in &pattern.pieces {
                    node = match piece {
                        Piece::Literal(text) => node.literal(text),
                        Piece::Param => node.param.get_or_insert_default(),
                    };
                }
                if pattern.rest { node.below.push(entry) } else { node.here.push(entry) }
            }
            Shape::Regex { .. } | Shape::Any => return false,
        }
        true
    }

    /// The node for a text below this one, made where it is missing.
    fn literal(&mut self, text: &[u8]) -> &mut Draft {
        let Some(&key) = text.first() else { return self };
        let child = self
            .children
            .entry(key)
            .or_insert_with(|| Draft { label: text.to_vec(), ..Draft::default() });
        let common = child.label.iter().zip(text).take_while(|(left, right)| left == right).count();
        if common < child.label.len() {
            child.split(common);
        }
        child.literal(&text[common..])
    }

    /// Makes this node two, the first with `len` bytes of the label.
    fn split(&mut self, len: usize) {
        let tail = self.label.split_off(len);
        let label = std::mem::take(&mut self.label);
        let mut lower = std::mem::take(self);
        let key = tail[0];
        lower.label = tail;
        self.label = label;
        self.children.insert(key, lower);
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::{PathMatch, PathPolicy};

    use super::*;

    /// Which of the paths are passed on the way, as their places.
    #[track_caller]
    fn check(routes: &[PathMatch], path: &str, expected: &[u32]) {
        let mut draft = Draft::default();
        for (index, written) in routes.iter().enumerate() {
            let shape = Shape::new(index, written, &PathPolicy::default()).unwrap();
            let index = index as u32;
            assert!(
                draft.insert(&shape, Entry { rank: index, route: index, free: true, plain: true })
            );
        }
        let mut tree = Tree::default();
        tree.plant(Draft::default());
        let root = tree.plant(draft);
        let (mut branches, mut lists) = (Vec::new(), Vec::new());
        tree.walk(Some(root), path.as_bytes(), &mut branches, &mut lists);
        let mut passed: Vec<_> =
            lists.iter().flat_map(|&list| tree.all(list)).map(|entry| entry.route).collect();
        passed.sort_unstable();
        assert_eq!(passed, expected, "{path}");
    }

    fn routes() -> Vec<PathMatch> {
        vec![
            PathMatch::Exact("/api/users".into()),
            PathMatch::Prefix("/api/users".into()),
            PathMatch::Prefix("/api/users/".into()),
            PathMatch::Pattern("/api/:kind".into()),
            PathMatch::Pattern("/api/:kind/:id".into()),
            PathMatch::Pattern("/:service/*rest".into()),
            PathMatch::Prefix("/".into()),
            PathMatch::Exact("/api/user".into()),
            PathMatch::Exact("/".into()),
            PathMatch::Pattern("/api/:kind/edit".into()),
        ]
    }

    #[test]
    fn a_walk_passes_every_route_that_fits() {
        let routes = routes();
        check(&routes, "/api/users", &[0, 1, 3, 5, 6]);
        check(&routes, "/api/users/", &[1, 2, 5, 6]);
        check(&routes, "/api/users/7", &[1, 2, 4, 5, 6]);
        check(&routes, "/api/users/edit", &[1, 2, 4, 5, 6, 9]);
        check(&routes, "/api/user", &[3, 5, 6, 7]);
        check(&routes, "/api/usersx", &[3, 5, 6]);
        check(&routes, "/", &[6, 8]);
        check(&routes, "/x", &[5, 6]);
        check(&routes, "*", &[]);
    }

    #[test]
    fn a_label_may_be_longer_than_a_node() {
        let long = format!("/{}", "x".repeat(200));
        let routes =
            [PathMatch::Exact(long.clone()), PathMatch::Prefix(format!("/{}", "x".repeat(100)))];
        check(&routes, &long, &[0]);
        check(&routes, &format!("/{}/a", "x".repeat(100)), &[1]);
        check(&routes, "/x", &[]);
    }

    #[test]
    fn an_empty_segment_is_no_parameter() {
        let routes = [PathMatch::Pattern("/a/:x/b".into()), PathMatch::Pattern("/a/*rest".into())];
        check(&routes, "/a/1/b", &[0, 1]);
        check(&routes, "/a/", &[1]);
        check(&routes, "/a//b", &[1]);
        check(&routes, "/ab", &[]);
    }

    #[test]
    fn a_node_fits_a_cache_line() {
        assert_eq!(size_of::<Node>(), 64);
    }
}
