//! A YAML text as a tree of numbered nodes.
//!
//! serde_yaml's own `Value` forgets the order of duplicate keys, what a number looked like and
//! where anything stood. So the text is read twice: once for its shape, where each node gets a
//! number, and once along that shape for what was typed (`1.10` is a number to YAML, and a
//! version to the person who put it into a header). An alias is a copy with numbers of its own.
//!
//! serde_yaml tells a place only in an error. So where a node stands is found by reading the text
//! once more and failing at its number: the error's location is the place. That costs a reading
//! for each message, which only someone with a mistake waits for.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

/// More nodes than any configuration has; aliases of aliases would make billions.
const MOST_NODES: usize = 200_000;

/// What serde_yaml says when it gives up following aliases.
const REPETITION: &str = "repetition limit exceeded";

/// One value.
#[derive(Debug)]
pub(super) struct Node {
    /// Counts nodes in the order of the text, containers before what they hold.
    pub(super) number: usize,
    pub(super) shape: Shape,
}

/// What kind of value it is.
#[derive(Debug)]
pub(super) enum Shape {
    /// Nothing, or `null`.
    Null,
    /// Any other single value: a text, a number, a switch.
    Scalar,
    List(Vec<Node>),
    /// In the order of the text, duplicates included.
    Map(Vec<(Node, Node)>),
}

impl Shape {
    /// What to call it in a message.
    pub(super) fn called(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// The tree and what was typed for each of its nodes, by number; empty for lists and maps.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Node,
    pub(super) typed: Vec<Box<str>>,
}

/// Why there is no tree.
#[derive(Debug)]
pub(super) enum NoTree {
    /// serde_yaml says what is wrong.
    Yaml(serde_yaml::Error),
    /// A `!tag`, which means nothing in a configuration.
    Tag(serde_yaml::Error),
    /// Aliases make it larger than it may be.
    TooLarge,
}

/// Reads a text that must be one document.
pub(super) fn read(text: &str) -> Result<Tree, NoTree> {
    let (count, tagged) = (Cell::new(0), Cell::new(false));
    let grow = Grow { count: &count, tagged: &tagged, stop: None };
    let root = grow.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        if tagged.get() {
            NoTree::Tag(error)
        } else if count.get() > MOST_NODES || error.to_string() == REPETITION {
            NoTree::TooLarge
        } else {
            NoTree::Yaml(error)
        }
    })?;
    let typed = RefCell::new(Vec::with_capacity(count.get()));
    // An empty file is one node to which not even an empty text belongs.
    if !matches!(root.shape, Shape::Null) {
        Retype { node: &root, typed: &typed }
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(NoTree::Yaml)?;
    }
    Ok(Tree { root, typed: typed.into_inner() })
}

/// The first byte of the node with this number.
pub(super) fn find(text: &str, number: usize) -> Option<usize> {
    let (count, tagged) = (Cell::new(0), Cell::new(false));
    let grow = Grow { count: &count, tagged: &tagged, stop: Some(number) };
    let found = grow.deserialize(serde_yaml::Deserializer::from_str(text));
    found.err()?.location().map(|place| place.index())
}

/// The first reading.
#[derive(Clone, Copy)]
struct Grow<'c> {
    /// Nodes so far.
    count: &'c Cell<usize>,
    /// Whether a tag made it fail.
    tagged: &'c Cell<bool>,
    /// The number at which to fail.
    stop: Option<usize>,
}

/// Takes nothing: every value is an error, and serde_yaml gives an error the place of the value.
pub(super) struct Found;

impl Found {
    /// What its error says was expected.
    pub(super) const EXPECTED: &str = "nothing here";
}

impl Visitor<'_> for Found {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::EXPECTED)
    }
}

impl<'de> DeserializeSeed<'de> for Grow<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let number = self.count.replace(self.count.get() + 1);
        if self.stop == Some(number) {
            return deserializer.deserialize_any(Found).map(|never| match never {});
        }
        if number >= MOST_NODES {
            return Err(D::Error::custom("too many nodes"));
        }
        let shape = deserializer.deserialize_any(self)?;
        Ok(Node { number, shape })
    }
}

impl<'de> Visitor<'de> for Grow<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element_seed(self)? {
            nodes.push(node);
        }
        Ok(Shape::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut nodes = Vec::new();
        while let Some(key) = map.next_key_seed(self)? {
            nodes.push((key, map.next_value_seed(self)?));
        }
        Ok(Shape::Map(nodes))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Shape, A::Error> {
        self.tagged.set(true);
        Err(A::Error::custom("a tag"))
    }
}

/// The second reading, along the tree that the first one made.
struct Retype<'t> {
    node: &'t Node,
    typed: &'t RefCell<Vec<Box<str>>>,
}

impl<'de> DeserializeSeed<'de> for Retype<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.node.shape {
            Shape::Null | Shape::Scalar => deserializer.deserialize_str(self),
            Shape::List(_) => deserializer.deserialize_seq(self),
            Shape::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Retype<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the first reading found")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.typed.borrow_mut().push(text.into());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.typed.borrow_mut().push("".into());
        if let Shape::List(nodes) = &self.node.shape {
            for node in nodes {
                seq.next_element_seed(Retype { node, typed: self.typed })?;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.typed.borrow_mut().push("".into());
        if let Shape::Map(nodes) = &self.node.shape {
            for (key, value) in nodes {
                map.next_key_seed(Retype { node: key, typed: self.typed })?;
                map.next_value_seed(Retype { node: value, typed: self.typed })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Vec<String> {
        let tree = read(text).expect("the text is YAML");
        tree.typed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn numbers_keep_what_was_typed() {
        assert_eq!(
            typed("[1.10, 0x1f, 1e3, True, ~, 007]")[1..],
            ["1.10", "0x1f", "1e3", "True", "~", "007"]
        );
    }

    #[test]
    fn an_alias_is_a_copy_and_duplicates_stay() {
        assert_eq!(typed("a: &x [1]\nb: *x\na: 2\n"), ["", "a", "", "1", "b", "", "1", "a", "2"]);
    }

    #[test]
    fn aliases_of_aliases_end_with_an_error() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let refs = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
        }
        assert!(read(&text).is_err());
    }
}
