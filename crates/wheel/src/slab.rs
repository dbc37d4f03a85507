//! Where a wheel's values live while the levels link them together.

/// A slab this small is kept when a wheel is idle, in bytes. At about 250 bytes a transmission that is a thousand
/// bursts, more than a path at 100 Gbit/s schedules ahead in 2 ms; eight priorities together keep 2 MiB.
pub const RETAINED_BYTES: usize = 256 << 10;

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// The most entries that indices of 32 bits can name beside [`NONE`].
pub(crate) const MAX_ENTRIES: usize = NONE as usize - 1;

/// The capacity to shrink to, when `capacity` is worth giving up.
///
/// Between an eighth and a half there is room enough that the next shrinking, or growing, is paid for by as many
/// removals or insertions as entries that have to move.
pub(crate) fn spare_capacity<N>(len: usize, capacity: usize) -> Option<usize> {
    let retained = RETAINED_BYTES / size_of::<N>().max(1);
    (capacity > retained && len <= capacity / 8).then(|| retained.max(len * 2))
}

struct Node<T> {
    at_ns: u64,
    next: u32,
    value: Option<T>,
}

/// Nodes with indices; the unused ones form a list, too.
pub(crate) struct Slab<T> {
    nodes: Vec<Node<T>>,
    unused: u32,
    len: usize,
    max_entries: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new(max_entries: usize) -> Self {
        Self { nodes: Vec::new(), unused: NONE, len: 0, max_entries }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn at_ns(&self, id: u32) -> u64 {
        self.nodes[id as usize].at_ns
    }

    pub(crate) fn next(&self, id: u32) -> u32 {
        self.nodes[id as usize].next
    }

    pub(crate) fn set_next(&mut self, id: u32, next: u32) {
        self.nodes[id as usize].next = next;
    }

    /// The caller keeps `len` below `max_entries`.
    pub(crate) fn insert(&mut self, at_ns: u64, value: T) -> u32 {
        self.len += 1;
        let node = Node { at_ns, next: NONE, value: Some(value) };
        if self.unused != NONE {
            let id = self.unused;
            self.unused = self.next(id);
            self.nodes[id as usize] = node;
            return id;
        }
        if self.nodes.len() == self.nodes.capacity() {
            // Doubling as a Vec does, but not beyond the bound.
            let room = self.max_entries.saturating_sub(self.nodes.len()).max(1);
            self.nodes.reserve_exact(self.nodes.len().max(16).min(room));
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// The time and value of a node in use.
    pub(crate) fn remove(&mut self, id: u32) -> Option<(u64, T)> {
        let node = &mut self.nodes[id as usize];
        let value = node.value.take()?;
        let at_ns = node.at_ns;
        node.next = self.unused;
        self.unused = id;
        self.len -= 1;
        Some((at_ns, value))
    }

    /// Values in use, in no particular order. O(nodes).
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.nodes.iter().filter_map(|node| node.value.as_ref())
    }

    /// An empty slab of the size this one should have, if most of it is unused. The levels move their lists over.
    pub(crate) fn smaller(&self) -> Option<Self> {
        let capacity = spare_capacity::<Node<T>>(self.len, self.nodes.capacity())?.min(self.max_entries);
        Some(Self { nodes: Vec::with_capacity(capacity), ..Self::new(self.max_entries) })
    }
}
