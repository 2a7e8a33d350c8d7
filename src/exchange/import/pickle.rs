//! Reads a pickle as data: a machine for the opcodes that `torch.save` writes (protocols 2 to 5), in which a class is a
//! name and a call is one of a short list that is understood. Nothing is imported, constructed or run.
//!
//! Values are kept in one list and refer to each other by index, so a value may contain itself, and neither depth nor size
//! takes more memory than the opcodes have bytes.

use std::collections::HashMap;

use thiserror::Error;

/// The most values of a pickle: a checkpoint has some hundreds, a log of losses some thousands.
const MOST_VALUES: usize = 1 << 22;
/// The most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// Modules with which a pickle would act on the machine. No checkpoint names them.
const ACTING: [&str; 16] = [
    "code",
    "commands",
    "ctypes",
    "http",
    "importlib",
    "nt",
    "os",
    "posix",
    "pty",
    "runpy",
    "shutil",
    "socket",
    "subprocess",
    "sys",
    "urllib",
    "webbrowser",
];
/// What a checkpoint may name of Python's builtins; `long` is what protocol 2 calls `int`.
const BUILTINS: [&str; 17] = [
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
];
/// Calls that give a value which is not looked into.
const OPAQUE: [&str; 21] = [
    "argparse.Namespace",
    "builtins.complex",
    "builtins.slice",
    "collections.Counter",
    "copy_reg._reconstructor",
    "copyreg._reconstructor",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "torch.device",
    "torch._C.Generator",
    "torch.torch_version.TorchVersion",
];

/// Why a pickle is not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// It would call something, or names something with which it could act.
    #[error("its pickle would {0}, which weights do not need: rejected, and nothing in it was run")]
    Acts(String),
    /// It is cut short, or no pickle that `torch.save` writes.
    #[error("its pickle is damaged at byte {at}: {what}")]
    Damaged {
        /// The offset in the pickle, in bytes.
        at: usize,
        /// What is wrong there.
        what: String,
    },
}

/// The index of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u32);

