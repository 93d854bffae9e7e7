//! Cells of a parquet row: as JSON, and as pictures. All text arrives as bytes and is checked here (see
//! [`super::parquet`] for why).

use super::problem::{Fault, kind};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BinaryArray};
use arrow_schema::DataType;
use serde_json::{Map, Value};

/// One picture of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageCell {
    /// Stored in the table; the number is its place in the row's list.
    Stored(usize),
    /// A file elsewhere.
    Path(String),
    /// Neither bytes nor a path.
    Empty,
}

/// Text of cell `i` of a byte array.
fn text(array: &BinaryArray, i: usize) -> Result<String, Fault> {
    std::str::from_utf8(array.value(i)).map(str::to_owned).map_err(|e| {
        Fault::new(kind::NOT_UTF8, format!("text that is not UTF-8 (byte {} of the cell)", e.valid_up_to()))
    })
}

/// Cell `i` as JSON.
pub fn json(array: &dyn Array, i: usize) -> Result<Value, Fault> {
    if array.is_null(i) {
        return Ok(Value::Null);
    }
    macro_rules! number {
        ($t:ty) => {
            Value::from(array.as_primitive::<$t>().value(i))
        };
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(i)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::Binary => Value::String(text(array.as_binary(), i)?),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(i);
            Value::Array((0..items.len()).map(|j| json(&items, j)).collect::<Result<_, _>>()?)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let mut object = Map::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(columns) {
                object.insert(field.name().clone(), json(column, i)?);
            }
            Value::Object(object)
        }
        other => {
            return Err(Fault::new(kind::BAD_TYPE, format!("type {other} has no place in a training sample")));
        }
    })
}

/// The pictures of cell `i`: one, a list, or none (null). `is_path`: the column's bytes are text, so they name files.
pub fn images(array: &dyn Array, i: usize, is_path: bool) -> Result<Vec<ImageCell>, Fault> {
    if array.is_null(i) {
        return Ok(Vec::new());
    }
    match array.data_type() {
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(i);
            (0..items.len()).map(|j| image(&items, j, j, is_path)).collect()
        }
        _ => Ok(vec![image(array, i, 0, is_path)?]),
    }
}

fn image(array: &dyn Array, i: usize, nth: usize, is_path: bool) -> Result<ImageCell, Fault> {
    if array.is_null(i) {
        return Ok(ImageCell::Empty);
    }
    match array.data_type() {
        DataType::Binary if is_path => Ok(ImageCell::Path(text(array.as_binary(), i)?)),
        DataType::Binary => Ok(ImageCell::Stored(nth)),
        DataType::Struct(_) => {
            if stored(array, i).is_some() {
                return Ok(ImageCell::Stored(nth));
            }
            match binary_field(array, "path") {
                Some(paths) if !paths.is_null(i) => Ok(ImageCell::Path(text(paths, i)?)),
                _ => Ok(ImageCell::Empty),
            }
        }
        other => Err(Fault::new(
            kind::BAD_TYPE,
            format!("a picture of type {other}; expected struct of bytes and path, bytes, or a path"),
        )),
    }
}

/// The paths that the pictures of cell `i` are given with; what is no text is left out.
pub fn image_names(array: &dyn Array, i: usize, is_path: bool) -> Vec<String> {
    if array.is_null(i) {
        return Vec::new();
    }
    let name = |array: &dyn Array, i: usize| {
        let paths = match array.data_type() {
            DataType::Binary if is_path => array.as_binary_opt::<i32>()?,
            DataType::Struct(_) => binary_field(array, "path")?,
            _ => return None,
        };
        (array.is_valid(i) && paths.is_valid(i)).then(|| text(paths, i).ok())?
    };
    match array.data_type() {
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(i);
            (0..items.len()).filter_map(|j| name(&items, j)).collect()
        }
        _ => name(array, i).into_iter().collect(),
    }
}

/// How many pictures cell `i` has, by its nulls alone.
pub fn count(array: &dyn Array, i: usize) -> usize {
    if array.is_null(i) {
        return 0;
    }
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(i).len(),
        _ => 1,
    }
}

/// Bytes of picture `nth` of cell `i`, if they are stored in the table.
pub fn image_bytes(array: &dyn Array, i: usize, nth: usize) -> Option<Vec<u8>> {
    if array.is_null(i) {
        return None;
    }
    if matches!(array.data_type(), DataType::List(_)) {
        let items: ArrayRef = array.as_list::<i32>().value(i);
        return if nth < items.len() && items.is_valid(nth) { stored(&items, nth).map(<[u8]>::to_vec) } else { None };
    }
    if nth == 0 { stored(array, i).map(<[u8]>::to_vec) } else { None }
}

fn binary_field<'a>(array: &'a dyn Array, name: &str) -> Option<&'a BinaryArray> {
    array.as_struct().column_by_name(name).and_then(|column| column.as_binary_opt::<i32>())
}

fn stored(array: &dyn Array, i: usize) -> Option<&[u8]> {
    let bytes = match array.data_type() {
        DataType::Binary => array.as_binary_opt::<i32>()?,
        DataType::Struct(_) => binary_field(array, "bytes")?,
        _ => return None,
    };
    bytes.is_valid(i).then(|| bytes.value(i))
}
