//! The walk over the wire format.

use crate::{
    Error, Method,
    pb::{Compare, RequestOp},
};

/// Most transactions inside one another. Below the limit of the decoder (100 messages, two for each transaction), and
/// far above what clients nest.
pub const TXN_DEPTH_MAX: usize = 32;

/// One list element's share of the buffers that a growing list holds: a list begins with room for four, and while it
/// doubles, the old and the new buffer exist, less than three for each that is in it.
const fn listed<T>() -> usize {
    4 * size_of::<T>()
}

/// What checking a transaction keeps for each operation: a borrowed key in an ordered set or map, whose nodes may be less
/// than half full, twice while those of a nested transaction join those of the one around it.
const CHECK: usize = 224;

/// The first nodes of those sets and maps, of one list of operations.
const CHECK_LIST: usize = 1400;

/// Least allocation behind a text.
const TEXT: usize = 16;

/// What texts take for each byte of the message. One byte of text has a buffer of eight and three on the wire; a field that
/// comes again, a little longer, has the old buffer and one of twice its size while it moves.
const COPY: usize = 4;

/// A kind of message, by what of it multiplies when it is decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Nothing: its byte fields are slices of the message.
    Flat,
    Txn,
    Op,
    /// Envelope of the watch stream, and the request to create a watch in it.
    Watch,
    WatchCreate,
    /// Texts in the list field of this number, copied.
    Texts(u64),
}

impl Shape {
    fn of(method: Method) -> Self {
        match method {
            Method::Txn => Shape::Txn,
            Method::Watch => Shape::Watch,
            Method::MemberAdd => Shape::Texts(1),
            Method::MemberUpdate => Shape::Texts(2),
            _ => Shape::Flat,
        }
    }

    /// What one more element in field `number` costs besides what is inside, and the shape of that.
    fn field(self, number: u64) -> (usize, Shape) {
        match (self, number) {
            (Shape::Txn, 1) => (listed::<Compare>(), Shape::Flat),
            (Shape::Txn, 2 | 3) => (listed::<RequestOp>() + CHECK, Shape::Op),
            (Shape::Op, 4) => (0, Shape::Txn),
            (Shape::Watch, 1) => (0, Shape::WatchCreate),
            (Shape::Texts(list), number) if list == number => (listed::<String>() + TEXT, Shape::Flat),
            _ => (0, Shape::Flat),
        }
    }

    /// Whether field `number` is a list of numbers, which may come packed into one byte each.
    fn numbers(self, number: u64) -> bool {
        self == Shape::WatchCreate && number == 5
    }
}

/// Bytes that decoding `message` takes beside the message itself, and that checking it takes afterwards; an upper
/// bound. O(length), no allocation.
///
/// # Errors
/// [`Error::TooManyOps`] when a list of a transaction is longer than `ops_max` (the first thing that is checked anyway),
/// or when transactions are nested deeper than [`TXN_DEPTH_MAX`]; [`Error::undecodable`] when the bytes are not in the
/// wire format. What passes may still fail to decode.
pub fn decode_cost(method: Method, message: &[u8], ops_max: usize) -> Result<usize, Error> {
    match method {
        // The common ones copy nothing and hold no list.
        Method::Range | Method::Put | Method::DeleteRange | Method::LeaseKeepAlive => Ok(0),
        Method::Txn | Method::Watch => walk(Shape::of(method), message, Walk { depth: 0, list_max: ops_max }),
        // These hold texts, each of which is copied once.
        _ => {
            let lists = walk(Shape::of(method), message, Walk { depth: 0, list_max: usize::MAX })?;
            Ok(lists + COPY * message.len())
        }
    }
}

#[derive(Clone, Copy)]
struct Walk {
    depth: usize,
    list_max: usize,
}

fn walk(shape: Shape, mut rest: &[u8], at: Walk) -> Result<usize, Error> {
    if at.depth > TXN_DEPTH_MAX {
        return Err(Error::TooManyOps);
    }
    let mut cost = 0usize;
    let mut listed_by_field = [0usize; 4];
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let number = tag >> 3;
        match tag & 7 {
            0 => {
                let _value = varint(&mut rest)?;
                cost += if shape.numbers(number) { listed::<i32>() } else { 0 };
            }
            1 => skip(&mut rest, 8)?,
            5 => skip(&mut rest, 4)?,
            2 => {
                let length = varint(&mut rest)?;
                let content = take(&mut rest, length)?;
                if shape.numbers(number) {
                    cost += content.len() * listed::<i32>();
                    continue;
                }
                let (element, inside) = shape.field(number);
                cost += element;
                if element > 0
                    && let Some(count) = usize::try_from(number).ok().and_then(|n| listed_by_field.get_mut(n))
                {
                    *count += 1;
                    cost += if *count == 1 && inside == Shape::Op { CHECK_LIST } else { 0 };
                    if *count > at.list_max {
                        return Err(Error::TooManyOps);
                    }
                }
                if inside != Shape::Flat {
                    let depth = at.depth + usize::from(inside == Shape::Txn);
                    cost += walk(inside, content, Walk { depth, list_max: usize::MAX })?;
                }
            }
            // No message here has groups, and the decoder would walk into them.
            _ => return Err(Error::undecodable("invalid wire type")),
        }
    }
    Ok(cost)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0u64;
    for (position, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            *rest = &rest[position + 1..];
            return Ok(value);
        }
    }
    Err(Error::undecodable("invalid varint"))
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], Error> {
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (inside, behind) = split.ok_or_else(|| Error::undecodable("unexpected end of message"))?;
    *rest = behind;
    Ok(inside)
}

fn skip(rest: &mut &[u8], length: u64) -> Result<(), Error> {
    take(rest, length).map(drop)
}