/// A Python value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer of more than eight bytes, little-endian.
    Long(Vec<u8>),
    Text(String),
    Bytes(Vec<u8>),
    /// A list or a tuple.
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name`.
    Class(String),
    /// An instance of a class, with its attributes and, of a dictionary, its entries.
    Object {
        class: Id,
        state: Option<Id>,
        entries: Vec<(Id, Id)>,
    },
    Storage(Storage),
    Tensor(Tensor),
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F64,
    F16,
    Bf16,
    /// No floating-point number of those, of so many bytes.
    Other(usize),
}

impl Dtype {
    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(size) => size,
        }
    }

    /// That of a storage's class, such as `torch.FloatStorage` or `torch.cuda.HalfStorage`.
    fn of_class(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.")?;
        let name = name.strip_prefix("cuda.").unwrap_or(name);
        Some(match name.strip_suffix("Storage")? {
            "Float" => Self::F32,
            "Double" => Self::F64,
            "Half" => Self::F16,
            "BFloat16" => Self::Bf16,
            "Long" | "ComplexFloat" => Self::Other(8),
            "Int" | "QInt32" => Self::Other(4),
            "Short" => Self::Other(2),
            "ComplexDouble" => Self::Other(16),
            _ => Self::Other(1),
        })
    }
}

/// Elements in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub dtype: Dtype,
    /// Its name in the file, a text.
    pub key: Id,
    /// Elements.
    pub count: usize,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub storage: Id,
    /// In elements.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// In elements, one per dimension.
    pub strides: Vec<usize>,
}

/// The values of a pickle.
#[derive(Debug, Default)]
pub struct Values(Vec<Value>);

impl Values {
    /// The value of that index.
    pub fn get(&self, id: Id) -> &Value {
        &self.0[id.0 as usize]
    }

    /// Every value.
    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    /// Adds a value; `None` if there are too many.
    pub fn add(&mut self, value: Value) -> Option<Id> {
        if self.0.len() == MOST_VALUES {
            return None;
        }
        self.0.push(value);
        Some(Id(self.0.len() as u32 - 1))
    }

    /// A value that is a text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A value that is an integer.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of a list or a tuple.
    pub fn list(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a dictionary, or of an instance of one.
    pub fn entries(&self, id: Id) -> &[(Id, Id)] {
        match self.get(id) {
            Value::Dict(entries) | Value::Object { entries, .. } => entries,
            _ => &[],
        }
    }

    /// Whether a value is a dictionary or an instance.
    pub fn has_entries(&self, id: Id) -> bool {
        matches!(self.get(id), Value::Dict(_) | Value::Object { .. })
    }

    /// The attributes of an instance.
    pub fn attributes(&self, id: Id) -> &[(Id, Id)] {
        match self.get(id) {
            Value::Object {
                state: Some(state), ..
            } => self.entries(*state),
            _ => &[],
        }
    }

    /// What is under a key of these entries.
    pub fn under(&self, entries: &[(Id, Id)], key: &str) -> Option<Id> {
        let found = entries.iter().find(|(id, _)| self.text(*id) == Some(key));
        found.map(|&(_, value)| value)
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let items = self.list(id)?;
        if items.len() > MOST_DIMENSIONS {
            return None;
        }
        let size = |&item: &Id| usize::try_from(self.int(item)?).ok();
        items.iter().map(size).collect()
    }
}

/// Reads the pickle that `bytes` begin with: its values, which of them it represents, and its length in bytes.
pub fn read(bytes: &[u8]) -> Result<(Values, Id, usize), Fault> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Values::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok((machine.values, root, machine.at))
}

struct Machine<'b> {
    bytes: &'b [u8],
    /// The next byte.
    at: usize,
    values: Values,
    stack: Vec<Id>,
    /// Lengths of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Entries that were copied, which the length of the pickle does not limit.
    copied: usize,
}

impl<'b> Machine<'b> {
    fn damaged<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::Damaged {
            at: self.at,
            what: what.into(),
        })
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..count) else {
            return self.damaged("it ends there");
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length of one, four or eight bytes.
    fn length(&mut self, width: usize) -> Result<usize, Fault> {
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.take(width)?);
        Ok(usize::try_from(u64::from_le_bytes(number)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'b str, Fault> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return self.damaged("a line without an end");
        };
        let Ok(line) = std::str::from_utf8(&rest[..end]) else {
            return self.damaged("a name that is no text");
        };
        self.at += end + 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        match self.values.add(value) {
            Some(id) => self.stack.push(id),
            None => return self.damaged(format!("it has more than {MOST_VALUES} values")),
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        // What is below a mark belongs to another value.
        if self.stack.len() > self.marks.last().copied().unwrap_or(0)
            && let Some(id) = self.stack.pop()
        {
            return Ok(id);
        }
        self.damaged("a value is missing")
    }

    fn top(&self) -> Result<Id, Fault> {
        match self.stack.last() {
            Some(&id) => Ok(id),
            None => self.damaged("a value is missing"),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, Fault> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => self.damaged("a mark is missing"),
        }
    }

    fn pairs(&mut self) -> Result<Vec<(Id, Id)>, Fault> {
        let items = self.since_mark()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return self.damaged("a key without a value");
        }
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }

    fn tuple(&mut self, count: usize) -> Result<(), Fault> {
        let mut items = (0..count)
            .map(|_| self.pop())
            .collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Value::List(items))
    }

    /// One opcode; false after the last.
    #[allow(clippy::too_many_lines, reason = "one line for each opcode")]
    fn step(&mut self) -> Result<bool, Fault> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' => return Ok(false),
            0x80 => match self.array()? {
                [2..=5] => {}
                [found] => return self.damaged(format!("protocol {found}")),
            },
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            b'K' => {
                let number = self.length(1)?;
                self.push(Value::Int(number as i64))?;
            }
            b'M' => {
                let number = self.length(2)?;
                self.push(Value::Int(number as i64))?;
            }
            0x8a | 0x8b => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                let bytes = self.take(length)?;
                self.push(long(bytes))?;
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(number))?;
            }
            b'U' | b'C' | b'T' | b'B' | 0x8e | 0x96 => {
                let width = match opcode {
                    b'U' | b'C' => 1,
                    b'T' | b'B' => 4,
                    _ => 8,
                };
                let length = self.length(width)?;
                let bytes = self.take(length)?;
                // The strings of Python 2 are bytes that mostly are text.
                let text = std::str::from_utf8(bytes).ok();
                self.push(match text.filter(|_| matches!(opcode, b'U' | b'T')) {
                    Some(text) => Value::Text(text.to_owned()),
                    None => Value::Bytes(bytes.to_vec()),
                })?;
            }
            b'X' | 0x8c | 0x8d => {
                let width = match opcode {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                };
                let length = self.length(width)?;
                // A lone surrogate is no character of any vocabulary.
                let text = String::from_utf8_lossy(self.take(length)?).into_owned();
                self.push(Value::Text(text))?;
            }
            b']' | b')' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            0x8f => self.push(Value::Set(Vec::new()))?,
            b't' | b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items))?;
            }
            0x91 => {
                let items = self.since_mark()?;
                self.push(Value::Set(items))?;
            }
            b'd' => {
                let pairs = self.pairs()?;
                self.push(Value::Dict(pairs))?;
            }
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84))?,
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = self.pairs()?;
                self.set(pairs)?;
            }
            b'h' | b'j' => {
                let index = self.length(if opcode == b'h' { 1 } else { 4 })?;
                match self.memo.get(&(index as u32)) {
                    Some(&id) => self.stack.push(id),
                    None => return self.damaged("it refers to nothing"),
                }
            }
            b'q' | b'r' => {
                let index = self.length(if opcode == b'q' { 1 } else { 4 })?;
                self.memo.insert(index as u32, self.top()?);
            }
            0x94 => drop(self.memo.insert(self.memo.len() as u32, self.top()?)),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.class(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let texts = self.values.text(module).zip(self.values.text(name));
                match texts.map(|(module, name)| (module.to_owned(), name.to_owned())) {
                    Some((module, name)) => self.class(&module, &name)?,
                    None => return self.damaged("a class without a name"),
                }
            }
            0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.instance(class, arguments)?;
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.instance(class, arguments)?;
            }
            b'R' => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let Id(top) = self.top()?;
                if let Value::Object { state: old, .. } = &mut self.values.0[top as usize] {
                    *old = Some(state);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?;
            }
            b'i' | b'o' | 0x82..=0x84 => {
                let what = "construct an object in a way that torch.save never does";
                return Err(Fault::Acts(what.to_owned()));
            }
            _ => {
                self.at -= 1;
                return self.damaged(format!("torch.save writes no opcode {opcode:#04x}"));
            }
        }
        Ok(true)
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<(), Fault> {
        let Id(top) = self.top()?;
        match &mut self.values.0[top as usize] {
            Value::List(list) | Value::Set(list) => list.extend(items),
            Value::Object { .. } => {}
            _ => return self.damaged("items of what is no list"),
        }
        Ok(())
    }

    fn set(&mut self, pairs: Vec<(Id, Id)>) -> Result<(), Fault> {
        let Id(top) = self.top()?;
        match &mut self.values.0[top as usize] {
            Value::Dict(entries) | Value::Object { entries, .. } => entries.extend(pairs),
            _ => return self.damaged("entries of what is no dictionary"),
        }
        Ok(())
    }

    /// A class or function, which stays a name.
    fn class(&mut self, module: &str, name: &str) -> Result<(), Fault> {
        let module = if module == "__builtin__" {
            "builtins"
        } else {
            module
        };
        let root = module.split('.').next().unwrap_or(module);
        let acts = match root {
            "builtins" => !BUILTINS.contains(&name),
            root => ACTING.contains(&root),
        };
        let name = format!("{module}.{name}");
        if acts {
            return Err(Fault::Acts(format!("use {name}")));
        }
        self.push(Value::Class(name))
    }

    fn instance(&mut self, class: Id, arguments: Id) -> Result<(), Fault> {
        if !matches!(self.values.get(class), Value::Class(_)) {
            return self.damaged("an instance of what is no class");
        }
        self.push(Value::Object {
            class,
            state: Some(arguments),
            entries: Vec::new(),
        })
    }

    /// A call of one of the functions that checkpoints have.
    fn call(&mut self, class: Id, arguments: Id) -> Result<(), Fault> {
        let Value::Class(name) = self.values.get(class) else {
            return self.damaged("a call of what is no function");
        };
        let name = name.clone();
        let Some(given) = self.values.list(arguments) else {
            return self.damaged("a call without arguments");
        };
        let first = given.first().copied();
        match &*name {
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                let tensor = self.tensor(given);
                match tensor {
                    Some(tensor) => self.push(Value::Tensor(tensor)),
                    None => self.damaged("a tensor of an unusual form"),
                }
            }
            // They are represented by what they are made of, uncopied.
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch.Size"
            | "builtins.bytearray"
            | "builtins.list"
            | "builtins.tuple"
            | "_codecs.encode" => {
                self.stack.push(first.unwrap_or(arguments));
                Ok(())
            }
            "builtins.set" | "builtins.frozenset" => {
                self.push(Value::Set(first.into_iter().collect()))
            }
            "builtins.dict" | "collections.OrderedDict" | "collections.defaultdict" => {
                let pairs = first.map(|pairs| self.pairs_of(pairs)).transpose()?;
                self.push(Value::Dict(pairs.unwrap_or_default()))
            }
            name if OPAQUE.contains(&name) || name.starts_with("torch._utils._rebuild_") => {
                // An instance that is made in the way of protocol 0 is one of its first argument.
                let is_class = |id: &Id| matches!(self.values.get(*id), Value::Class(_));
                let of_first = first.filter(|id| name.ends_with("._reconstructor") && is_class(id));
                self.push(Value::Object {
                    class: of_first.unwrap_or(class),
                    state: None,
                    entries: Vec::new(),
                })
            }
            name => Err(Fault::Acts(format!("call {name}"))),
        }
    }

    /// The entries of a dictionary that is made of a list of pairs, as Python 2 wrote it.
    fn pairs_of(&mut self, list: Id) -> Result<Vec<(Id, Id)>, Fault> {
        let items = self.values.list(list).unwrap_or_default();
        self.copied += items.len();
        if self.copied > MOST_VALUES {
            return self.damaged(format!("it has more than {MOST_VALUES} values"));
        }
        let pair = |&item: &Id| match self.values.list(item) {
            Some(&[key, value]) => Some((key, value)),
            _ => None,
        };
        Ok(items.iter().filter_map(pair).collect())
    }

    fn tensor(&self, given: &[Id]) -> Option<Tensor> {
        let &[storage, offset, shape, strides, ..] = given else {
            return None;
        };
        let Value::Storage(_) = self.values.get(storage) else {
            return None;
        };
        let (shape, strides) = (self.values.sizes(shape)?, self.values.sizes(strides)?);
        (shape.len() == strides.len()).then_some(Tensor {
            storage,
            offset: usize::try_from(self.values.int(offset)?).ok()?,
            shape,
            strides,
        })
    }

    /// What a checkpoint has outside of its pickle: `("storage", class, key, device, elements)`. A device is not looked
    /// at, so that a file from a GPU opens anywhere. In old files a class comes with its source:
    /// `("module", class, path, source)`.
    fn persistent(&mut self, id: Id) -> Result<(), Fault> {
        let unusual = "it refers to something outside that is no storage";
        let Some(&[kind, class, ref rest @ ..]) = self.values.list(id) else {
            return self.damaged(unusual);
        };
        let Value::Class(name) = self.values.get(class) else {
            return self.damaged(unusual);
        };
        match (self.values.text(kind), rest) {
            (Some("module"), _) => {
                self.stack.push(class);
                Ok(())
            }
            // A view of a storage, which PyTorch has not written for years, would follow.
            (Some("storage"), &[key, _, count, ref view @ ..])
                if view
                    .iter()
                    .all(|&view| *self.values.get(view) == Value::None) =>
            {
                let dtype = Dtype::of_class(name).unwrap_or(Dtype::Other(1));
                let count = self.values.int(count).map(usize::try_from);
                match (count, self.values.text(key)) {
                    (Some(Ok(count)), Some(_)) => {
                        self.push(Value::Storage(Storage { dtype, key, count }))
                    }
                    _ => self.damaged("a storage without a name or a size"),
                }
            }
            _ => self.damaged(unusual),
        }
    }
}

/// An integer in two's complement, little-endian.
fn long(bytes: &[u8]) -> Value {
    let Some(last) = bytes.last() else {
        return Value::Int(0);
    };
    if bytes.len() > 8 {
        return Value::Long(bytes.to_vec());
    }
    let mut number = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
    number[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(number))
}
