//! A radix tree over bytes: which of the stored keys does a text begin with?

/// ```text
///   "" ─ /api/ ─┬─ v1/          keys: "/api/", "/api/v1/", "/api/v2/x"; "/api/v1/users" walks over two of them
///               └─ v2/x
/// ```
/// Nodes are indexes into one vector: a walk follows no pointer to a separate allocation but the labels.
#[derive(Debug)]
pub(super) struct Radix<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    label: Box<[u8]>,
    /// First byte of each child's label, sorted, and its index.
    children: Vec<(u8, usize)>,
    value: Option<T>,
}

impl<T> Node<T> {
    fn new(label: &[u8]) -> Self {
        Self { label: label.into(), children: Vec::new(), value: None }
    }
}

impl<T> Default for Radix<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::new(b"")] }
    }
}

impl<T> Radix<T> {
    /// Whether nothing was ever stored.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[0].value.is_none()
    }

    /// Gives `see` the value of every key that `text` begins with, the shortest first.
    pub(super) fn walk<'a>(&'a self, text: &[u8], mut see: impl FnMut(&'a T)) {
        let (mut at, mut rest) = (0, text);
        loop {
            let node = &self.nodes[at];
            if let Some(value) = &node.value {
                see(value);
            }
            let Some(first) = rest.first() else { return };
            let Ok(found) = node.children.binary_search_by_key(first, |(byte, _)| *byte) else { return };
            at = node.children[found].1;
            match rest.strip_prefix(&*self.nodes[at].label) {
                Some(behind) => rest = behind,
                None => return,
            }
        }
    }
}

impl<T: Default> Radix<T> {
    /// The value of `key`, made when it is new.
    pub(super) fn entry(&mut self, key: &[u8]) -> &mut T {
        let (mut at, mut rest) = (0, key);
        while let Some(first) = rest.first() {
            at = match self.nodes[at].children.binary_search_by_key(first, |(byte, _)| *byte) {
                Err(place) => {
                    let new = self.nodes.len();
                    self.nodes.push(Node::new(rest));
                    self.nodes[at].children.insert(place, (*first, new));
                    rest = &[];
                    new
                }
                Ok(found) => {
                    let child = self.nodes[at].children[found].1;
                    let common = self.nodes[child].label.iter().zip(rest).take_while(|(a, b)| a == b).count();
                    rest = &rest[common..];
                    if common < self.nodes[child].label.len() { self.split(at, found, common) } else { child }
                }
            };
        }
        self.nodes[at].value.get_or_insert_default()
    }

    /// Puts a node for the first `common` bytes between node `at` and its child number `found`.
    fn split(&mut self, at: usize, found: usize, common: usize) -> usize {
        let (byte, child) = self.nodes[at].children[found];
        let label = std::mem::take(&mut self.nodes[child].label);
        let middle = self.nodes.len();
        let mut node = Node::new(&label[..common]);
        node.children.push((label[common], child));
        self.nodes.push(node);
        self.nodes[child].label = label[common..].into();
        self.nodes[at].children[found] = (byte, middle);
        middle
    }
}
