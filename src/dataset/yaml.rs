//! YAML documents as a tree of nodes with their places in the text.
//!
//! `saphyr-parser` reads the text event by event. That is the right level here: aliases stay references, so that no
//! document can grow in memory beyond its text; tags and the places of nodes are kept, for ASDF and for editing; and the
//! meaning of plain scalars is left to us, which has to be that of YAML 1.1 (Python's), not of YAML 1.2.

pub(super) mod scalar;

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::error::Trouble;

/// Deeper nesting is refused; real trees have a dozen levels.
const MAX_DEPTH: usize = 200;

/// A node's number in its document.
pub(super) type Id = usize;

/// A node of the tree.
#[derive(Debug)]
pub(super) struct Node {
    pub kind: Kind,
    /// The tag in full, such as `tag:stsci.edu:asdf/core/ndarray-1.1.0`; `!` for the one that only forbids guessing.
    pub tag: Option<String>,
    /// The range of the node, in characters. A block collection ends where what follows it begins.
    pub span: Range<usize>,
}

/// The content of a node.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Id>),
    Mapping(Mapping),
}

/// The content of a mapping.
#[derive(Debug)]
pub(super) struct Mapping {
    pub pairs: Vec<(Id, Id)>,
    /// Whether it is written in braces.
    pub flow: bool,
}

/// One document.
#[derive(Debug, Default)]
pub(super) struct Document {
    nodes: Vec<Node>,
    root: Option<Id>,
}

impl Document {
    /// Reads the first document of a text.
    pub(super) fn parse(text: &str) -> Result<Self, Trouble> {
        let mut builder = Builder::default();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) =
                event.map_err(|error| Trouble::malformed(format!("its YAML is wrong: {error}")))?;
            if matches!(event, Event::DocumentEnd | Event::StreamEnd) {
                break;
            }
            builder.take(event, span)?;
        }
        Ok(builder.document)
    }

    /// The outermost node, unless the document is empty.
    pub(super) fn root(&self) -> Option<Id> {
        self.root
    }

    /// A node by its number.
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The pairs of a mapping, nothing for other nodes.
    pub(super) fn pairs(&self, id: Id) -> &[(Id, Id)] {
        match &self.node(id).kind {
            Kind::Mapping(mapping) => &mapping.pairs,
            _ => &[],
        }
    }

    /// The text of a key, if it means a text: only those count.
    pub(super) fn key(&self, id: Id) -> Option<&str> {
        let node = self.node(id);
        match &node.kind {
            Kind::Scalar { text, plain } => {
                let is_text = !*plain || node.tag.is_some() || scalar::resolve(text) == scalar::Scalar::Text;
                is_text.then_some(text)
            }
            _ => None,
        }
    }

    /// The value of a key in a mapping; of equal keys the last.
    pub(super) fn get(&self, id: Id, key: &str) -> Option<Id> {
        let pairs = self.pairs(id).iter().rev();
        pairs
            .map(|(name, value)| (self.key(*name), *value))
            .find(|(name, _)| *name == Some(key))
            .map(|(_, id)| id)
    }
}

/// Puts events together.
#[derive(Default)]
struct Builder {
    document: Document,
    open: Vec<Open>,
    anchors: HashMap<usize, Id>,
}

/// A collection that is not complete yet.
struct Open {
    id: Id,
    /// In a mapping, the key whose value comes next.
    key: Option<Id>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Trouble> {
        let range = span.start.index()..span.end.index();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                let id = self.add(Kind::Scalar { text, plain }, anchor, tag.as_deref(), range);
                self.attach(id);
            }
            Event::SequenceStart(anchor, tag) => {
                let id = self.add(Kind::Sequence(Vec::new()), anchor, tag.as_deref(), range);
                self.begin(id)?;
            }
            Event::MappingStart(anchor, tag) => {
                let mapping = Mapping {
                    pairs: Vec::new(),
                    flow: false,
                };
                let id = self.add(Kind::Mapping(mapping), anchor, tag.as_deref(), range);
                self.begin(id)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let node = &mut self.document.nodes[open.id];
                    if let Kind::Mapping(mapping) = &mut node.kind {
                        // Only a closing brace has a width.
                        mapping.flow = !range.is_empty();
                    }
                    node.span.end = range.end;
                    self.attach(open.id);
                }
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                let id = target
                    .ok_or_else(|| Trouble::malformed("its YAML refers to an anchor that is not there"))?;
                self.attach(id);
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, kind: Kind, anchor: usize, tag: Option<&Tag>, span: Range<usize>) -> Id {
        let id = self.document.nodes.len();
        let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
        self.document.nodes.push(Node { kind, tag, span });
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        id
    }

    fn begin(&mut self, id: Id) -> Result<(), Trouble> {
        self.open.push(Open { id, key: None });
        if self.open.len() > MAX_DEPTH {
            return Err(Trouble::malformed(format!(
                "its YAML is nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(())
    }

    /// Gives a complete node to the collection around it.
    fn attach(&mut self, id: Id) {
        let Some(open) = self.open.last_mut() else {
            self.document.root.get_or_insert(id);
            return;
        };
        match &mut self.document.nodes[open.id].kind {
            Kind::Sequence(items) => items.push(id),
            Kind::Mapping(mapping) => match open.key.take() {
                Some(key) => mapping.pairs.push((key, id)),
                None => open.key = Some(id),
            },
            Kind::Scalar { .. } => {}
        }
    }
}
