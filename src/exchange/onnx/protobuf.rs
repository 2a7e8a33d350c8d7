//! Protocol buffers, as far as an ONNX graph of recurrent layers needs them: the messages of onnx.proto3, whose field
//! numbers stand here.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A number.
    pub fn number(&mut self, field: u32, number: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(number);
    }

    /// A text, bytes, or a message.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn with(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes(field, bytes.as_ref());
        self
    }

    fn with_number(mut self, field: u32, number: u64) -> Self {
        self.number(field, number);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number > 127 {
            self.0.push(number as u8 | 128);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The number of an element type.
#[derive(Clone, Copy, Debug)]
pub enum Element {
    F32 = 1,
    I64 = 7,
}

/// An attribute of a node.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    Number(i64),
    Text(&'a str),
    Numbers(&'a [i64]),
}

/// A dimension: its size, or a name for one that is known later.
#[derive(Clone, Copy, Debug)]
pub enum Dimension {
    Size(usize),
    Named(&'static str),
}

/// A graph that is being written. The order of nodes is that of the computation.
#[derive(Debug, Default)]
pub struct Graph(Message);

impl Graph {
    /// Adds a node; an input that is left out has no name.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) {
        let mut node = Message::default();
        for input in inputs {
            node.bytes(1, input.as_bytes());
        }
        for output in outputs {
            node.bytes(2, output.as_bytes());
        }
        node.bytes(4, operator.as_bytes());
        for (name, attribute) in attributes {
            let named = Message::default().with(1, name);
            let written = match *attribute {
                Attribute::Number(number) => named.with_number(3, number as u64).with_number(20, 2),
                Attribute::Text(text) => named.with(4, text).with_number(20, 3),
                Attribute::Numbers(numbers) => {
                    let all = numbers.iter();
                    all.fold(named, |message, &number| {
                        message.with_number(8, number as u64)
                    })
                    .with_number(20, 7)
                }
            };
            node.bytes(5, written.as_ref());
        }
        self.0.bytes(1, node.as_ref());
    }

    fn constant(&mut self, name: &str, shape: &[usize], element: Element, bytes: &[u8]) {
        let dimensions = shape.iter();
        let tensor = dimensions
            .fold(Message::default(), |message, &size| {
                message.with_number(1, size as u64)
            })
            .with_number(2, element as u64)
            .with(8, name)
            .with(9, bytes);
        self.0.bytes(5, tensor.as_ref());
    }

    /// Adds an array of f32.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, shape, Element::F32, &bytes);
    }

    /// Adds an array of whole numbers.
    pub fn integers(&mut self, name: &str, shape: &[usize], values: &[i64]) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, shape, Element::I64, &bytes);
    }

    fn value(name: &str, element: Element, shape: &[Dimension]) -> Message {
        let dimensions = shape.iter().fold(Message::default(), |all, dimension| {
            all.with(
                1,
                match *dimension {
                    Dimension::Size(size) => Message::default().with_number(1, size as u64),
                    Dimension::Named(name) => Message::default().with(2, name),
                },
            )
        });
        let tensor = Message::default()
            .with_number(1, element as u64)
            .with(2, dimensions);
        Message::default()
            .with(1, name)
            .with(2, Message::default().with(1, tensor))
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, element: Element, shape: &[Dimension]) {
        self.0.bytes(11, Self::value(name, element, shape).as_ref());
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, element: Element, shape: &[Dimension]) {
        self.0.bytes(12, Self::value(name, element, shape).as_ref());
    }

    /// A file with this graph.
    pub fn file(mut self, name: &str, description: &str, metadata: &[(&str, &str)]) -> Vec<u8> {
        self.0.bytes(2, name.as_bytes());
        let model = Message::default()
            .with_number(1, super::IR_VERSION)
            .with(2, super::PRODUCER)
            .with(3, env!("CARGO_PKG_VERSION"))
            .with(6, description)
            .with(7, &self.0)
            .with(8, Message::default().with_number(2, super::OPERATORS));
        let entry = |model: Message, (key, value): &(&str, &str)| {
            model.with(14, Message::default().with(1, key).with(2, value))
        };
        metadata.iter().fold(model, entry).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of protobuf.dev, "Encoding".
    #[test]
    fn numbers_and_texts_are_those_of_the_specification() {
        let number = Message::default().with_number(1, 150);
        assert_eq!(number.as_ref(), [0x08, 0x96, 0x01]);
        let text = Message::default().with(2, "testing");
        assert_eq!(text.as_ref(), b"\x12\x07testing");
        assert_eq!(
            Message::default().with_number(1, u64::MAX).as_ref().len(),
            11
        );
    }
}
